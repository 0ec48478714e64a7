"""Packed exports against dense ones: bytes, load, memory and speed, without Python in the timing.

    ncs4cvr run kuairand               # makes the examples, and a model
    python benchmarks/serving.py       # all of it; `ncs4cvr bench serving` is the same

Trains the dense parts once (tickets of real searches, of single connections and in blocks, at five
sparsities; kept in ROOT/bench), exports every variant anew, and times them in turns in a C++
program over TensorFlow's own loader; then the whole model of the run. `--quick` takes one network,
two sparsities and few rounds, `--whole` measures the whole model alone and leaves the other rows as
they are. Writes docs/benchmarks/serving.md, .json and pictures.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs" / "benchmarks"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark; returns the exit status."""
    options = parser().parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported
    from serving_parts import page

    docs = Path(options.docs) if options.docs else None if options.quick else DOCS
    where = docs or Path(options.root) / "bench" / "serving"
    if options.whole:
        page.read(where)  # before minutes are spent
    if not options.page_only:
        rows = measured(options)
        (page.replace_whole if options.whole else page.write_json)(where, options, rows)
    if docs:
        page.write(docs)
    return 0


def measured(options: argparse.Namespace) -> list[dict]:
    """All rows of serving.json."""
    from ncs4cvr.pipeline import recipe_files
    from quality_parts import finished
    from quality_parts.data import Data, NoRun
    from serving_parts import cpp, timing, whole
    from serving_parts.tickets import BLOCK, REMOVED, SIZES, trained

    root = Path(options.root).resolve()
    kept = root / "bench" / "serving"
    recipe = recipe_files.load(options.recipe, ())
    run = root / recipe.name
    command = f"ncs4cvr run {options.recipe} --root {options.root}"
    try:
        data = Data.of_run(recipe, run, root / "bench" / recipe.name, command)
        of_model = finished.artifacts(run, "Trainer", ("model_run", "examples"), command)
    except NoRun as error:
        raise SystemExit(f"serving: {error}") from error
    for made in ("exports", "whole"):  # by another version, perhaps, than is measured
        shutil.rmtree(kept / made, ignore_errors=True)
    program = cpp.build(kept)
    sizes = () if options.whole else SIZES[:1] if options.quick else SIZES
    removed = REMOVED[1::2] if options.quick else REMOVED
    rounds = 8 if options.quick else options.rounds
    rows = []
    for size in sizes:
        single = trained(size, recipe, data, kept)
        blocks = trained(size, recipe, data, kept, BLOCK)
        for share in removed:
            say(f"{size.name}, {share:.0%} removed")
            part = timing.DensePart(size, share, single[share], blocks[share], kept / "exports")
            rows += part.sizes() + part.quality()
            rows += part.loads(program, 3 if options.quick else 7)
            for threads in (1,) if options.quick else (1, 2):
                rows += part.speeds(program, rounds, threads)
    say("the whole model")
    rows += whole.rows(*of_model, run, kept / "whole", program, rounds)
    return rows


def say(text: str) -> None:
    """One line of progress."""
    print(f"serving: {text}", file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    """The options."""
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("recipe", nargs="?", default="kuairand", metavar="RECIPE")
    p.add_argument("--root", default="runs", help="where runs are kept (default: runs)")
    p.add_argument("--rounds", type=int, default=40, help="timed turns of each case (40)")
    p.add_argument("--quick", action="store_true", help="little of it; writes no page")
    p.add_argument("--whole", action="store_true", help="the whole model alone")
    p.add_argument("--page-only", action="store_true", help="write the page from the .json")
    p.add_argument("--docs", help=f"where the page goes (default: {DOCS}; none with --quick)")
    return p


if __name__ == "__main__":
    sys.exit(main())
