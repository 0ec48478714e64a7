"""Ways of sharing against each other: same data, features, budget and training; many seeds.

    ncs4cvr run kuairand                              # makes the examples
    python benchmarks/quality.py kuairand             # every model, 5 seeds
    python benchmarks/quality.py kuairand --quick     # three models, one seed: under 10 minutes
    python benchmarks/quality.py kuairand --tune 12   # chooses the settings on validation first
    python benchmarks/quality.py kuairand --curve     # AUC against sparsity, too

`ncs4cvr bench quality ...` is the same. What is made is kept under ROOT/bench: an interrupted
benchmark goes on, and a second one only writes the page. Results of changed code are made anew;
`--any-code` takes them as they are, unless Transform ran anew with changed code. Writes
docs/benchmarks/quality.md, .json and pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ncs4cvr.schemas.recipe import Recipe
    from quality_parts.data import Data
    from quality_parts.plan import Plan

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs" / "benchmarks"
CHOSEN = HERE / "quality_chosen.json"
QUICK = ("ncs4cvr", "shared_bottom", "single_task")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    options = parser().parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C, processes and all
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported
    warnings.filterwarnings("ignore", category=FutureWarning, module="google")
    from ncs4cvr.pipeline.recipe_files import RecipeError
    from quality_parts.data import NoRun

    status = 0
    try:
        for name in options.recipes:
            status = max(status, one_data_set(name, options))
    except (NoRun, RecipeError) as error:
        print(f"quality: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nquality: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    return status


def one_data_set(name: str, options: argparse.Namespace) -> int:
    """Makes a data set's cells and its part of the page."""
    from ncs4cvr.pipeline import recipe_files
    from quality_parts import page, workers
    from quality_parts.data import Data
    from quality_parts.models import all_models
    from quality_parts.plan import CURVE, CURVES, choose, with_searches

    recipe = recipe_files.load(name, tuple(options.set))
    root = Path(options.root).resolve()
    kept = root / "bench" / recipe.name
    command = f"ncs4cvr run {name} --root {options.root}"
    data = Data.of_run(recipe, root / recipe.name, kept, command)
    plan = planned(recipe, data, kept / "cells", options)
    known = all_models(recipe)
    models = [known[m] for m in chosen_models(options, list(known))]
    left_out = {m.name: why for m in models if (why := plan.fits(m))}
    models = [m for m in models if m.name not in left_out]

    def make(cells: Sequence) -> list[str]:
        if options.page_only:
            return []
        log, count = kept / "bench.log", options.workers
        return workers.make(with_searches(cells), recipe, data, log, count, options.any_code)

    failed = []
    if options.tune:
        tuned = [m for m in models if m.tried]
        failed += make([cell for m in tuned for cell in plan.trials(m, options.tune)])
        write_chosen(Path(options.chosen), recipe.name, choose(plan, tuned, options.tune))
        plan = planned(recipe, data, kept / "cells", options)
    seeds = [1] if options.quick else options.seeds
    cells = [plan.cell(m, seed) for m in models for seed in seeds]
    curve = [
        plan.at_sparsity(removed, seed, known[name])
        for removed in CURVE
        for name in CURVES
        for seed in seeds[: options.curve]
    ]
    failed += make([*cells, *curve])
    page.write(page.Report(plan, data, models, cells, curve, left_out, options))
    for line in failed:
        print(f"quality: failed: {line}", file=sys.stderr)
    return 1 if failed else 0


def planned(recipe: Recipe, data: Data, cells: Path, options: argparse.Namespace) -> Plan:
    """What makes the data set's cells, with the settings chosen so far."""
    from quality_parts import plan, sizes

    for split in recipe.log.splits:
        rows = data.split(recipe, split.name)
    inputs = sizes.inputs_of(recipe, data.sizes(recipe), next(rows.in_order(2)))
    chosen = plan.read_chosen(Path(options.chosen), recipe.name)
    return plan.Plan(recipe, data.fingerprint, cells, inputs, chosen)


def chosen_models(options: argparse.Namespace, known: Sequence[str]) -> list[str]:
    """Names of the models to run.

    Raises:
      SystemExit: an unknown name.
    """
    names = options.models or (list(QUICK) if options.quick else known)
    for name in names:
        if name not in known:
            raise SystemExit(f"quality: no model {name!r}; known: {', '.join(known)}")
    return list(names)


def write_chosen(path: Path, dataset: str, chosen: dict) -> None:
    """Puts a data set's chosen settings into the file, the others' stay."""
    every = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    every.setdefault(dataset, {}).update(chosen)
    new = path.with_suffix(".new")
    new.write_text(json.dumps(every, indent=1) + "\n", encoding="utf-8")
    new.replace(path)


def parser() -> argparse.ArgumentParser:
    """The options."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("recipes", nargs="*", default=["kuairand"], metavar="RECIPE")
    p.add_argument("--root", default="runs", help="where runs are kept (default: runs)")
    p.add_argument("--models", type=_words, metavar="A,B", help="only these (default: all)")
    p.add_argument("--seeds", type=_numbers, default=[1, 2, 3, 4, 5], metavar="1,2,3")
    p.add_argument("--quick", action="store_true", help="three models, seed 1; writes no page")
    p.add_argument("--tune", type=int, default=0, metavar="N", help="N trials a model first")
    p.add_argument("--chosen", default=str(CHOSEN), help="file of chosen settings")
    p.add_argument(
        "--curve",
        type=int,
        nargs="?",
        const=3,
        default=0,
        metavar="SEEDS",
        help="AUC against sparsity, so many seeds (3)",
    )
    p.add_argument("--workers", type=int, default=1, help="processes at a time (1)")
    p.add_argument("--replicates", type=int, default=1000, help="of the bootstrap (1000)")
    p.add_argument("--any-code", action="store_true", help="take results of other code, too")
    p.add_argument("--page-only", action="store_true", help="make nothing, show what is there")
    p.add_argument(
        "--validation",
        action="store_true",
        help="show the validation split, to choose by, and not the test split; writes no page",
    )
    p.add_argument("--docs", help=f"where the page goes (default: {DOCS}; none with --quick)")
    p.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as in run")
    return p


def _words(text: str) -> list[str]:
    return text.split(",")


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
