"""Makes cells with TensorFlow, as the pipeline does: ticket searches and trained models."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import resource
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from ncs4cvr.models import sparsity
from ncs4cvr.models.learning import training
from ncs4cvr.models.learning.batches import Batches
from ncs4cvr.models.learning.ranker import Ranker
from ncs4cvr.models.pruning import lottery, soft_labels, starts
from ncs4cvr.models.pruning.soft_labels import SoftLabels
from ncs4cvr.models.pruning.tickets import Tickets
from ncs4cvr.schemas.recipe import Recipe
from quality_parts import sizes
from quality_parts.cells import SPLITS, Cell
from quality_parts.data import Data, Rows
from quality_parts.scores import scores


class Clock:
    """Times the epochs of `training.fit` from outside: it asks for an epoch, then for validation.

    Stands in for both splits' `Batches`.
    """

    def __init__(self, train: Batches, valid: Batches):
        self.train, self.valid, self.workers = train, valid, train.workers
        self.seconds: list[float] = []
        self._since = 0.0

    def epoch(self, *args: Any):
        """As `Batches.epoch`; the clock starts."""
        self._since = time.monotonic()
        return self.train.epoch(*args)

    def in_order(self, *args: Any):
        """As `Batches.in_order` of the validation split; the clock stops."""
        if self._since:
            self.seconds.append(time.monotonic() - self._since)
            self._since = 0.0
        return self.valid.in_order(*args)


@dataclasses.dataclass
class Bench:
    """A data set opened for one process's cells."""

    recipe: Recipe
    data: Data

    def __post_init__(self) -> None:
        train, valid, test = (s.name for s in self.recipe.log.splits)
        self.train, self.valid = self.data.batches(train), self.data.batches(valid)
        self.rows = self.train.count()
        self.sizes = self.data.sizes(self.recipe)
        named = dict(zip(SPLITS, (valid, test), strict=True))
        self.judged = {ours: self.data.split(self.recipe, theirs) for ours, theirs in named.items()}


class Timed(SoftLabels):
    """Soft labels whose making is timed apart from the search."""

    seconds = 0.0

    def add(self, model: Ranker) -> None:
        """As `SoftLabels.add`."""
        began = time.monotonic()
        super().add(model)
        self.seconds += time.monotonic() - began


def search(cell: Cell, bench: Bench) -> None:
    """Finds the cell's tickets."""
    recipe = cell.recipe
    reset_peak()
    began = time.monotonic()
    soft = Timed(recipe, bench.train)
    of = (bench.sizes, bench.train, bench.valid, bench.rows)
    found = lottery.find_tickets(recipe, *of, {}, soft)
    seconds = time.monotonic() - began - soft.seconds
    shutil.rmtree(cell.arrays, ignore_errors=True)
    facts = {**found.facts, soft_labels.FACTS: soft.save(str(cell.arrays))}
    found = dataclasses.replace(found, facts=facts)
    found.save(str(cell.arrays))
    steps = [r["steps"] for r in found.facts["rounds"]]
    # A step trains one copy of the network per task; warming up trains the joint model.
    trained = sum(_rows_in(s, bench) for s in steps) * len(recipe.tasks)
    trained += _rows_in(recipe.warmup_steps, bench)
    cell.store(
        {
            "kind": cell.kind,
            "model": cell.model,
            "seed": recipe.seed,
            "seconds": seconds,
            "soft_label_seconds": soft.seconds,
            "rows_times_copies": trained,
            "peak_mb": peak_mb(),
            "facts": dict(found.facts),
        }
    )


def _rows_in(steps: int, bench: Bench) -> int:
    """Rows in so many steps; an epoch's last batch is smaller."""
    batch = bench.recipe.batch_size
    epoch = math.ceil(bench.rows / batch)
    return steps // epoch * bench.rows + steps % epoch * batch


def train(cell: Cell, bench: Bench) -> None:
    """Trains the cell's model as the Trainer does, and judges it once on every split."""
    recipe = cell.recipe
    reset_peak()
    began = time.monotonic()
    train = bench.train
    found = Tickets.load(str(cell.search.arrays)) if cell.search else None
    if found and cell.search and recipe.soft_labels == "rounds":
        where = str(cell.search.arrays)
        train, _ = soft_labels.given(recipe, train, bench.rows, found, where)
    if recipe.sharing != "ncs4cvr":
        found = None
    model = starts.joint_model(recipe, bench.sizes, bench.train, bench.rows, found)
    clock = Clock(train, bench.valid)
    with tempfile.TemporaryDirectory() as checkpoint:
        history = training.fit(
            model,
            clock,  # type: ignore[arg-type]
            clock,  # type: ignore[arg-type]
            rows=bench.rows,
            checkpoint=checkpoint,
            after_epoch=lambda *_: None,
        )
    seconds, peak = time.monotonic() - began, peak_mb()
    predicted = {split: _predict(model, rows) for split, rows in bench.judged.items()}
    result = {
        **facts(cell, seconds, peak, predicted, bench),
        **_costs(model, bench),
        "examples_per_s": bench.rows / min(clock.seconds),
        "epochs": history.epochs,
        "best_epoch": history.best + 1,
        "watched": history.epochs[history.best]["watched"],
    }
    if found:
        tickets = [
            lottery.sharing.get_ticket(model.sharing.connections(t))
            for t in range(len(recipe.tasks))
        ]
        result["kept"] = [sparsity.density(t) for t in tickets]
        result["overlap"] = sparsity.overlap(tickets)
    cell.store_predictions(predicted)
    cell.store(result)


def facts(cell: Cell, seconds: float, peak: float, predicted: dict, bench: Bench) -> dict[str, Any]:
    """What every model's result holds."""
    return {
        "kind": cell.kind,
        "model": cell.model,
        "seed": cell.recipe.seed,
        "seconds": seconds,
        "peak_mb": peak,
        "metrics": {
            split: scores(cell.recipe, predicted[split], rows.labels(cell.recipe), rows.users)
            for split, rows in bench.judged.items()
        },
    }


def _costs(model: Ranker, bench: Bench) -> dict[str, Any]:
    batch = next(iter(bench.valid.in_order(1)))
    every, flops = sizes.parts(model), sizes.flops(model, batch)
    costs = {
        "params": every["embedding"] + every["dense"],
        "embedding_params": every["embedding"],
        "dense_params": every["dense"],
        "live_params": every["dense"],
        "flops": flops,
        "live_flops": flops,
    }
    live = sizes.live(model)
    if model.recipe.sharing == "ncs4cvr":
        kernels = live["all"] // len(model.recipe.tasks)
        costs["live_params"] = every["dense"] - kernels + live["union"]
        costs["live_flops"] = flops - 2 * (live["all"] - live["kept"])
    return costs


def _predict(model: Ranker, rows: Rows) -> dict[str, Any]:
    return training.predict(model, rows)[0]  # type: ignore[arg-type]


def reset_peak() -> None:
    """Lets the process's peak memory start anew, where the system can."""
    with contextlib.suppress(OSError):  # then the peak is the process's since its start
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb() -> float:
    """Peak memory since `reset_peak`, in MiB."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
