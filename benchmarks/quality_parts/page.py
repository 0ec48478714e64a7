"""Writes docs/benchmarks/quality.md (one generated block a data set) and quality.json."""

from __future__ import annotations

import argparse
import json
import platform
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from page_parts import machine
from quality_parts import results, tables
from quality_parts.cells import Cell, write_whole
from quality_parts.data import Data
from quality_parts.models import SOFT, Model, searches
from quality_parts.plan import Plan

DOCS = Path(__file__).parents[2] / "docs" / "benchmarks"
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Report:
    """Everything that a data set's part of the page is made of."""

    plan: Plan
    data: Data
    models: Sequence[Model]
    cells: Sequence[Cell]
    curve: Sequence[Cell]
    left_out: Mapping[str, str]
    options: argparse.Namespace


def write(report: Report) -> None:
    """Prints the tables, and writes page, rows and pictures where they are wanted."""
    recipe = report.plan.recipe
    # The two ways to search are compared by their cost, and not once more with every model.
    apart = [m.name for m in searches(recipe)]
    cells = [c for c in report.cells if c.model not in apart]
    rows = results.rows(recipe.name, cells)
    if not rows:
        print("quality: no model was made, so there is nothing to show", file=sys.stderr)
        return
    options = report.options
    split = "validation" if options.validation else "test"
    judged = report.data.split(recipe, recipe.log.splits[-2 if options.validation else -1].name)
    compared, taught = (
        results.differences(recipe, cells, judged, options.replicates, ours, split)
        for ours in (results.OURS, SOFT)
    )
    train = report.data.split(recipe, recipe.log.splits[0].name)
    costs = results.search_costs(recipe, report.cells, len(train.users))
    text = "\n".join(
        [
            *tables.head(report, judged, split, made_by()),
            *tables.quality(recipe, rows, split),
            *tables.compared(recipe, compared),
            *tables.compared(recipe, taught, SOFT),
        ]
    )
    print(text)
    where = options.docs or ("" if options.quick else str(DOCS))
    if not where or options.validation:
        return
    folder = Path(where)
    folder.mkdir(parents=True, exist_ok=True)
    from quality_parts import pictures

    curve = results.rows(recipe.name, report.curve)
    by_sparsity = results.differences_by_sparsity(
        recipe, cells, report.curve, judged, options.replicates
    )
    drawn = pictures.draw(recipe, cells, rows, compared, curve, folder)
    shown = {name: f"\n![{says}]({name})" for name, says in drawn}
    of_curve = shown.pop(f"quality_{recipe.name}_sparsity.png", "")
    blocks = [
        text,
        *tables.probabilities(recipe, rows),
        *tables.costs(rows),
        *tables.search(costs),
        *tables.settings(report),
        *shown.values(),
    ]
    put_block(folder / "quality.md", recipe.name, "\n".join(blocks))
    if curve:
        seeds = sorted({c.recipe.seed for c in report.curve})
        made = f"{made_by()}. Seeds {', '.join(map(str, seeds))}."
        blocks = [*tables.curve(recipe, curve, by_sparsity, made), of_curve]
        put_block(folder / "quality.md", f"{recipe.name}, sparsity", "\n".join(blocks))
    put_rows(folder / "quality.json", recipe.name, rows, curve)


def put_block(page: Path, name: str, text: str) -> None:
    """Replaces a block in the page by its name, or appends it; all other text stays."""
    begin, end = f"<!-- {name}: made by the benchmark -->", f"<!-- {name}: end -->"
    old = page.read_text(encoding="utf-8") if page.exists() else "# Ways of sharing\n"
    block = f"{begin}\n{text.strip()}\n{end}"
    found = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    new = found.sub(lambda _: block, old) if found.search(old) else f"{old.rstrip()}\n\n{block}\n"
    write_whole(page, new.encode())


def put_rows(path: Path, dataset: str, rows: Rows, curve: Rows) -> None:
    """Replaces a data set's rows in the file, those of its curve where there is a new one."""
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    kept = [r for r in old if r["dataset"] != dataset or ("@" in r["model"] and not curve)]
    every = [*kept, *rows, *curve]
    lines = ",\n".join(json.dumps(row) for row in every)
    write_whole(path, f"[\n{lines}\n]\n".encode())


def made_by() -> str:
    """The command, the date, processors, Python and TensorFlow."""
    command = shlex.join(["python", "benchmarks/quality.py", *sys.argv[1:]])
    facts = machine.facts()
    return (
        f"`{command}`, {facts['date']}, {facts['machine']}, Python "
        f"{platform.python_version()}, TensorFlow {tf.__version__}"
    )
