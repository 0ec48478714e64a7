"""docs/benchmarks/training.md, .json and .png."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from page_parts import machine

OURS, WITH_INPUT, TOWERS = "ncs4cvr", "ncs4cvr, with its input", "two towers, one trunk"
PRODUCTS = "ncs4cvr's products alone"
INK, FAINT, GRID = "#22303c", "#8a97a3", "#e4e8eb"
COLORS = ("#0b6e99", "#5a8f4e", "#c2952b", "#d1603d", "#8a5aa8")


def write_json(docs: Path, args: argparse.Namespace, cells: list[dict]) -> None:
    """Keeps what was measured, and on what."""
    import tensorflow as tf

    about = {
        **machine.facts(),
        "tensorflow": tf.__version__,
        "recipe": args.recipe,
        "settings": args.set,
        "turns": args.turns,
        "load_average": round(os.getloadavg()[2], 1),
    }
    docs.mkdir(parents=True, exist_ok=True)
    (docs / "training.json").write_text(
        json.dumps({"about": about, "cells": cells}, indent=1) + "\n"
    )


def write(docs: Path) -> None:
    """The page and its picture, from the .json alone."""
    made = json.loads((docs / "training.json").read_text())
    about, cells = made["about"], made["cells"]
    settings = sorted({(c["threads"], c["batch"]) for c in cells})
    by = {(c["threads"], c["batch"], c["name"]): c for c in cells}
    _picture(docs / "training.png", by, settings)
    parts = [
        _head(about, by),
        _verdicts(by, settings),
        _table(by, settings),
        "![Time of a step by sharing, and by part](training.png)\n",
        _where(by, settings),
        (Path(__file__).parent / "tried.md").read_text(),
    ]
    (docs / "training.md").write_text("\n".join(parts))


def _head(about: dict, by: dict) -> str:
    return f"""# Training speed

`python benchmarks/training.py --turns {about["turns"]}` on the examples of
`ncs4cvr run {about["recipe"]}`, {about["date"]}, {about["machine"]},
TensorFlow {about["tensorflow"]}, seed of the recipe.
Medians of {about["turns"]} turns; all rows of one column were taken in turns in one process. The
load average of 15 minutes was {about["load_average"]}, the benchmark's own threads included.
Unless it says wall, times are by the processor's clock, and ratios are taken turn by turn. The
profiler saw one turn.
{_spread(by)}

- **Products alone**: the matrix products of ncs4cvr's dense layers in one step, forward and
  backward, same shapes, nothing else; once all together and once one by one on warm operands. The
  faster of the two is what the dense arithmetic alone allows. Products of the interaction and the
  interests are not counted in.
- **Two towers, one trunk**: two plain dense MLPs of the same layers on the same embeddings, one
  optimizer, the tasks' own losses. `single_task` has two trunks as well.
