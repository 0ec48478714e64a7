"""Bad days through the real pipeline: which gate stops each, and what it would have cost.

    python benchmarks/poisons.py --work FOLDER

The default recipe on windows of six days (four to train, one to validate, one to test), one day
after the other, as every night. Then the day after a good one arrives poisoned, once in each way of
poison_parts/poisons.py. First every day, poisoned or clean, runs up to the data gate; a poison
that it lets through also on the next two days, with the poisoned day to validate on and to train
on. Then whole runs: of the clean days, and of the poisons that no data gate stopped. What a poison
costs is measured with every check and gate off, where it is in the training days: CVR AUC on the
clean test day, against a model of the clean log. Cells that are done are kept in --work and not
repeated; --only data makes the first part, and the page keeps what it had of the others. Writes
docs/benchmarks/poisons.md and .json. Takes hours; the page says how many.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ncs4cvr.models  # noqa: F401 - chooses Keras 2, before anything imports TensorFlow

# isort: split
from poison_parts import costs, margins, page
from poison_parts.poisons import DAY, POISONS
from poison_parts.runs import data_only, first, recipe, run, until

from ncs4cvr.pipeline import recipe_files

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs" / "benchmarks"
CLEAN = ["2022-04-30", *(f"2022-05-0{d}" for d in range(1, 9))]  # days a window can end on
RESAMPLES = 5
SEEDS = (1, 2, 3)  # of clean trainings, to see what chance does
Json = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", required=True, help="where cells are kept")
    parser.add_argument("--only", default="", help="cells whose names start so, by commas")
    parser.add_argument("--page-only", action="store_true", help="write the page from the .json")
    args = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported
    if not args.page_only:
        work = Path(args.work)
        work.mkdir(parents=True, exist_ok=True)
        for root in ("data", "full"):
            put_back(work, root)
        asked = tuple(args.only.split(","))  # "" begins every name
        wanted = [cell for cell in all_cells(work) if cell.name.startswith(asked)]
        for cell in wanted:
            done(work, cell)
        kept = {cell.name: file_of(work, cell) for cell in wanted}
        cells = {n: json.loads(f.read_text()) for n, f in kept.items() if f.is_file()}
        losses = costs.losses(work / "cells", POISONS, SEEDS)
        limits = margins.limits(recipe_files.load("kuairand"))
        checks = {name: what for name, (_, what) in margins.CHECKS.items()}
        measured = {"cells": cells, "losses": losses, "checks": checks, "limits": limits}
        page.write_json(DOCS, measured, args.only)
    page.write(DOCS)


@dataclasses.dataclass(frozen=True)
class Cell:
    """A name, and what gives its result."""

    name: str
    run: Callable[[], Json]


def all_cells(work: Path) -> list[Cell]:
    """What is asked first comes first; a window builds on the one before it in its root."""
    eve_data, *data = part(work, "data", gate_only)
    eve_full, *full = part(work, "full", whole)
    logs = ("clean", *POISONS)
    paid = [
        [Cell(f"cost {n} {s}", lambda n=n, s=s: unguarded(work, n, s)) for n in logs] for s in SEEDS
    ]
    return [
        eve_data,
        *data,
        eve_full,
        *paid[0],
        *full,
        *(cell for some in paid[1:] for cell in some),
    ]


def part(work: Path, kind: str, run_: Callable[..., Json]) -> list[Cell]:
    """The eve, the clean days and every poison, run as far as `run_` does."""
    at = CLEAN.index(DAY)
    some = {
        root: [Cell(f"{kind} {d}", lambda f=root, d=d: run_(work, f, d)) for d in days]
        for root, days in ((kind, CLEAN[at - 1 :]), (f"{kind}_early", CLEAN[: at - 1]))
    }
    eve, *later = some[kind]
    return [
        eve,
        Cell(f"{kind} eve", lambda: snapshot(work, kind)),
        *later,
        *some[f"{kind}_early"],
        *(
            Cell(f"{kind} resample {n}", lambda n=n: resample(work, kind, run_, n))
            for n in range(1, RESAMPLES + 1)
        ),
        *(Cell(f"{kind} {n}", lambda n=n: until_stopped(work, kind, run_, n)) for n in POISONS),
    ]


def file_of(work: Path, cell: Cell) -> Path:
    """Where a cell's result is kept."""
    return work / "cells" / f"{cell.name.replace(' ', '_')}.json"


