"""Examples a second of training with one worker and with two, on the same cores.

    ncs4cvr run && python benchmarks/workers.py

Takes examples and tickets of the last `ncs4cvr run` and trains the recipe's network on them, in
turns: one process on all cores, then two on half of them each, which share every batch. Each turn
starts new processes, takes some steps unmeasured, and then times an epoch as training does it:
under the tickets and with nothing pruned yet, since workers exchange kept connections only; with
the recipe's batch and with a large one, since what they exchange in a step grows slower than its
arithmetic; with the recipe's embedding table and with a large one, whole on every worker or cut
among them. Writes docs/benchmarks/workers.md and workers.json. Some 7 minutes a turn on 2 cores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from page_parts import machine

DOCS = Path(__file__).parents[1] / "docs/benchmarks"
WARM_UP = 30  # steps
ALLOWED = 0.85  # of one worker's throughput
ONE, TWO, SHARDED = "one", "workers", "sharded"  # as a recipe's `distribution`


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", default="runs/kuairand", help="folder of a finished run")
    parser.add_argument("--recipe", default="kuairand")
    parser.add_argument("--set", action="append", default=[], metavar="key=value")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[512, 4096], metavar="ROWS")
    parser.add_argument("--rows", type=int, default=8_000_000, help="of the large table")
    parser.add_argument("--unpruned", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--table", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--cores", type=int, nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported
    if args.cores:
        os.sched_setaffinity(0, args.cores)
        print(json.dumps(measure(args)), flush=True)
        sys.stdin.read()  # who is done stays while another may still be fetching from it
        os._exit(0)  # what TensorFlow keeps running for its cluster must not hold up the end
    turns = []
    for _ in range(args.turns):
        for batch, (tickets, table) in itertools.product(
            args.batches, ((True, 0), (False, 0), (True, args.rows))
        ):
            ways = (ONE, TWO, SHARDED) if tickets else (ONE, TWO)
            rates = {way: rate(way, batch, tickets, table) for way in ways}
            turns.append({"batch_size": batch, "tickets": tickets, "table": table, **rates})
            print(turns[-1], file=sys.stderr, flush=True)
    load = round(float(Path("/proc/loadavg").read_text().split()[1]), 1)
    about = {**machine.facts(), "recipe": args.recipe, "set": args.set, "load": load}
    told = {"about": about, "turns": turns}
    (DOCS / "workers.json").write_text(json.dumps(told, indent=1) + "\n")
    (DOCS / "workers.md").write_text(page(told))
    print(page(told))


def rate(way: str, batch: int, tickets: bool, table: int) -> dict:
    """What the chief of the workers measured, in processes of their own."""
    from ncs4cvr.models.together import launch

    configs = [""] if way == ONE else launch.loopback(2)
    ways = [f"--set=distribution={way}", f"--set=batch_size={batch}", f"--table={table}"]
    ways += ["--unpruned"] * (not tickets)
    started = []
    for index, config in enumerate(configs):
        cores = map(str, launch.cores(index, len(configs)))
        started.append(
            subprocess.Popen(
                [sys.executable, __file__, *sys.argv[1:], *ways, "--cores", *cores],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "TF_CONFIG": config},
            )
        )
    told = [each.stdout.readline() for each in started]
    for each in started:
        each.communicate()
    if any(each.returncode for each in started):
        sys.exit("a worker failed; see above")
    return json.loads(told[0])


def measure(args: argparse.Namespace) -> dict:
    """One worker: joins the others, then times the training loop."""
    from training import artifacts, open_run

    from ncs4cvr.models.layers.sharing import set_ticket
    from ncs4cvr.models.learning import training
    from ncs4cvr.models.pruning import starts
    from ncs4cvr.models.pruning.tickets import Tickets
    from ncs4cvr.models.together.workers import assemble
    from ncs4cvr.pipeline import recipe_files

    recipe = recipe_files.load(args.recipe, tuple(args.set))
    workers = assemble(recipe, os.environ)  # before TensorFlow's first operation
    recipe, sizes, train = open_run(args, workers)
    if args.table:  # the first vocabulary has more words, which do not occur
        first = next(iter(sizes))
        sizes[first] += args.table - sum(sizes.values())
    before = peak()
    model = starts.build(recipe, sizes, train.no_rows(), workers)
    if not args.unpruned:
        found = Tickets.load(str(artifacts(args, "TicketSearch", "tickets")[0]))
    if not args.unpruned and args.table:
        for t, task in enumerate(recipe.tasks):
            set_ticket(model.sharing.connections(t), found.tickets[task.name])
    elif not args.unpruned:
        starts.apply_tickets(model, found)

    def epoch(number: int, steps: int) -> int:
        """The steps taken; at least so many, where the epoch has them."""
        taken: list[int] = []

        def enough(more: int) -> bool:
            taken.append(more)
            return sum(taken) >= steps

        training.train_epoch(
            model, train.epoch(number, recipe.batch_size, recipe.seed), 0, "", enough
        )
        return sum(taken)

    rows = train.count()  # as training does: after it the examples are in memory
    epoch(0, WARM_UP)
    workers.meet()
    began, cpu = time.perf_counter(), time.process_time()
    steps = epoch(1, rows)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {
        "examples_s": rows / seconds,
        "cpu_ms_a_step": 1e3 * cpu / steps,
        "steps": steps,
        "distinct": distinct(model, next(iter(train.epoch(0, recipe.batch_size, 1)))),
        "parameters": model.trunks[0].embedding.rows * recipe.embedding_dim,
        "mb_before": before,
        "mb_peak": peak(),
    }


def distinct(model, batch: dict) -> float:
    """The share of the ids that a worker looks up for a batch that are different ones."""
    ids = model.trunks[0].ids(batch).numpy()
    return len(set(ids.tolist())) / len(ids)


def peak() -> int:
    """The most memory that this process has had, in 10^6 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 10**6


