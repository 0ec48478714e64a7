"""Examples a second of training with one worker and with two, on the same cores.

    ncs4cvr run && python benchmarks/workers.py

Takes examples and tickets of the last `ncs4cvr run` and trains the recipe's network on them, in
turns: one process on all cores, then two on half of them each, which share every batch. Each turn
starts new processes, takes some steps unmeasured, and then times an epoch as training does it:
under the tickets and with nothing cut yet, since workers exchange kept connections only; with the
recipe's batch and with a large one, since what they exchange in a step grows slower than its
arithmetic. Writes docs/benchmarks/workers.md and workers.json. Some 12 minutes on 2 cores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from page_parts import machine

DOCS = Path(__file__).parents[1] / "docs/benchmarks"
WARM_UP = 30  # steps
ALLOWED = 0.85  # of one worker's throughput


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", default="runs/kuairand", help="folder of a finished run")
    parser.add_argument("--recipe", default="kuairand")
    parser.add_argument("--set", action="append", default=[], metavar="key=value")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--batches", type=int, nargs="+", default=[512, 4096], metavar="ROWS")
    parser.add_argument("--whole", action="store_true", help=argparse.SUPPRESS)
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
        for batch, whole in itertools.product(args.batches, (False, True)):
            rates = {str(count): rate(count, batch, whole) for count in (1, 2)}
            turns.append({"batch_size": batch, "tickets": not whole, **rates})
            print(turns[-1], file=sys.stderr, flush=True)
    load = round(float(Path("/proc/loadavg").read_text().split()[1]), 1)
    about = {**machine.facts(), "recipe": args.recipe, "set": args.set, "load": load}
    told = {"about": about, "turns": turns}
    (DOCS / "workers.json").write_text(json.dumps(told, indent=1) + "\n")
    (DOCS / "workers.md").write_text(page(told))
    print(page(told))


def rate(count: int, batch: int, whole: bool) -> dict:
    """What the chief of so many workers measured, in processes of their own."""
    from ncs4cvr.models import launch

    configs = [""] if count == 1 else launch.loopback(count)
    way = "workers" if count > 1 else "one"
    ways = [f"--set=distribution={way}", f"--set=batch_size={batch}", *["--whole"] * whole]
    started = []
    for index, config in enumerate(configs):
        cores = map(str, launch.cores(index, count))
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
    from training import newest, open_run

    from ncs4cvr.models import starts, training
    from ncs4cvr.models.tickets import Tickets
    from ncs4cvr.models.workers import assemble
    from ncs4cvr.pipeline import recipe_files

    recipe = recipe_files.load(args.recipe, tuple(args.set))
    workers = assemble(recipe, os.environ)  # before TensorFlow's first operation
    recipe, sizes, train = open_run(args, workers)
    model = starts.build(recipe, sizes, train.no_rows(), workers)
    if not args.whole:
        starts.apply_tickets(model, Tickets.load(str(newest(args.run, "TicketSearch", "tickets"))))

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
    return {"examples_s": rows / seconds, "cpu_ms_a_step": 1e3 * cpu / steps, "steps": steps}


def page(told: dict) -> str:
    """The page, from what was measured alone."""
    about, turns = told["about"], told["turns"]
    kinds = sorted({(turn["batch_size"], not turn["tickets"]) for turn in turns})
    lines = [
        "# Training with one worker and with two",
        "",
        f"`python benchmarks/workers.py`: recipe `{about['recipe']}`, {about['date']},",
        f"{about['machine']}, load average {about['load']} at its end. In each row",
        f"{len(turns) // len(kinds)} turns of one worker and two in alternation, an epoch each, in",
        "new processes; all cores are used in either case. The batch is that of all workers",
        f"together; two workers' throughput was to be at least {ALLOWED} of one's. Before anything",
        "is cut they exchange the gradients of all connections, under tickets of those that are",
        "kept.",
        "",
        "| batch | connections | examples/s, one worker | two workers | of one's |"
        " lowest to highest | aim | processor ms a step, one | chief of two |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for batch, whole in kinds:
        chosen = [t for t in turns if (t["batch_size"], not t["tickets"]) == (batch, whole)]
        rates = {n: [turn[n]["examples_s"] for turn in chosen] for n in ("1", "2")}
        cpu = {n: statistics.median(t[n]["cpu_ms_a_step"] for t in chosen) for n in rates}
        ratios = [two / one for one, two in zip(rates["1"], rates["2"], strict=True)]
        ratio = statistics.median(ratios)
        cells = [
            f"{batch:,}",
            "all" if whole else "of the tickets",
            *(f"{statistics.median(r):,.0f}" for r in rates.values()),
            f"**{ratio:.2f}**",
            f"{min(ratios):.2f} to {max(ratios):.2f}",
            "kept" if ratio >= ALLOWED else "missed",
            *(f"{ms:.1f}" for ms in cpu.values()),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
