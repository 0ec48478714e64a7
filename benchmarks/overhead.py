"""What gates, checks and the report cost: their share of the seconds of one default run.

    python benchmarks/overhead.py

Runs the recipe from nothing in a folder of its own and reads the run's own timeline, in which
checks and work take turns on the same machine under the same load. Writes
docs/benchmarks/overhead.md and overhead.json.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from page_parts import machine

DOCS = Path(__file__).parents[1] / "docs/benchmarks"
#: What is there for nothing but to check.
CHECKS = {
    "ExampleValidator": "statistics against the schema",
    "SkewValidator": "later splits against training",
    "DriftValidator": "against the last data that passed",
    "DataGate": "refuses data; days against each other; rows on disk against rows counted",
    "ModelGate": "intervals, slices, the last blessed model",
    "ServingCheck": "another process loads the model, answers and is timed",
}
#: TFX's own steps, which would be there without any gate of ours; counted apart.
SHARED = {
    "StatisticsGen": "statistics, which the validators and the report read",
    "Evaluator": "TFMA's metrics, kept beside ModelGate's",
}
ALLOWED = 0.15


def measure(recipe: str, root: Path) -> dict:
    """One run from nothing: its timeline, and the seconds of the report and of all."""
    code = "import sys; from ncs4cvr.pipeline.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "run", recipe, "--root", str(root)]
    began = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    seconds = time.monotonic() - began
    told = done.stdout.decode()
    if done.returncode:
        sys.exit(f"the run ended with {done.returncode}:\n{told[-3000:]}")
    found = re.search(r"Report +([\d.]+) s", told)
    if not found:
        sys.exit(f"the run wrote no report:\n{told[-3000:]}")
    (report,) = root.glob("*/report.json")
    timeline = json.loads(report.read_text(encoding="utf-8"))["timeline"]
    return {"seconds": seconds, "report_s": float(found[1]), "timeline": timeline}


def parts(run: dict) -> list[dict]:
    """Every part that checks: name, what it does, seconds, share of the run; the rest last."""
    seconds = {step["name"]: step["seconds"] for step in run["timeline"]}
    rows = [(name, what, seconds[name]) for name, what in CHECKS.items() if name in seconds]
    sealed = sum(step["sealed_s"] for step in run["timeline"])
    rows.append(("checksums", "sealing what every component made", sealed))
    rows.append(("report", "report.html, report.json, model_card.md", run["report_s"]))
    return [
        {"name": n, "what": what, "seconds": s, "share": s / run["seconds"]} for n, what, s in rows
    ]


def page(told: dict) -> str:
    """The page, from what was measured alone."""
    about, run = told["about"], told["run"]
    rows = told["parts"]
    share = sum(row["share"] for row in rows)
    seconds = {step["name"]: step["seconds"] for step in run["timeline"]}
    shared = {name: seconds[name] for name in SHARED if name in seconds}
    with_shared = share + sum(shared.values()) / run["seconds"]
    verdict = "kept" if share <= ALLOWED else "missed"
    lines = [
        "# What gates, checks and the report cost",
        "",
        f"`python benchmarks/overhead.py`: one run of `{about['recipe']}` from nothing,",
        f"{about['date']}, {about['machine']}, load average {about['load']} at its end.",
        "Seconds are of the run's own timeline: checks and work take turns in one process, so both",
        "saw the same machine.",
        "",
        f"**{share:.1%} of {run['seconds']:.0f} s**; at most {ALLOWED:.0%} was the aim: {verdict}.",
        "",
        "| part | does | seconds | share |",
        "|---|---|---|---|",
        *(f"| {r['name']} | {r['what']} | {r['seconds']:.1f} | {r['share']:.1%} |" for r in rows),
        f"| all | | {sum(r['seconds'] for r in rows):.1f} | {share:.1%} |",
        "",
        "Not counted, since a TFX pipeline has them without our gates, though they serve them:",
        "",
        "| component | does | seconds | share |",
        "|---|---|---|---|",
        *(
            f"| {name} | {SHARED[name]} | {s:.1f} | {s / run['seconds']:.1%} |"
            for name, s in shared.items()
        ),
        "",
        f"With both of them it would be {with_shared:.1%}. A push copies and reads back the model",
        "with its checksums inside Pusher, which took "
        f"{seconds.get('Pusher', 0):.1f} s in all and is not counted.",
        "There was no earlier model: with one, ModelGate scores the test rows twice.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="kuairand")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as root:
        run = measure(options.recipe, Path(root))
    load = round(float(Path("/proc/loadavg").read_text().split()[1]), 1)
    about = {**machine.facts(), "recipe": options.recipe, "load": load}
    told = {"about": about, "run": run, "parts": parts(run)}
    (DOCS / "overhead.json").write_text(json.dumps(told, indent=1) + "\n")
    (DOCS / "overhead.md").write_text(page(told))
    print(page(told))


if __name__ == "__main__":
    main()
