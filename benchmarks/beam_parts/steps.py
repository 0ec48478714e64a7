"""The measured process: the default recipe's pipeline on a log, up to some step."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from beam_parts import reading
from beam_parts.logs import FILES
from beam_parts.stacks import Sampler

RECIPE = "kuairand"
GEN, STATISTICS, TRANSFORM = STEPS = ("VideoLogExampleGen", "StatisticsGen", "Transform")
RESULT = "measured.json"


class Clock:
    """Stands for the display of a run; notes when every step began and ended."""

    def __init__(self) -> None:
        self.now = ""
        self.times: dict[str, list[float]] = {}

    def start(self, name: str) -> None:
        """A step begins."""
        self.now = name
        self.times[name] = [time.monotonic()]

    def end(self, text: str) -> None:
        """It ended."""
        self.times[self.now].append(time.monotonic())
        self.now = ""

    def say(self, text: str) -> None:
        """Nobody listens."""


def run(log: Path, folder: Path, last: str, settings: Sequence[str], here: bool) -> None:
    """Runs the pipeline on the files of `log` in `folder`; leaves there what it saw of itself.

    here: whether Beam's steps run in this process, whose stacks then tell where the time goes.
    """
    from ncs4cvr.pipeline import recipe_files
    from ncs4cvr.pipeline.run import local
    from ncs4cvr.pipeline.run.meter import Meter
    from ncs4cvr.pipeline.run.run_record import RunRecord

    recipe = recipe_files.load(RECIPE, (), tuple(settings))
    files = {name: f"{log}/{name}-*.parquet" for name in FILES}
    recipe = recipe.replace(log=dataclasses.replace(recipe.log, **files))
    clock, record = Clock(), RunRecord(Meter())  # its meter does not run: who watches is outside
    sampler = Sampler(lambda: clock.now)
    (folder / "run").mkdir()
    with shuffled(clock) as grouped, sampler if here else contextlib.nullcontext():
        local.run(recipe, folder / "run", None, clock, record, last)  # type: ignore[arg-type]
    found = {
        "times": {name: times for name, times in clock.times.items() if len(times) > 1},
        "grouped_bytes": dict(grouped),
        "places": sampler.of(list(clock.times)),
        "output_bytes": {
            name: sum(_size(Path(each.uri)) for some in step.outputs.values() for each in some)
            for name, step in record.components().items()
        },
        **_rows(record),
    }
    if here and last == TRANSFORM:
        found["reading"] = reading.measured(record, recipe.log.splits[0].name)
    (folder / RESULT).write_text(json.dumps(found))


@contextlib.contextmanager
def shuffled(clock: Clock) -> Iterator[Counter[str]]:
    """step -> bytes that Beam's own runner grouped by key in this process."""
    from apache_beam.runners.portability.fn_api_runner.execution import GroupingBuffer

    grouped: Counter[str] = Counter()
    append = GroupingBuffer.append

    def counting(buffer: Any, elements: bytes) -> None:
        grouped[clock.now] += len(elements)
        append(buffer, elements)

    GroupingBuffer.append = counting
    try:
        yield grouped
    finally:
        GroupingBuffer.append = append


def _rows(record: Any) -> dict[str, Any]:
    """Of each step the rows that it had to do: impressions read, examples seen, training rows."""
    from ncs4cvr.components.data_gate import read_counts

    (letters,) = record.components()[GEN].outputs["dead_letters"]
    counts = read_counts(letters.uri)["events"]
    examples = counts["examples"]
    train, _, test = examples.values()
    rows = {GEN: counts["rows"], STATISTICS: sum(examples.values()), TRANSFORM: train}
    return {"rows": rows, "test_rows": test}


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
