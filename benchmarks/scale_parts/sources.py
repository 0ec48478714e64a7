"""What was measured, out of the JSON beside the benchmarks' pages."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beam_parts.engine import ONE, PORTABLE, TWO, WAYS
from beam_parts.growth import Growth, growth
from beam_parts.page import steps_of
from beam_parts.steps import STEPS
from scale_parts.formulas import HOUR_S, MB

NAMES = ("beam", "workers", "overhead", "continual", "quality", "serving")


@dataclass(frozen=True)
class BeamStep:
    """A step that runs on Beam.

    way: in which cpu_s and output_mb grew; moved_mb: in one process, where that is known. more: how
    many times the processor seconds of one process two workers need; 1 where the way has them.
    worker_mb: the largest worker's peak on the largest log. driver_mb: the driver's with a job
    service.
    """

    name: str
    way: str
    cpu_s: Growth
    moved_mb: Growth
    output_mb: Growth
    more: float
    worker_mb: float
    driver_mb: float


@dataclass(frozen=True)
class Search:
    """What TicketSearch and joint training need of processors, with the same batches.

    Seconds of processors do not depend on what else the machine did.

    cpu_s: of TicketSearch, soft labels and all, by training rows; least_rows: the fewest with which
    it was measured. joint_us: of a pass of joint training under tickets, a row.
    """

    cpu_s: Growth
    least_rows: int
    joint_us: float

    @property
    def passes(self) -> float:
        """Passes of joint training that cost as much, without start-up."""
        return 1e6 * self.cpu_s.per_row / self.joint_us


@dataclass(frozen=True)
class Training:
    """How fast workers train, and what they hold.

    memory_s: examples a second of one worker with so many cores, from memory. reading_us: of a
    processor, to read and transform a row. kept: the share that two on the same cores keep, at this
    batch, at most 1. dense: parameters. base_mb: the run's peak in Trainer. large: parameters of
    the large table with which two keep kept_large, and kept_cut where it is cut among them.
    distinct: the share of different ids among a batch's.
    """

    memory_s: float
    reading_us: float
    cores: int
    batch: int
    kept: float
    search: Search
    dense: int
    base_mb: float
    large: int
    kept_large: float
    kept_cut: float
    distinct: float

    @property
    def examples_s(self) -> float:
        """Examples a second of one worker that reads and transforms every row anew."""
        return 1 / (1 / self.memory_s + self.reading_us / 1e6 / self.cores)


@dataclass(frozen=True)
class Judging:
    """Seconds of the steps after training in a first run, and the test rows that they had.

    gate_row_s: of ModelGate a test row, where it scores the last blessed model, too; start-up is in
    it. gate_runs: of how many runs that is the median.
    """

    rows: int
    seconds: Mapping[str, float]
    gate_row_s: float
    gate_runs: int

    def hours(self, step: str, rows: float) -> float:
        """Of a step, if it grows with the rows; of ModelGate as it is night by night."""
        row_s = self.gate_row_s if step == "ModelGate" else self.seconds[step] / self.rows
        return row_s * rows / HOUR_S


@dataclass(frozen=True)
class Serving:
    """A request's median on one thread, and how many candidates it has."""

    candidates: int
    request_ms: float


def read(folder: Path) -> dict[str, Any]:
    """Name -> the JSON of a benchmark.

    Raises:
      FileNotFoundError: one was not written yet.
    """
    return {name: json.loads((folder / f"{name}.json").read_text()) for name in NAMES}


def beam_steps(told: Mapping[str, Any]) -> list[BeamStep]:
    """Of beam.json; each by the way in which it was measured on the largest log."""
    cells = told["cells"]
    steps = []
    for name in STEPS:
        found = {way: steps_of(cells, name, way) for way in WAYS}
        way = max(WAYS, key=lambda w: (max(found[w], default=0), len(found[w])))
        rows = found[way]
        apart = {**found[PORTABLE], **found[TWO]}
        largest = apart[max(apart)]
        both = max(found[ONE].keys() & apart.keys())
        mine = found[ONE] if len(found[ONE]) > 1 else rows
        steps.append(
            BeamStep(
                name,
                way,
                growth([(r["rows"], r["cpu_s"]) for r in rows.values()]),
                growth([(r["rows"], _moved_mb(r)) for r in mine.values()]),
                growth([(r["rows"], r["output_bytes"] / 1e6) for r in rows.values()]),
                max(1.0, apart[both]["cpu_s"] / found[ONE][both]["cpu_s"]) if way == ONE else 1.0,
                largest["worker_mb"],
                max(row["driver_mb"] for row in found[PORTABLE].values() or apart.values()),
            )
        )
    return steps


