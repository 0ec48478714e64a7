"""How fast a training step is, against what its matrix products alone would take.

    ncs4cvr run && python benchmarks/training.py

Takes the examples of the last `ncs4cvr run` and trains every sharing with equal layer
sizes, in turns, so that what else the machine does hits all alike: compare ratios, not rates. Runs
once with one thread and once with as many as there are cores, each in a process of its own. Writes
docs/benchmarks/training.md, .json and .png. Some 15 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs" / "benchmarks"
STEPS = {1024: 10, 4096: 4}  # in one turn
TICKET_DENSITY = 0.2
TOWERS = "two towers, one trunk"
WITH_INPUT = "ncs4cvr, with its input"
ALONE, ONE_BY_ONE = "ncs4cvr's products alone", "ncs4cvr's products one by one"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", default="runs/kuairand", help="folder of a finished run")
    parser.add_argument("--recipe", default="kuairand")
    parser.add_argument("--set", action="append", default=[], metavar="key=value")
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--sharings", default="", help="some of them, by commas")
    parser.add_argument("--page-only", action="store_true", help="write the page from the .json")
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported
    if args.threads:
        print(json.dumps(measure(args)), flush=True)
        return
    from training_parts import page

    if not args.page_only:
        cells = []
        for threads in sorted({1, os.cpu_count() or 1}):
            command = [sys.executable, __file__, *sys.argv[1:], "--threads", str(threads)]
            out = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
            cells += json.loads(out.splitlines()[-1])
        page.write_json(DOCS, args, cells)
    page.write(DOCS)


def measure(args: argparse.Namespace) -> list[dict]:
    """One process with a fixed number of threads: a row per batch size and model."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    from ncs4cvr.models.layers.network import SHARINGS
    from ncs4cvr.schemas import recipe as recipes
    from training_parts import profiling

    recipe, sizes, train = open_run(args)
    names = args.sharings.split(",") if args.sharings else list(recipes.SHARINGS)
    names = [n for n in names if n in SHARINGS]
    batch = next(iter(train.epoch(0, min(STEPS), 1)))
    models = {n: build(recipe, sizes, batch, n) for n in (*names, TOWERS)}
    cells = []
    for size, steps in STEPS.items():
        fixed = tf.data.Dataset.from_tensors(next(iter(train.epoch(0, size, 1)))).repeat()
        wanted = {n: profiling.products(m, next(iter(fixed))) for n, m in models.items()}
        work = {n: sum(map(profiling.flops, w)) / 1e9 for n, w in wanted.items()}
        runs = {n: stepping(m, lambda data=fixed: data, steps) for n, m in models.items()}
        runs[WITH_INPUT] = stepping(models["ncs4cvr"], epochs(train, size), steps)
        for name, way in ((ALONE, profiling.alone), (ONE_BY_ONE, profiling.one_by_one)):
            runs[name] = repeated(way(wanted["ncs4cvr"]), steps)
        taken = in_turns(runs, args.turns)
        floor = {  # per clock, the faster way to do the products
            clock: min((ALONE, ONE_BY_ONE), key=lambda n: statistics.median(taken[n][clock]))
            for clock in ("wall", "cpu")
        }
        for name, clocks in taken.items():
            cell = {"threads": args.threads, "batch": size, "name": name}
            cell["gflop"] = work.get(name, work["ncs4cvr"])
            for clock, seconds in clocks.items():
                cell[f"{clock}_ms"] = 1e3 * statistics.median(seconds)
                for key, other in (("floor", floor[clock]), ("towers", TOWERS)):
                    pairs = zip(seconds, taken[other][clock], strict=True)
                    cell[f"{clock}_to_{key}"] = statistics.median(a / b for a, b in pairs)
            if name in ("ncs4cvr", WITH_INPUT):
                cell["parts"], cell["waited"] = profiling.shares(runs[name])
            cells.append(cell)
            print(json.dumps(cell), file=sys.stderr, flush=True)
    return cells


def artifacts(args: argparse.Namespace, component: str, *keys: str) -> list[Path]:
    """Folders of what a component of the run took and gave, when it last finished."""
    from quality_parts import finished

    command = f"ncs4cvr run {args.recipe}"
    try:
        return finished.artifacts(Path(args.run), component, keys, command)
    except finished.NoRun as error:
        raise SystemExit(str(error)) from error


def open_run(args: argparse.Namespace, workers=None):
    """(recipe, vocabulary sizes, batches of the training split) of a finished run."""
    import tensorflow_transform as tft

    from ncs4cvr.models.learning.batches import Batches
    from ncs4cvr.models.preprocessing import vocabulary_sizes
    from ncs4cvr.pipeline import recipe_files

    recipe = recipe_files.load(args.recipe, tuple(args.set))
    of_graph, examples = artifacts(args, "Transform", "transform_graph", "examples")
    graph = tft.TFTransformOutput(str(of_graph))
    train = Batches(f"{examples}/Split-{recipe.log.splits[0].name}/*", graph, workers=workers)
    train.count()  # transformed and kept
    return recipe, vocabulary_sizes(recipe, graph), train


def build(recipe, sizes, batch, name: str):
    """A model ready to train; ncs4cvr under random tickets of the default density."""
    import numpy as np

    from ncs4cvr.models.layers import network
    from ncs4cvr.models.layers.sharing import set_ticket
    from ncs4cvr.models.layers.towers import EntireSpace
    from ncs4cvr.models.pruning import starts

    class TwoTowers(EntireSpace):
        """Two plain dense towers on one trunk, each with its own task's loss."""

        sample_space = "own"

    if name == TOWERS:
        with mock.patch.dict(network.SHARINGS, esmm=TwoTowers):
            return starts.build(recipe.replace(sharing="esmm"), sizes, batch)
    model = starts.build(recipe.replace(sharing=name), sizes, batch)
    rng = np.random.default_rng(1)
    if name == "ncs4cvr":
        for task in range(len(recipe.tasks)):
            connections = model.sharing.connections(task)
            ticket = [rng.random(k.shape) < TICKET_DENSITY for k, _ in connections]
            set_ticket(connections, ticket)
    return model


def epochs(train, size: int) -> Callable:
    """Gives another epoch at every call."""
    number = iter(range(10**9))
    return lambda: train.epoch(next(number), size, 1)


def stepping(model, more: Callable, steps: int) -> Callable[[], int]:
    """Takes `steps` steps as `training.train_epoch` does; returns how many."""
    import tensorflow as tf

    left, count = [iter(more())], tf.constant(steps)

    def run() -> int:
        taken = len(model.compiled_steps(left[0], count)[0].numpy())
        if taken < steps:
            left[0] = iter(more())
        return taken

    return run


def repeated(once: Callable[[], object], times: int) -> Callable[[], int]:
    """Does the same several times; returns how many."""
    return lambda: len([once() for _ in range(times)])


def in_turns(runs: dict[str, Callable[[], int]], turns: int) -> dict[str, dict[str, list[float]]]:
    """Seconds a step of every run in every turn, by the wall's clock and the processor's."""
    taken: dict[str, dict[str, list[float]]] = {n: {"wall": [], "cpu": []} for n in runs}
    for turn in range(-2, turns):
        for name, run in runs.items():
            count = 0
            wall, cpu = time.perf_counter(), time.process_time()
            while not count:  # an epoch may just have ended
                wall, cpu = time.perf_counter(), time.process_time()
                count = run()
            if turn >= 0:
                taken[name]["wall"].append((time.perf_counter() - wall) / count)
                taken[name]["cpu"].append((time.process_time() - cpu) / count)
    return taken


if __name__ == "__main__":
    main()