def done(work: Path, cell: Cell) -> None:
    """Runs a cell whose result is not there yet."""
    file = file_of(work, cell)
    if file.is_file():
        return
    began = time.monotonic()
    result = {**cell.run(), "seconds": round(time.monotonic() - began)}
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(result, indent=1))
    print(f"{cell.name}: {result.get('stopped_by') or 'done'}, {result['seconds']} s", flush=True)


# -- runs ------------------------------------------------------------------------------------------


def gate_only(work: Path, root: str, day: str, log: str = "clean") -> Json:
    """The window that ends on a day, up to the data gate."""
    return data_only(work, root, recipe(work, day, log))


def whole(work: Path, root: str, day: str, log: str = "clean") -> Json:
    """A run of the window that ends on a day, with every check and gate."""
    return run(work, root, recipe(work, day, log), tickets(work))


def tickets(work: Path) -> Path | None:
    """Those that the first whole run found."""
    return next(work.glob("full/*/artifacts/TicketSearch/tickets/*"), None)


def snapshot(work: Path, root: str) -> Json:
    """Keeps the state on the eve of the poisoned day."""
    shutil.copytree(work / root, work / f"{root}.eve", dirs_exist_ok=True)
    return {}


@contextlib.contextmanager
def on_the_eve(work: Path, root: str) -> Iterator[None]:
    """The state of the eve, where it was made: metadata has whole paths."""
    (work / root).rename(work / f"{root}.kept")
    shutil.copytree(work / f"{root}.eve", work / root)
    try:
        yield
    finally:
        put_back(work, root)


def put_back(work: Path, root: str) -> None:
    """Ends `on_the_eve`, also that of a process that was killed."""
    if (work / f"{root}.kept").is_dir():
        shutil.rmtree(work / root, ignore_errors=True)
        (work / f"{root}.kept").rename(work / root)


def until_stopped(work: Path, root: str, run_: Callable[..., Json], name: str) -> Json:
    """The poisoned day's run and, until one is stopped, those of the next two days.

    Whole runs are made only where the data gate alone let all three through.
    """
    gated = work / "cells" / f"data_{name}.json"
    if root == "full" and json.loads(gated.read_text())["stopped_by"]:
        return {"stopped_by": "", "runs": []}
    runs = []
    with on_the_eve(work, root):
        for day in CLEAN[CLEAN.index(DAY) :]:
            runs.append(run_(work, root, day, name))
            if runs[-1]["stopped_by"]:
                break
    return {"stopped_by": runs[-1]["stopped_by"], "runs": runs}


def resample(work: Path, root: str, run_: Callable[..., Json], number: int) -> Json:
    """The same day with other users, and clean."""
    with on_the_eve(work, root):
        return run_(work, root, DAY, f"resample{number}")


def unguarded(work: Path, log: str, seed: int) -> Json:
    """What a model is worth that was trained on the day, no check or gate asked: its AUCs.

    Its scores of the test day are kept beside the cells. The seeds of a log share a root, so that
    its examples are made once.
    """
    off = {"data_schema": "", "drift_threshold": 0.0, "day_change": 0.0, "day_auc_change": 0.0}
    changed = recipe(work, CLEAN[-1], log).replace(seed=seed, **off)
    until(work, f"cost_{log}", changed, "Trainer", tickets(work))
    scores = costs.scores(first(work / f"cost_{log}"), changed)
    costs.keep(work / "cells", log, seed, scores)
    return {task: costs.auc(scores, task) for task in costs.TASKS}


if __name__ == "__main__":
    main()
