"""What a gate demands of a measured output, and what is wrong where it is not kept, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ncs4cvr.models.evaluation.intervals import LEVEL, Measured
from ncs4cvr.schemas.tasks import Gate


@dataclass(frozen=True)
class Seen:
    """An output on its own rows, or on those of a slice.

    positives, negatives: rows; None for a ratio. calibration: mean prediction / mean label. slices:
    (column, what was seen there).
    """

    measured: Measured
    positives: int | None
    negatives: int | None
    calibration: float | None
    slices: tuple[tuple[str, Seen], ...] = ()

    def enough(self, needed: float) -> bool:
        """Whether there are as many positives and as many negatives."""
        return min(self.positives or 0, self.negatives or 0) >= needed


def lacking(gate: Gate, seen: Seen) -> Iterator[str]:
    """Which class has too few rows to judge by."""
    for what, count in (("positive", seen.positives), ("negative", seen.negatives)):
        if count is not None and count < gate.min_positives:
            yield (
                f"{gate.output} has {count:,} {what} rows; {gate.min_positives:,.0f} are needed to "
                "judge it: widen the test split, or lower the gate's min_positives"
            )


def unkept(gate: Gate, seen: Seen) -> Iterator[str]:
    """The bounds on all rows that are not kept."""
    found = seen.measured
    auc = gate.metric.endswith("_auc")
    value = found.value if auc else seen.calibration
    if value is None:
        yield f"{gate.metric} does not exist: {gate.output} has no positive row"
        return
    low, high = gate.at_least, gate.at_most
    if (low is not None and value < low) or (high is not None and value > high):
        words = [f"at least {low:g}"] if low is not None else []
        words += [f"at most {high:g}"] if high is not None else []
        sure = f" {as_text(found.interval())}" if auc else ""
        yield f"{gate.metric} is {value:.4f}{sure}; it must be {' and '.join(words)}"
    if gate.worse_by >= 0 and found.difference is not None:
        yield from _worse(gate, found, found.difference)


def _worse(gate: Gate, found: Measured, difference: float) -> Iterator[str]:
    """The test of non-inferiority; without a confidence, the difference itself must do."""
    may = f"it may be {gate.worse_by:g} below"
    sure = as_text(found.difference_interval())
    if difference < -gate.worse_by:
        yield (
            f"{gate.metric} is {-difference:.4f} below the last blessed model's (difference "
            f"{difference:+.4f} {sure}); {may}"
        )
    elif gate.confidence > 0.5:
        end = found.difference_at(1 - gate.confidence)
        if end < -gate.worse_by:
            yield (
                f"{gate.metric} may be {-end:.4f} below the last blessed model's, at confidence "
                f"{gate.confidence:g} (difference {difference:+.4f} {sure}); {may}"
            )


def fallen(gate: Gate, seen: Seen, tables: list[dict[str, Any]]) -> Iterator[str]:
    """Slices that fell; notes in `tables` (one a slice) what is allowed and whether it holds.

    The level is 95 % for all slices of the gate together: each interval's upper end is that at
    1 - .05 / slices (Bonferroni).
    """
    if gate.slice_worse_by < 0:
        return
    judged = [
        (table, one.measured)
        for (column, one), table in zip(seen.slices, tables, strict=True)
        if (not gate.slices or column in gate.slices) and one.enough(gate.min_positives)
    ]
    for table, found in judged:
        end = found.difference_at(1 - (1 - LEVEL) / len(judged))
        if found.before is None or found.difference is None or math.isnan(end):
            continue  # nothing to compare with, or too little
        table["allowed"] = found.before - gate.slice_worse_by
        table["holds"] = end >= -gate.slice_worse_by
        if not table["holds"]:
            yield (
                f"{gate.metric} of {table['column']}={table['slice']} is {-found.difference:.4f} "
                f"below the last blessed model's, and surely {-end:.4f}; it may be "
                f"{gate.slice_worse_by:g} below"
            )


def as_text(interval: list[float] | None) -> str:
    """An interval for people."""
    return "[unknown]" if interval is None else f"[{interval[0]:.4f}, {interval[1]:.4f}]"
