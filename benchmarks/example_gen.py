"""Speed and memory of example generation on logs of growing size.

    python benchmarks/example_gen.py [--sizes 1,4,20]

Makes each log from the days of data/kuairand_pure, repeated with new user and video ids, runs the
pipeline of VideoLogExampleGen on it with one worker, and writes docs/benchmarks/example_gen.md and
.json. Sizes 1, 4 and 20 take some 10 minutes and 5 GB of temporary disk.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from page_parts import machine

ROOT = Path(__file__).parents[1]
DATA = ROOT / "data" / "kuairand_pure"
DOCS = ROOT / "docs" / "benchmarks"
FILES = ("events", "user_features", "video_features_basic", "history")
USERS, VIDEOS = 100_000, 10_000  # more than any id of the data, so that copies do not share ids
TINY = 0.0  # a log of a few hundred users, whose run is all start-up
RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


def make_log(size: float, folder: Path) -> int:
    """Writes `size` copies of the data, one file each at a time; returns the events' rows."""
    rows = 0
    for name in FILES:
        table = pq.read_table(DATA / f"{name}.parquet")
        if size == TINY and "user_id" in table.column_names:
            table = table.filter(pc.less(table["user_id"], 300))
        for copy in range(max(int(size), 1)):
            part = table
            for key, shift in (("user_id", USERS * copy), ("video_id", VIDEOS * copy)):
                if key in table.column_names:
                    ids = pc.add(table[key].cast(pa.int64()), shift)
                    part = part.set_column(part.schema.get_field_index(key), key, ids)
            pq.write_table(part, folder / f"{name}-{copy:03d}.parquet")
            rows += part.num_rows if name == "events" else 0
    return rows


def run_one(folder: Path) -> None:
    """The measured process: the default recipe's log, read from `folder`."""
    import dataclasses

    import apache_beam as beam

    from ncs4cvr.components.log.log_pipeline import write_examples
    from ncs4cvr.pipeline.recipes.kuairand import RECIPE

    names = dict(zip(("events", "users", "videos", "history"), FILES, strict=True))
    globs = {field: f"{folder}/{name}-*.parquet" for field, name in names.items()}
    log = dataclasses.replace(RECIPE.log, **globs)
    out = folder / "out"
    write_examples(
        log,
        RECIPE.features,
        {split.name: str(out / split.name) for split in log.splits},
        str(out / "dead_letters"),
        str(out / "temp"),
        lambda: beam.Pipeline(argv=[f"--runner={RUNNER}"]),
    )


def tree_rss_mb(pid: int) -> float:
    """Resident memory of a process and everything it started."""
    total, waiting = 0, [pid]
    while waiting:
        one = waiting.pop()
        try:
            total += int(Path(f"/proc/{one}/statm").read_text().split()[1])
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            continue
    return total * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure(folder: Path) -> dict[str, float]:
    """Seconds of wall clock and of CPU, and peak memory, of one run in its own process."""
    command = [sys.executable, __file__, "--run", str(folder)]
    with open(folder / "run.log", "wb") as log:
        begin, peak, before = time.monotonic(), [0.0], os.times()
        process = subprocess.Popen(command, stdout=log, stderr=log, env=dict(os.environ))

        def watch() -> None:
            while process.poll() is None:
                peak[0] = max(peak[0], tree_rss_mb(process.pid))
                time.sleep(0.1)

        watcher = threading.Thread(target=watch)
        watcher.start()
        failed = process.wait()
        watcher.join()
    if failed:
        sys.exit(f"the run failed:\n{(folder / 'run.log').read_text()[-3000:]}")
    after = os.times()
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    return {"wall_s": time.monotonic() - begin, "cpu_s": cpu, "peak_rss_mb": peak[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="1,4,20", help="copies of the data, by commas")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        run_one(Path(args.run))
        return
    results = []
    for size in (TINY, *map(float, args.sizes.split(","))):
        with tempfile.TemporaryDirectory() as folder:
            rows = make_log(size, Path(folder))
            result = {"size": size, "rows": rows, **measure(Path(folder))}
        start = results[0] if results else {"wall_s": 0.0, "cpu_s": 0.0, "rows": 0}
        for kind in ("wall", "cpu"):
            spent = result[f"{kind}_s"] - start[f"{kind}_s"]
            result[f"rows_per_{kind}_s"] = (rows - start["rows"]) / spent
        results.append(result)
        print(json.dumps(result), flush=True)
    write(results)


def write(results: list[dict[str, float]]) -> None:
    """docs/benchmarks/example_gen.md and .json."""
    about = {
        **machine.facts(),
        "python": platform.python_version(),
        **{n: importlib.metadata.version(n) for n in ("tfx", "apache-beam", "pyarrow")},
    }
    DOCS.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"about": about, "results": results}, indent=1)
    (DOCS / "example_gen.json").write_text(text + "\n")
    lines = [
        "# Example generation: speed and memory",
        "",
        "`python benchmarks/example_gen.py`: the default recipe's log (events, 3.6 times as many",
        "history rows, users, videos) repeated with new ids; one worker process. Rates are after",
        "start-up, which the first line measures. Wall clock includes what else the machine did.",
        "",
        ", ".join(f"{key} {value}" for key, value in about.items()),
        "",
        "| log | events | wall s | CPU s | events/s (wall) | events/s per core (CPU) | peak MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in results:
        name = f"x {r['size']:g}" if r["size"] else "start-up"
        rates = [f"{r[f'rows_per_{k}_s']:,.0f}" if r["size"] else "" for k in ("wall", "cpu")]
        lines.append(
            f"| {name} | {r['rows']:,} | {r['wall_s']:.1f} | {r['cpu_s']:.1f} | {rates[0]} | "
            f"{rates[1]} | {r['peak_rss_mb']:,.0f} |"
        )
    (DOCS / "example_gen.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