def _moved_mb(row: Mapping[str, Any]) -> float:
    """What Beam groups by key, and what travels in files instead."""
    return (row["grouped_bytes"] or 0) / 1e6 + row["temp_mb"] * MB / 1e6


def grouped(told: Mapping[str, Any], step: str) -> Growth:
    """Bytes that a step groups by key, by rows; of one process."""
    rows = steps_of(told["cells"], step, ONE).values()
    return growth([(row["rows"], row["grouped_bytes"]) for row in rows])


def grouped_mb(told: Mapping[str, Any], step: str, way: str) -> float:
    """The same in a way on its largest log."""
    rows = steps_of(told["cells"], step, way)
    return float(rows[max(rows)]["grouped_bytes"]) / 1e6


def training(every: Mapping[str, Any]) -> Training:
    """Of all but serving.json (of workers.json the largest batch, nothing cut yet)."""
    turns = every["workers"]["turns"]
    batch = max(turn["batch_size"] for turn in turns)
    of_batch = [turn for turn in turns if turn["batch_size"] == batch]
    mine = [turn for turn in of_batch if not turn["tickets"]]
    large = [turn for turn in of_batch if turn["table"]]

    def kept(turns: list, way: str) -> float:
        return statistics.median(t[way]["examples_s"] / t["one"]["examples_s"] for t in turns)

    steps = {step["name"]: step for step in every["overhead"]["run"]["timeline"]}
    ours = ("kuairand", "ncs4cvr")
    models = [row for row in every["quality"] if (row["dataset"], row["model"]) == ours]
    reading = [cell["reading"] for cell in every["beam"]["cells"] if cell.get("reading")]
    largest = max(reading, key=lambda r: r["rows"])
    return Training(
        statistics.median(turn["one"]["examples_s"] for turn in mine),
        1e6 * largest["cpu_s"] / largest["rows"],
        int(every["workers"]["about"]["machine"].split(" x ")[0]),
        batch,
        min(1.0, kept(mine, "workers")),
        _search(every),
        models[0]["dense_params"],
        steps["Trainer"]["peak_mb"],
        large[0]["one"]["parameters"],
        kept(large, "workers"),
        kept(large, "sharded"),
        mine[0]["one"]["distinct"],
    )


def _search(every: Mapping[str, Any]) -> Search:
    """Of continual.json's runs that searched, and of workers.json with the recipe's batch."""
    cells = [cell for cell in every["continual"]["cells"] if cell["tickets"]["searched"]]
    found: dict[int, list[float]] = {}
    for cell in cells:
        found.setdefault(cell["start"]["rows"], []).append(
            cell["steps_processor_s"]["TicketSearch"]
        )
    turns = [t for t in every["workers"]["turns"] if t["tickets"] and not t["table"]]
    batch = min(turn["batch_size"] for turn in turns)
    joint_ms = [t["one"]["cpu_ms_a_step"] for t in turns if t["batch_size"] == batch]
    return Search(
        growth([(rows, statistics.median(cpu_s)) for rows, cpu_s in found.items()]),
        min(found),
        1e3 * statistics.median(joint_ms) / batch,
    )


def judging(every: Mapping[str, Any]) -> Judging:
    """Of overhead.json; the test rows are those of the default log in beam.json.

    ModelGate's are of continual.json without its first day, which has no earlier model.
    """
    rows = next(cell["test_rows"] for cell in every["beam"]["cells"] if cell["scale"] == 1)
    steps = {step["name"]: step["seconds"] for step in every["overhead"]["run"]["timeline"]}
    names = ("Evaluator", "ModelGate", "ServingCheck", "Pusher")
    cells = every["continual"]["cells"]
    first = min(cell["day"] for cell in cells)
    gate = [c["steps_s"]["ModelGate"] / c["test_rows"] for c in cells if c["day"] > first]
    return Judging(rows, {name: steps[name] for name in names}, statistics.median(gate), len(gate))


def serving(every: Mapping[str, Any]) -> Serving:
    """Of serving.json: the packed model ranks, with one thread."""
    for row in every["serving"]["rows"]:
        wanted = ("request", "packed", "rank", 1)
        if wanted == tuple(row.get(k) for k in ("kind", "variant", "signature", "threads")):
            return Serving(row["candidates"], row["p50_ms"])
    raise ValueError("serving.json has no request to rank of the packed model on one thread")
