"""What is known of a run while it goes, and when it has ended, however it ended."""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from ncs4cvr.pipeline.run.meter import Meter

if TYPE_CHECKING:
    from tfx.types.artifact import Artifact

#: What became of a component. A look-up finds artifacts of earlier runs: there is nothing to cache.
DONE, CACHED, LOOKED_UP = "done", "cached", "looked up"
STOPPED = "stopped"  # the component that a run which did not end well was at work in
LOADING = "Loading"  # of libraries, before the first component
Outputs: TypeAlias = "Mapping[str, Sequence[Artifact]]"


@dataclass(frozen=True)
class Step:
    """How a component ended and what it gave.

    began: seconds after the run's beginning; seconds: of its own work; sealed_s: of making or
    comparing checksums of what it gave; peak_mb: the most memory held meanwhile, in 2^20 bytes;
    processor: seconds of all its threads and processes on all cores, which, unlike `seconds`, do
    not depend on what else the machine does.
    """

    state: str
    began: float
    seconds: float
    outputs: Outputs
    sealed_s: float = 0.0
    peak_mb: float = 0.0
    processor: float = 0.0

    @property
    def cached(self) -> bool:
        """Whether its outputs are those of an earlier run."""
        return self.state == CACHED


@dataclass
class RunRecord:
    """The steps of one run as they end.

    Attributes:
      meter: at work while the run is.
      began: when, in UTC; seconds are counted from here.
      told: component -> its execution properties.
      steps: component -> how it ended, in the order of their ends.
      loaded: seconds until all libraries were loaded.
      running: the component at work; after a run that was stopped, the one that it was stopped in.
      since: when that one began, in seconds after the run's beginning.
    """

    meter: Meter
    began: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.timezone.utc))
    told: dict[str, dict[str, Any]] = field(default_factory=dict)
    steps: dict[str, Step] = field(default_factory=dict)
    loaded: float = 0.0
    running: str = ""
    since: float = 0.0
    _clock: float = field(default_factory=time.monotonic)
    _worked: float = 0.0  # seconds of processors when the running component began

    def now(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self._clock

    def start(self, name: str) -> None:
        """A component begins."""
        self.running, self.since, self._worked = name, self.now(), _processor_seconds()

    def end(self, state: str, seconds: float, outputs: Outputs) -> None:
        """It ended, after so many seconds; the rest of the time went into checksums."""
        self.meter.look()
        step = Step(
            state,
            began=self.since,
            seconds=seconds,
            outputs=outputs,
            sealed_s=self.now() - self.since - seconds,
            peak_mb=self._peak(self.since, self.now()),
            processor=_processor_seconds() - self._worked,
        )
        # A component that ran before others were found to be damaged is cached when it comes again.
        if not (step.cached and self.running in self.steps):
            self.steps[self.running] = step
        self.running = ""

    def components(self) -> dict[str, Step]:
        """All but look-ups."""
        return {name: step for name, step in self.steps.items() if step.state != LOOKED_UP}

    def timeline(self) -> list[dict[str, Any]]:
        """What took how long and how much memory, in the order of the run.

        name and state; `began_s` after the run's beginning; `seconds` of work; `sealed_s` in
        checksums; `peak_mb` in 2^20 bytes.
        """
        rows = {LOADING: Step(DONE, 0.0, self.loaded, {}, peak_mb=self._peak(0.0, self.loaded))}
        rows.update(self.components())
        if self.running:
            end = self.now()
            peak = self._peak(self.since, end)
            rows[self.running] = Step(STOPPED, self.since, end - self.since, {}, peak_mb=peak)
        return [
            {
                "name": name,
                "state": step.state,
                "began_s": round(step.began, 2),
                "seconds": round(step.seconds, 2),
                "sealed_s": round(step.sealed_s, 2),
                "peak_mb": round(step.peak_mb),
            }
            for name, step in rows.items()
        ]

    def _peak(self, first: float, last: float) -> float:
        return max((mb for when, mb in self.memory() if first <= when <= last), default=0.0)

    def memory(self) -> list[tuple[float, float]]:
        """(seconds after the run's beginning, MB held)."""
        return [(when - self._clock, mb) for when, mb in self.meter.points]


def _processor_seconds() -> float:
    """Of this process and of those that it started and that ended."""
    return sum(os.times()[:4])
