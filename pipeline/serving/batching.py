"""TF Serving's batching parameters, fitted to the latencies that ServingCheck measured."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

SIGNATURE = "serving_default"  # whose latencies count
REPORT = "serving_check.json"


class KitError(ValueError):
    """No kit can be written for this run with these settings; says why and what to do."""


@dataclasses.dataclass(frozen=True)
class Latency:
    """What ServingCheck measured for one batch size, milliseconds a request."""

    batch: int
    p50_ms: float
    p99_ms: float

    def __post_init__(self):
        if self.batch < 1 or not 0 < self.p50_ms <= self.p99_ms:
            raise KitError(f"no latency of a batch: {self}; expected batch >= 1, 0 < p50 <= p99")


@dataclasses.dataclass(frozen=True)
class Check:
    """What a kit needs of ServingCheck's report.

    Args:
      latencies: of `serving_default`, one a batch size.
      model_mib: what one loaded version takes in memory, MiB.
    """

    latencies: tuple[Latency, ...]
    model_mib: float


@dataclasses.dataclass(frozen=True)
class Batching:
    """TF Serving's batching parameters (its message BatchingParameters)."""

    max_batch_size: int
    batch_timeout_micros: int
    num_batch_threads: int
    allowed_batch_sizes: tuple[int, ...]

    def text(self) -> str:
        """As --batching_parameters_file wants it."""
        values = dataclasses.asdict(self)
        sizes = values.pop("allowed_batch_sizes")
        lines = [f"{name} {{ value: {value} }}" for name, value in values.items()]
        lines += [f"allowed_batch_sizes: {size}" for size in sizes]
        return "\n".join(lines) + "\n"


def fit_batching(measured: Sequence[Latency], budget_ms: float, threads: int) -> Batching:
    """Batching parameters from measured latencies.

    With B the largest measured batch such that it and every smaller one has p99 <= budget:
    max_batch_size = B; allowed_batch_sizes = the measured sizes up to B, because a batch is padded
    to the next allowed size and only for these the latency is known; batch_timeout_micros =
    min(p50(B) / 4, budget - p99(B)): waiting costs a quarter of the work at most, and wait and work
    together stay within the budget; num_batch_threads = the server's cores.

    Raises:
      KitError: nothing was measured, or even the smallest batch takes longer.
    """
    fitting: list[Latency] = []
    for latency in sorted(measured, key=lambda each: each.batch):
        if latency.p99_ms > budget_ms:
            break
        fitting.append(latency)
    if not fitting:
        least = min(measured, key=lambda each: each.batch, default=None)
        told = f"{least.batch} rows take {least.p99_ms:g} ms at p99" if least else "none measured"
        raise KitError(f"no batch stays within {budget_ms:g} ms: {told}; raise --latency-ms")
    largest = fitting[-1]
    wait_ms = min(largest.p50_ms / 4, budget_ms - largest.p99_ms)
    sizes = tuple(each.batch for each in fitting)
    return Batching(largest.batch, int(wait_ms * 1000), threads, sizes)


def read_check(path: Path) -> Check:
    """A report of ServingCheck.

    Raises:
      KitError: not such a file.
    """
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        latencies = tuple(
            Latency(call["batch"], call["p50_ms"], call["p99_ms"])
            for call in report["calls"]
            if call["signature"] == SIGNATURE
        )
        return Check(latencies, max(0.0, report["memory_mb"] - report["memory_before_load_mb"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise KitError(
            f"{path} is no report of ServingCheck ({REPORT}, with calls and memory_mb): "
            f"{type(error).__name__}: {error}; leave out --measured for the run's own"
        ) from error


def latest_check(run: Path) -> Path:
    """The report on the newest model of a run that passed.

    Raises:
      KitError: the run has none.
    """
    found = run.glob(f"artifacts/ServingCheck/*/*/{REPORT}")
    for path in sorted(found, key=lambda path: int(path.parent.name), reverse=True):
        if json.loads(path.read_text(encoding="utf-8")).get("blessed"):
            return path
    raise KitError(
        f"{run} holds no report of a ServingCheck that passed "
        f"(artifacts/ServingCheck/*/*/{REPORT}): run `ncs4cvr run` again, or give one with "
        "--measured"
    )
