"""Makes cells in processes of their own, one or more a model, and says how long is left."""

from __future__ import annotations

import collections
import contextlib
import multiprocessing
import os
import pickle
import queue
import statistics
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a process imports TensorFlow only where its chatter goes to the log
    from ncs4cvr.schemas.recipe import Recipe
    from quality_parts.cells import Cell
    from quality_parts.data import Data

GUESS_S = {"search": 60.0, "train": 30.0, "boost": 40.0}  # before anything was measured


def missing(cells: Sequence[Cell], any_code: bool) -> list[Cell]:
    """The cells without a result."""
    return [cell for cell in cells if cell.stored(any_code) is None]


def make(
    groups: Sequence[Sequence[Cell]],
    recipe: Recipe,
    data: Data,
    log: Path,
    workers: int = 1,
    any_code: bool = False,
) -> list[str]:
    """Makes what is missing of every group, one group after the other.

    Args:
      groups: cells whose order matters: searches before the models that need them.
      recipe, data: of the data set.
      log: where the processes' chatter goes.
      workers: processes at a time; they divide the processors.
      any_code: results of other code count as made.

    Returns:
      What failed, one message a cell; the others are made all the same.
    """
    from tqdm import tqdm

    todo = [missing(group, any_code) for group in groups]
    cells = [cell for group in todo for cell in group]
    if not cells:
        return []
    threads = max(1, (os.cpu_count() or 1) // workers)
    speeds = Expected([cell for group in groups for cell in group])
    context = multiprocessing.get_context("spawn")
    failures: list[str] = []
    form = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
    often = 1.0 if sys.stderr.isatty() else 60.0
    with tqdm(total=len(cells), desc=recipe.name, bar_format=form, mininterval=often) as bar:
        left = list(cells)
        for group in todo:
            jobs = collections.deque(jobs_of(group, workers))
            news = context.Queue()
            running: dict[int, multiprocessing.process.BaseProcess] = {}
            try:
                while jobs or running:
                    while jobs and len(running) < workers:
                        job = pickle.dumps((jobs.popleft(), recipe, data, threads))
                        process = context.Process(target=_work, args=(job, log, news), daemon=True)
                        process.start()
                        running[process.pid or 0] = process
                    bar.set_postfix_str(f"{_clock(speeds.of(left) / workers)} left", refresh=False)
                    bar.update(0)
                    _hear(news, left, failures, speeds, bar)
                    for pid in [p for p, process in running.items() if not process.is_alive()]:
                        ended = running.pop(pid)
                        ended.join()
                        if ended.exitcode:
                            failures.append(f"a process ended with {ended.exitcode}; see {log}")
                while _hear(news, left, failures, speeds, bar, wait=0.1):
                    pass
            finally:
                for process in running.values():
                    process.terminate()
                    process.join()
    return failures


class Expected:
    """How long cells take, learned from those that were made."""

    def __init__(self, cells: Sequence[Cell]):
        self.seen: dict[str, list[float]] = collections.defaultdict(list)
        for cell in cells:
            result = cell.stored(any_code=True)
            if result:
                self.add(cell, result["seconds"])

    def add(self, cell: Cell, seconds: float) -> None:
        """A cell was made."""
        self.seen[cell.kind].append(seconds)
        self.seen[cell.model].append(seconds)

    def of(self, cells: Sequence[Cell]) -> float:
        """Seconds for cells, by the median of the same model, else of the same kind."""
        return sum(
            statistics.median(self.seen.get(c.model) or self.seen.get(c.kind) or [GUESS_S[c.kind]])
            for c in cells
        )


def jobs_of(cells: Sequence[Cell], workers: int) -> list[list[Cell]]:
    """What one process makes each: a model's cells, which share what it opened and compiled.

    Where there are fewer models than workers (all searches count as one), the longest are halved.
    """
    by_model: dict[str, list[Cell]] = collections.defaultdict(list)
    for cell in cells:
        by_model[cell.model].append(cell)
    jobs = list(by_model.values())
    while 0 < len(jobs) < min(workers, len(cells)):
        longest = max(jobs, key=len)
        jobs.remove(longest)
        jobs += [longest[::2], longest[1::2]]
    return jobs


def _hear(news, left: list[Cell], failures: list[str], speeds, bar, wait: float = 1.0) -> bool:
    try:
        path, seconds, error = news.get(timeout=wait)
    except queue.Empty:
        return False
    (cell,) = [c for c in left if c.path == path]
    left.remove(cell)
    bar.update()
    speeds.add(cell, seconds)
    if error:
        failures.append(f"{cell.model}, seed {cell.recipe.seed}: {error}")
        bar.write(failures[-1])
    return True


def _clock(seconds: float) -> str:
    minutes, hours = round(seconds / 60), int(seconds / 3600)
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


def _work(job: bytes, log: Path, news) -> None:
    """A process's whole life."""
    from ncs4cvr.pipeline.display import chatter_to

    # After Ctrl-C it is the parent that says so.
    with contextlib.suppress(KeyboardInterrupt), chatter_to(log):
        # The job comes from the process that started this one, and from nowhere else.
        _make_each(*pickle.loads(job), news)  # noqa: S301


def _make_each(cells: Sequence[Cell], recipe: Recipe, data: Data, threads: int, news) -> None:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    from quality_parts import boosting, training

    makers = {
        "search": training.search,
        "train": training.train,
        "boost": lambda cell, bench: boosting.boost(cell, bench, threads),
    }
    bench = training.Bench(recipe, data)
    parent = multiprocessing.parent_process()
    for cell in cells:
        if parent and not parent.is_alive():
            return
        began, error = time.monotonic(), ""
        try:
            makers[cell.kind](cell, bench)
        except Exception as caught:
            traceback.print_exc()
            error = f"{type(caught).__name__}: {caught}"
        news.put((cell.path, time.monotonic() - began, error))
