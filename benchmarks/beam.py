"""Beam's steps of the default recipe: speed with one and two workers, memory, where the time goes.

    python benchmarks/beam.py [--full]

Makes logs of a part, of 4 and of 20 times the users of data/kuairand_pure, and runs
VideoLogExampleGen, StatisticsGen and Transform on them: in one process, with two worker processes
that the driver starts, and with two workers behind a job service, where the driver is apart from
all that Beam does. Looks from outside at each process. Every cell is kept in --work, so that an
interrupted benchmark goes on; the page is written after each. Writes docs/benchmarks/beam.md and
beam.json. Some 25 minutes on 2 cores; --full measures every step on every log and takes hours.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import signal
import sys
from pathlib import Path
from typing import Any

from beam_parts import cells, page
from page_parts import machine

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs/benchmarks"
DATA = ROOT / "data/kuairand_pure"
PACKAGES = (
    "tfx",
    "apache-beam",
    "tensorflow",
    "tensorflow-data-validation",
    "tensorflow-transform",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", default="runs/bench_beam", help="where cells are kept")
    parser.add_argument("--full", action="store_true", help="every step on every log")
    parser.add_argument("--cells", help="only these, by name, with commas between them")
    parser.add_argument("--docs", default=str(DOCS), help="where page and JSON go")
    parser.add_argument("--page-only", action="store_true", help="of the cells that are there")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.cell:
        from beam_parts import steps

        order = json.loads(args.cell)
        steps.run(
            Path(order["log"]),
            Path(order["folder"]),
            order["last"],
            order["settings"],
            order["here"],
        )
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started ends, too
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported
    work = Path(args.work).resolve()
    work.mkdir(parents=True, exist_ok=True)
    every = (*cells.CELLS, *cells.FULL)
    wanted = every if args.full else cells.CELLS
    if args.cells:
        named = {cell.name: cell for cell in every}
        if unknown := set(args.cells.split(",")) - named.keys():
            parser.error(f"no cell {sorted(unknown)[0]!r}; there are {', '.join(named)}")
        wanted = tuple(named[name] for name in args.cells.split(","))
    if not args.page_only:
        measure(wanted, work, Path(args.docs))
    print(write(work, Path(args.docs)))


def about() -> dict[str, Any]:
    """The machine, and versions."""
    return {
        **machine.facts(),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in PACKAGES},
    }


def measure(wanted: tuple[cells.Cell, ...], work: Path, docs: Path) -> None:
    """Makes the cells that are not there yet, and says how long is left."""
    version = cells.version(about())
    waiting = [cell for cell in wanted if cells.kept(cell, work, version) is None]
    taken = expected = 0.0
    for place, cell in enumerate(waiting):
        pace = taken / expected if expected else 1.0
        left = pace * sum(each.seconds for each in waiting[place:]) / 60
        say(f"{place + 1} of {len(waiting)}: {cell.name}; about {left:.0f} min left")
        found = cells.made(cell, DATA, work, version)
        taken, expected = taken + found["seconds"], expected + cell.seconds
        say(f"  {found['seconds']:.0f} s")
        write(work, docs)


def write(work: Path, docs: Path) -> str:
    """Page and JSON of the cells that are there."""
    facts = about()
    version = cells.version(facts)
    every = (*cells.CELLS, *cells.FULL)
    found = [kept for cell in every if (kept := cells.kept(cell, work, version))]
    if not found:
        sys.exit(f"{work} has no cell of this code, on this machine, with these versions")
    facts["date"] = max(cell["date"] for cell in found)
    told = {"about": facts, "cells": found}
    docs.mkdir(parents=True, exist_ok=True)
    (docs / "beam.json").write_text(json.dumps(told, indent=1) + "\n")
    text = page.page(told)
    (docs / "beam.md").write_text(text)
    return text


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
