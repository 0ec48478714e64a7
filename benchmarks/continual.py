"""KuaiRand day by day: fresh against warm start, new tickets against kept ones.

    python benchmarks/continual.py --work FOLDER

Runs `ncs4cvr run kuairand --date DAY` for five days in a row, in every arm of
continual_parts/plan.py: all from nothing, tickets kept, and tickets and vocabularies kept with a
warm start. Every arm has a folder of its own and never sees the others. Days go in turns: all arms
run a day before any runs the next, in an order that rotates, so that a noisy machine hits all
alike. Kept for every run: AUCs on the day's test rows, seconds and processor seconds of the whole
command and of its steps, what was decided about tickets, vocabularies and start, and whether the
model was pushed. Runs that are done stay in --work and are not repeated; one that was cut off runs
again, from where its folder was before. Runs of other code or on another machine want another
--work. Writes docs/benchmarks/continual.md, .json and .png. Less than an hour on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import warnings
from datetime import date
from pathlib import Path
from typing import Any

from continual_parts import plan, runs
from continual_parts.plan import ARMS, Cell

DOCS = Path(__file__).parents[1] / "docs/benchmarks"
DAYS = [f"2022-05-0{day}" for day in range(2, 7)]
Json = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, help="where runs are kept")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--days", nargs="+", default=DAYS, metavar="DATE", help="in a row")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--recipe", default="kuairand")
    parser.add_argument("--set", action="append", default=[], metavar="key=value", help="all arms")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where the page goes")
    parser.add_argument("--page-only", action="store_true", help="write the page from the .json")
    parser.add_argument("--score", nargs=2, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported
    warnings.filterwarnings("ignore", category=FutureWarning, module="google")
    if args.score:
        return runs.score(args.recipe, *args.score)
    if not args.page_only:
        if not args.work:
            parser.error("--work is missing: a folder for the runs")
        args.work = args.work.resolve()
        made = measure(args)
    # Only now: with it comes TensorFlow, whose memory and threads are not to be beside the runs.
    from continual_parts import page

    if not args.page_only:
        page.write_json(args.docs, told(args, made))
    page.write(args.docs)


def measure(args: argparse.Namespace) -> list[tuple[Cell, Json]]:
    """Every cell and its result; runs what is not there yet."""
    args.days = sorted(args.days)
    args.work.mkdir(parents=True, exist_ok=True)
    asked = {"recipe": args.recipe, "set": args.set, "first_day": args.days[0]}
    same_question(args.work, asked)
    cells = plan.cells(args.arms, args.days, args.seeds)
    for at, cell in enumerate(cells):
        if runs.stored(args.work, cell):
            continue
        result = runs.make(args.work, cell, args.recipe, args.set)
        made = {c: found for c in cells if (found := runs.stored(args.work, c))}
        todo = [c for c in cells[at + 1 :] if c not in made]
        seconds = plan.left_s(todo, {c: found["seconds"] for c, found in made.items()})
        print(
            f"{cell.name}: {result['verdict']}, {result['seconds']:.0f} s; {len(made)} of "
            f"{len(cells)} done, some {seconds / 60:.0f} minutes left",
            flush=True,
        )
    for cell in cells:  # after all runs, so that no arm's files are warmer than another's
        score(args.work, cell, args.recipe)
    return [(cell, runs.stored(args.work, cell)) for cell in cells]


def same_question(work: Path, asked: Json) -> None:
    """Refuses a folder whose runs are of another recipe, or began on another day."""
    file = work / "asked.json"
    if not file.exists():
        file.write_text(json.dumps(asked))
    if (before := json.loads(file.read_text())) != asked:
        sys.exit(f"{work} has runs of {before}, not of {asked}; give another --work")


def score(work: Path, cell: Cell, recipe: str) -> None:
    """Keeps the model's scores of its test rows, made by a process that ends with its memory."""
    scores = runs.scores_file(work, cell)
    if scores.is_file() or not runs.stored(work, cell)["auc"]:
        return
    copied = str(runs.kept_model(work, cell))
    script = [sys.executable, "-W", "ignore", __file__]  # libraries warn of their Python
    subprocess.run([*script, "--recipe", recipe, "--score", copied, str(scores)], check=True)


def told(args: argparse.Namespace, made: list[tuple[Cell, Json]]) -> Json:
    """All that the page is made of."""
    from continual_parts import compare
    from ncs4cvr.pipeline import recipe_files
    from page_parts import machine

    test = recipe_files.load(args.recipe, tuple(args.set)).log.splits[-1]
    results = [result for _, result in made]
    scored = {cell: runs.scores_file(args.work, cell) for cell, result in made if result["auc"]}
    about = {
        **machine.facts(),
        "recipe": args.recipe if args.recipe.isidentifier() else Path(args.recipe).name,
        "set": args.set,
        "days": args.days,
        "test_days": (date.fromisoformat(test.last) - date.fromisoformat(test.first)).days + 1,
        "seeds": args.seeds,
    }
    return {"about": about, "cells": results, "intervals": compare.intervals(scored)}


if __name__ == "__main__":
    main()
