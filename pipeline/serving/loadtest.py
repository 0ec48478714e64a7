"""Load on a server: closed and open loop over many connections, with percentiles that are honest.

Closed loop: C connections, each sends its next request when the last one was answered; it measures
the server's capacity. Open loop: requests arrive at fixed times, n / rate, whatever the server
does, and a latency counts from the arrival, not from the sending: what waited for a free connection
because the server was slow is slow (no "coordinated omission").
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ncs4cvr.pipeline.serving.endpoints import Connection, RequestFailed

PER_MILLE = {"p50": 500, "p90": 900, "p99": 990, "p99.9": 999}
#: What sets a field of Load on the command line.
OPTIONS = {
    "connections": "--connections",
    "duration_s": "--duration",
    "rate": "--rate",
    "patience_s": "--timeout",
}
UNSENT = "not sent: no connection was free in time"


@dataclasses.dataclass(frozen=True)
class Load:
    """How much, and how long.

    Args:
      connections: requests in flight at most.
      duration_s: seconds in which requests are sent, or arrive.
      rate: arrivals a second; None for a closed loop.
      patience_s: open loop: how long after the end what has arrived may still be sent.

    Raises:
      ValueError: a number that is not positive.
    """

    connections: int = 4
    duration_s: float = 10.0
    rate: float | None = None
    patience_s: float = 10.0

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{OPTIONS[name]} must be positive and finite, not {value:g}")


class _Worker(threading.Thread):
    """One connection's requests: their latencies, seconds, and failures."""

    def __init__(self, shared: _Shared, connection: Connection):
        super().__init__(daemon=True)
        self._shared, self._connection = shared, connection
        self.latencies: list[float] = []
        self.rows = 0
        self.failed: Counter[str] = Counter()
        self.messages: dict[str, str] = {}
        self.crash: BaseException | None = None

    def run(self) -> None:
        """Until the load's end."""
        try:
            while (turn := self._shared.next_turn()) is not None:
                self._ask(*turn)
        except BaseException as error:  # raised by the main thread, see `run`
            self.crash = error

    def _ask(self, number: int, due: float) -> None:
        shared = self._shared
        now = time.perf_counter()
        if now < due:
            time.sleep(due - now)
        elif shared.load.rate and now > shared.end + shared.load.patience_s:
            self.failed[UNSENT] += 1
            return
        body, rows = shared.bodies[number % len(shared.bodies)]
        try:
            self._connection.send(body)
        except RequestFailed as error:
            self.failed[error.kind] += 1
            self.messages.setdefault(error.kind, str(error))
            return
        self.latencies.append(time.perf_counter() - due)
        self.rows += rows


class _Shared:
    """What the connections share: the requests, the clock, whose turn it is."""

    def __init__(self, load: Load, bodies: Sequence[tuple[bytes, int]]):
        self.load, self.bodies = load, bodies
        self.stop = threading.Event()
        self._numbers = itertools.count()  # its next() is atomic
        self.start = time.perf_counter()
        self.end = self.start + load.duration_s

    def next_turn(self) -> tuple[int, float] | None:
        """(number, when it is due) of the next request; None at the end."""
        number = next(self._numbers)
        now = time.perf_counter()
        due = self.start + number / self.load.rate if self.load.rate else now
        return None if due >= self.end or self.stop.is_set() else (number, due)


def run(
    load: Load,
    connections: Sequence[Connection],
    bodies: Sequence[tuple[bytes, int]],
    progress: Callable[[int, str], None] = lambda second, line: None,
) -> dict[str, Any]:
    """Puts load on a server.

    Args:
      load: how much.
      connections: open ones, `load.connections` of them.
      bodies: encoded requests and how many rows each has; sent in turns.
      progress: gets the second and a line, every second.

    Returns:
      `result` of what happened.
    """
    shared = _Shared(load, bodies)
    cpu = time.process_time()
    workers = [_Worker(shared, connection) for connection in connections]
    try:
        for worker in workers:
            worker.start()
        _watch(workers, shared, progress)
    finally:
        shared.stop.set()
    elapsed = time.perf_counter() - shared.start
    for worker in workers:
        if worker.crash is not None:
            raise worker.crash
    return result(
        latencies_s=np.array([s for worker in workers for s in worker.latencies]),
        rows=sum(worker.rows for worker in workers),
        failed=sum((worker.failed for worker in workers), Counter()),
        messages={k: m for worker in workers for k, m in worker.messages.items()},
        elapsed_s=elapsed,
    ) | {"generator_cpus": (time.process_time() - cpu) / elapsed}


def _watch(
    workers: Sequence[_Worker], shared: _Shared, progress: Callable[[int, str], None]
) -> None:
    seen = [0] * len(workers)
    for second in itertools.count(1):
        while time.perf_counter() < shared.start + second:
            running = next((worker for worker in workers if worker.is_alive()), None)
            if running is None:
                return
            running.join(0.05)
        latest: list[float] = []
        for i, worker in enumerate(workers):
            new = worker.latencies[seen[i] :]
            seen[i] += len(new)
            latest += new
        failed = sum(sum(worker.failed.values()) for worker in workers)
        tail = f"p99 {percentiles(np.array(latest))['p99']:.1f} ms" if latest else "no answer"
        progress(second, f"{sum(seen)} answered  {failed} failed  last second: {tail}")


def percentiles(latencies_s: np.ndarray) -> dict[str, float]:
    """{"p50": milliseconds, ...}: the least latency that so many of them do not exceed."""
    ordered = np.sort(latencies_s) * 1000
    # In whole numbers: numpy's own takes the 1000th of 1000 for p99.9.
    ranks = {name: -(-part * len(ordered) // 1000) for name, part in PER_MILLE.items()}
    return {name: float(ordered[rank - 1]) for name, rank in ranks.items()}


def result(
    latencies_s: np.ndarray,
    rows: int,
    failed: Counter[str],
    messages: dict[str, str],
    elapsed_s: float,
) -> dict[str, Any]:
    """Counts, throughput and latencies of the answered requests; failures by kind.

    latency_ms is None where nothing was answered.
    """
    answered = len(latencies_s)
    latency = None
    if answered:
        worst, mean = float(latencies_s.max()), float(latencies_s.mean())
        latency = percentiles(latencies_s) | {"max": 1000 * worst, "mean": 1000 * mean}
    return {
        "answered": answered,
        "failed": failed.total(),
        "errors": {
            kind: {"count": count, "first": messages.get(kind, "")}
            for kind, count in failed.most_common()
        },
        "elapsed_s": elapsed_s,
        "requests_per_s": answered / elapsed_s,
        "rows_per_s": rows / elapsed_s,
        "latency_ms": latency,
    }
