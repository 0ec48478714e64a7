"""How a warm start learns best: its learning rate and its labels' share, by validation.

    ncs4cvr run kuairand --date 2022-05-02 --root FOLDER        # makes the examples
    python benchmarks/warm_start.py kuairand --date 2022-05-02 --root FOLDER

Takes the training and validation rows of a run's examples by day. The first days are trained on
from nothing; then a model goes on day by day, and every day it is judged on the next one. So no
test row is read, of this run or of a later day's. Every pair of `warm_label_share` and
`warm_learning_rate` goes on from the same model; beside them stand that model without an update,
and fresh days with a search of their own. Seeds that are done stay under FOLDER/bench and are not
repeated. Writes its section of docs/benchmarks/warm_start.md and .json, one for every `--base`.
Some 10 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import functools
import hashlib
import itertools
import json
import multiprocessing
import os
import signal
import sys
from pathlib import Path
from typing import Any

from page_parts import machine

DOCS = Path(__file__).parents[1] / "docs/benchmarks"
SHARES, RATES = (1.0, 0.5, 0.2, 0.1), (0.0005, 0.001, 0.002, 0.004)


def main() -> int:
    """Returns the exit status."""
    args = parser().parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported
    os.environ.setdefault("PYTHONWARNINGS", "ignore::FutureWarning")  # of the seeds' processes
    from ncs4cvr.pipeline.recipe_files import RecipeError
    from quality_parts.data import NoRun
    from warm_start_parts import page

    try:
        if not args.page_only:
            page.write_json(args.docs, measured(args))
    except (NoRun, RecipeError) as error:
        print(f"warm_start: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nwarm_start: interrupted; the same command repeats no seed", file=sys.stderr)
        return 130
    page.write(args.docs)
    return 0


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """What the page is written from; trains what is not there yet.

    Raises:
      NoRun: there are no examples, or too few days of them.
    """
    from ncs4cvr.pipeline import recipe_files
    from quality_parts.data import Data, NoRun
    from warm_start_parts.days import by_day

    unset = ("warm_start=on", "warm_learning_rate=0", "warm_label_share=1")
    recipe = recipe_files.load(args.recipe, (*args.set, *unset))
    dated = f" --date {args.date}" if args.date else ""
    command = f"ncs4cvr run {args.recipe}{dated} --root {args.root}"
    run = args.root / recipe.name
    data = Data.of_run(recipe, run, args.root / "bench" / recipe.name, command)
    days = list(by_day(recipe, data, _kept(data)).files)
    if len(days) < args.base + 2:
        raise NoRun(
            f"training and validation rows in {data.raw} are of {len(days)} days; at least "
            f"{args.base + 2} are needed: {args.base} to start with, one to go on with, one to "
            "judge on. Run a later --date, or lower --base"
        )
    settings = list(itertools.product(args.shares, args.rates))
    one = functools.partial(one_seed, args, recipe, data, settings)
    of_seeds = concurrent.futures.ProcessPoolExecutor(
        args.workers,
        multiprocessing.get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),  # Ctrl-C is this process's alone
    )
    with of_seeds as pool:
        try:
            rows = [row for found in pool.map(one, args.seeds) for row in found]
        except KeyboardInterrupt:
            for seed in multiprocessing.active_children():
                seed.terminate()
            raise
    about = {
        **machine.facts(),
        "recipe": args.recipe,
        "set": args.set,
        "run_date": args.date,
        "seeds": args.seeds,
        "base": days[: args.base],
        "days": days[args.base :],
    }
    return {"about": about, "rows": rows}


def one_seed(args: argparse.Namespace, recipe: Any, data: Any, settings: list, seed: int) -> list:
    """A seed's rows, in a process of its own; from the file that keeps them, if it is there."""
    from quality_parts.cells import code_digest, write_whole

    recipe = recipe.replace(seed=seed)
    chain_code = (Path(__file__).parent / "warm_start_parts/chain.py").read_text(encoding="utf-8")
    asked = [recipe.to_json(), settings, args.base, code_digest(), chain_code]
    digest = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
    file = _kept(data) / f"seed-{seed}-{digest}.json"
    if not file.exists():
        import tensorflow as tf

        from warm_start_parts import chain
        from warm_start_parts.days import by_day

        tf.get_logger().setLevel("ERROR")
        threads = max(1, (os.cpu_count() or 1) // args.workers)
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        of = (recipe, by_day(recipe, data, _kept(data)), args.base, settings)
        tell = functools.partial(print, f"seed {seed}:", file=sys.stderr, flush=True)
        rows = [{"seed": seed, **row} for row in chain.results(*of, tell)]
        write_whole(file, json.dumps(rows).encode())
    return json.loads(file.read_text(encoding="utf-8"))


def _kept(data: Any) -> Path:
    return data.rows.parent / f"days-{data.fingerprint}"


def parser() -> argparse.ArgumentParser:
    """The options."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("recipe", nargs="?", default="kuairand")
    p.add_argument("--root", type=Path, default=Path("runs"), help="where the run is (runs)")
    p.add_argument("--date", default="", help="the run's, for the page")
    p.add_argument("--base", type=int, default=4, metavar="DAYS", help="to start with (4)")
    p.add_argument("--shares", type=float, nargs="+", default=SHARES, metavar="A")
    p.add_argument("--rates", type=float, nargs="+", default=RATES, metavar="RATE")
    p.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103, 104])
    p.add_argument("--workers", type=int, default=2, help="processes at a time (2)")
    p.add_argument("--set", action="append", default=[], metavar="key=value", help="as in run")
    p.add_argument("--docs", type=Path, default=DOCS, help="where the page goes")
    p.add_argument("--page-only", action="store_true", help="write the page from the .json")
    return p


if __name__ == "__main__":
    sys.exit(main())