def page(told: dict) -> str:
    """The page, from what was measured alone."""
    about, turns = told["about"], told["turns"]
    kinds = sorted({_kind(turn) for turn in turns})
    parameters = max(turn[ONE]["parameters"] for turn in turns)
    lines = [
        "# Training with one worker and with two",
        "",
        f"`python benchmarks/workers.py`: recipe `{about['recipe']}`, {about['date']},",
        f"{about['machine']}, load average {about['load']} at its end. In each row",
        f"{len(turns) // len(kinds)} turns of one worker and two in alternation, an epoch each, in",
        "new processes; all cores are used in either case. The batch is that of all workers",
        f"together; two workers' throughput was to be at least {ALLOWED} of one's. Before anything",
        "is pruned they exchange the gradients of all connections, under tickets of those that are",
        "kept. The small embedding table is the recipe's; the large one has as many more rows, of",
        f"words that do not occur, that it has {parameters:,} parameters. *Whole*: every worker",
        "has the whole table (`distribution=workers`); *cut*: each has half of it (`sharded`).",
        "",
        "| batch | connections | table | two workers have it | examples/s, one worker |"
        " two workers | of one's | lowest to highest | aim | processor ms a step, one |"
        " chief of two |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind in kinds:
        chosen = [turn for turn in turns if _kind(turn) == kind]
        for way in (TWO, SHARDED):
            if way in chosen[0]:
                lines.append(f"| {' | '.join(_rates(kind, way, chosen))} |")
    return "\n".join([*lines, *_memory(turns), ""])


def _kind(turn: dict) -> tuple[bool, int, bool]:
    return turn["table"] > 0, turn["batch_size"], not turn["tickets"]


def _rates(kind: tuple[bool, int, bool], way: str, turns: list[dict]) -> list[str]:
    large, batch, unpruned = kind
    rates = {n: [turn[n]["examples_s"] for turn in turns] for n in (ONE, way)}
    cpu = {n: statistics.median(t[n]["cpu_ms_a_step"] for t in turns) for n in rates}
    ratios = [two / one for one, two in zip(rates[ONE], rates[way], strict=True)]
    ratio = statistics.median(ratios)
    return [
        f"{batch:,}",
        "all" if unpruned else "of the tickets",
        "large" if large else "small",
        "cut" if way == SHARDED else "whole",
        *(f"{statistics.median(r):,.0f}" for r in rates.values()),
        f"**{ratio:.2f}**",
        f"{min(ratios):.2f} to {max(ratios):.2f}",
        "kept" if ratio >= ALLOWED else "missed",
        *(f"{ms:.1f}" for ms in cpu.values()),
    ]


def _memory(turns: list[dict]) -> list[str]:
    """What the large table costs every worker."""
    large = [turn for turn in turns if turn["table"]]
    parameters = large[0][ONE]["parameters"]
    lines = [
        "",
        "## Memory with the large table",
        "",
        "Of the chief, 10^6 bytes: the most that it has had at the end of the timed epoch, less",
        "the most before the model was made (examples are in memory then). Values and two moments",
        f"of {parameters:,} parameters are {12 * parameters / 1e6:,.0f} MB. Training adds the best",
        "epoch's values, which are not in here: 4 bytes a parameter, or 12 with a warm start.",
        "",
        "| batch | one worker | two, table whole | two, table cut | cut, of whole |",
        "|---|---|---|---|---|",
    ]
    for batch in sorted({turn["batch_size"] for turn in large}):
        grown = [
            statistics.median(
                turn[way]["mb_peak"] - turn[way]["mb_before"]
                for turn in large
                if turn["batch_size"] == batch
            )
            for way in (ONE, TWO, SHARDED)
        ]
        cells = [f"{mb:,.0f}" for mb in grown]
        lines.append(f"| {batch:,} | {' | '.join(cells)} | {grown[2] / grown[1]:.2f} |")
    return lines


if __name__ == "__main__":
    main()
