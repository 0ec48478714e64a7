"""What the processes of a cell hold and work, each by its part, from /proc.

A cell and each program of an engine begin a session of their own, so that what they start is known
for theirs whoever its parent is.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PERIOD_S = 0.1
DRIVER, WORKER, ENGINE, POOL = "driver", "worker", "engine", "pool"
WORKERS_CODE = b"apache_beam.runners.worker.sdk_worker"  # in the command of each of Beam's workers
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Sample:
    """One look: when, seconds of processors so far, MB of each process by its part."""

    when: float
    cpu_s: float
    held: Mapping[str, tuple[float, ...]]
    temp_mb: float = 0.0


@dataclass
class Watch:
    """Looks every `PERIOD_S` at all processes of some sessions.

    Args:
      sessions: session (the number of its first process) -> what that process is. Beam's workers
        are known by their command; what else is in a session counts for its processor time alone.
      folder: where to look for temporary files, in folders whose names begin with `.temp`.
    """

    sessions: Mapping[int, str]
    folder: Path
    samples: list[Sample] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._cpu: dict[int, float] = {}  # of those that ended, what was seen last
        self._workers: set[int] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)

    def __enter__(self) -> Watch:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look_on(self) -> None:
        while not self._stop.wait(PERIOD_S):
            self._look()

    def _look(self) -> None:
        held: dict[str, list[float]] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                number, session, cpu_s, mb = parse(path.read_text())
            except (OSError, ValueError):  # it ended meanwhile
                continue
            if session in self.sessions:
                self._cpu[number] = cpu_s
                if part := self.sessions.get(number) or self._worker(number):
                    held.setdefault(part, []).append(mb)
        every = {part: tuple(sizes) for part, sizes in held.items()}
        temp = temporary_mb(self.folder) if len(self.samples) % 10 == 0 else 0.0
        self.samples.append(Sample(time.monotonic(), sum(self._cpu.values()), every, temp))

    def _worker(self, number: int) -> str:
        """Whether a process is one of Beam's workers, which it becomes some time after its fork."""
        if number not in self._workers:
            with contextlib.suppress(OSError):
                if WORKERS_CODE in Path(f"/proc/{number}/cmdline").read_bytes():
                    self._workers.add(number)
        return WORKER if number in self._workers else ""


def parse(stat: str) -> tuple[int, int, float, float]:
    """Of a line of /proc/N/stat: process, session, seconds of processors, MB held.

    >>> parse("7 (a b) S 1 7 5 0 -1 0 0 0 0 0 150 50 0 0 20 0 1 0 9 9000 512 0")[:3]
    (7, 5, 2.0)
    """
    name_end = stat.rindex(")")  # a name may hold anything
    fields = stat[name_end + 2 :].split()
    return (
        int(stat.split(" ", 1)[0]),
        int(fields[3]),
        (int(fields[11]) + int(fields[12])) / TICKS,
        int(fields[21]) * PAGE_MB,
    )


def temporary_mb(folder: Path) -> float:
    """What lies in folders named `.temp...` below a folder."""
    total = 0
    for where, _, names in os.walk(folder):
        if "/.temp" in where:
            for name in names:
                try:
                    total += os.stat(f"{where}/{name}").st_size
                except FileNotFoundError:  # it was removed meanwhile
                    continue
    return total / 2**20


def between(samples: Iterable[Sample], first: float, last: float) -> dict[str, float]:
    """What was held at most, and worked, between two times of the monotonic clock.

    Returns:
      cpu_s of all processes; what the driver held before; peak MB of the driver, of the largest
      worker, of all workers at the same time, of the engine's job service; temporary files.
    """
    every = list(samples)
    seen = [s for s in every if first <= s.when <= last]
    earlier = [s for s in every if s.when < first][-1:]
    before = earlier[0].cpu_s if earlier else 0.0
    largest = {
        part: max((max(s.held.get(part, (0.0,))) for s in seen), default=0.0)
        for part in (DRIVER, WORKER, ENGINE)
    }
    return {
        "cpu_s": max((s.cpu_s for s in seen), default=before) - before,
        "driver_before_mb": sum(earlier[0].held.get(DRIVER, ())) if earlier else 0.0,
        "driver_mb": largest[DRIVER],
        "worker_mb": largest[WORKER],
        "workers_mb": max((sum(s.held.get(WORKER, ())) for s in seen), default=0.0),
        "engine_mb": largest[ENGINE],
        "temp_mb": max((s.temp_mb for s in seen), default=0.0),
    }