- ncs4cvr has random tickets that keep 20 %; the time does not depend on them.
"""


def _spread(by: dict) -> str:
    """How much faster two threads are, by the wall: with two free cores near 2."""
    batches = sorted({batch for threads, batch, _ in by if threads == 2})

    def times(name: str) -> str:
        each = [by[1, b, name]["wall_ms"] / by[2, b, name]["wall_ms"] for b in batches]
        return " and ".join(f"{ratio:.2f}" for ratio in each)

    return (
        f"With two threads (batch {' and '.join(map(str, batches))}) the products alone run\n"
        f"{times(PRODUCTS)} times as fast as with one, ncs4cvr's step {times(OURS)} times."
    )


def _verdicts(by: dict, settings: list) -> str:
    lines = [
        "| target | " + " | ".join(f"{t} thread{'s'[: t > 1]}, {b}" for t, b in settings) + " |"
    ]
    lines.append("|---" * (len(settings) + 1) + "|")
    cells = [[by[(*s, name)] for s in settings] for name in (OURS, WITH_INPUT)]
    ratios = [f"{c['cpu_to_towers']:.3f}" for c in cells[0]]
    lines.append("| ncs4cvr's step against two towers, one trunk: at most 1.05 | " + _row(ratios))
    ratios = [
        f"{by[(*s, OURS)]['cpu_ms'] / by[(*s, 'single_task')]['cpu_ms']:.2f}" for s in settings
    ]
    lines.append("| ... against single_task (two trunks) | " + _row(ratios))
    ratios = [f"{1 / c['cpu_to_floor']:.1%}" for c in cells[0]]
    lines.append("| share of what the products alone allow: at least 60 % | " + _row(ratios))
    ratios = [f"{1 / c['cpu_to_floor']:.1%}" for c in cells[1]]
    lines.append("| ... with the input pipeline's work | " + _row(ratios))
    ratios = [f"{1 / c['wall_to_floor']:.1%}" for c in cells[1]]
    lines.append("| ... by the wall's clock | " + _row(ratios))
    ratios = [f"{c['waited']:.1%}" for c in cells[1]]
    lines.append("| step time spent waiting for input: under 10 % | " + _row(ratios))
    return "\n".join(lines) + "\n"


def _table(by: dict, settings: list) -> str:
    names = list(dict.fromkeys(name for *_, name in by))
    out = []
    for threads, batch in settings:
        out += [
            f"## {threads} thread{'s'[: threads > 1]}, batch {batch}",
            "",
            "| | GFLOP of products a step | ms a step (CPU) | GFLOP/s (CPU) | examples/s (wall) "
            "| to two towers | to products alone | the same, wall |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for name in names:
            c = by[threads, batch, name]
            cells = [
                name,
                f"{c['gflop']:.2f}",
                f"{c['cpu_ms']:.1f}",
                f"{1e3 * c['gflop'] / c['cpu_ms']:.0f}",
                f"{1e3 * batch / c['wall_ms']:,.0f}",
                f"{c['cpu_to_towers']:.2f}",
                f"{c['cpu_to_floor']:.2f}",
                f"{c['wall_to_floor']:.2f}",
            ]
            out.append("| " + _row(cells))
        out.append("")
    return "\n".join(out)


def _where(by: dict, settings: list) -> str:
    parts = list(by[(*settings[0], OURS)]["parts"])
    lines = ["## Where ncs4cvr's step goes", ""]
    lines += ["By TensorFlow's profiler, as shares of the time of all operations of the model.", ""]
    lines.append("| part | " + " | ".join(f"{t} thr., {b}" for t, b in settings) + " |")
    lines.append("|---" * (len(settings) + 1) + "|")
    for part in parts:
        shares = [by[(*s, OURS)]["parts"].get(part, 0) for s in settings]
        lines.append(f"| {part} | " + _row([f"{share:.0%}" for share in shares]))
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return " | ".join(cells) + " |"


def _picture(path: Path, by: dict, settings: list) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    style = {"font.size": 9, "axes.edgecolor": FAINT, "text.color": INK, "axes.labelcolor": INK}
    with plt.rc_context(style):
        figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), width_ratios=[3, 2])
        shown = settings[-2:]
        names = [n for n in dict.fromkeys(n for *_, n in by) if "products" not in n]
        for k, s in enumerate(shown):
            places = [i + 0.4 * (k - 0.5) for i in range(len(names))]
            values = [by[(*s, n)]["cpu_to_towers"] for n in names]
            left.barh(places, values, 0.38, color=COLORS[k], label=f"batch {s[1]}")
        left.axvline(1, color=INK, linewidth=0.8)
        left.set_yticks(range(len(names)), names)
        left.invert_yaxis()
        left.set_xlabel(f"time of a step; two towers on one trunk = 1 ({shown[0][0]} threads)")
        left.legend(frameon=False)
        base = [0.0] * len(settings)
        for color, part in zip(COLORS, by[(*settings[0], OURS)]["parts"]):
            values = [by[(*s, OURS)]["parts"].get(part, 0) for s in settings]
            right.bar(range(len(settings)), values, 0.6, base, color=color, label=part)
            base = [a + b for a, b in zip(base, values)]
        right.set_xticks(range(len(settings)), [f"{t} thr.\n{b}" for t, b in settings])
        right.set_ylabel("share of a step of ncs4cvr")
        right.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
        figure.savefig(path, dpi=130)
        plt.close(figure)
