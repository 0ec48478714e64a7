"""How something grows with the rows of a log, from what was measured on logs of some sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]  # rows, and what was measured with them


@dataclass(frozen=True)
class Growth:
    """y(rows) = start + (last - start) * (rows / last_rows) ** exponent.

    start: what it is without rows. rows, last: of the largest log measured. measured: whether the
    exponent was, or is 1 for want of a third log.
    """

    start: float
    rows: float
    last: float
    exponent: float
    measured: bool

    @property
    def per_row(self) -> float:
        """What a row adds, on the largest log."""
        return (self.last - self.start) / self.rows

    def at(self, rows: float) -> float:
        """Extrapolated; with an exponent of 1 where a lower one was measured."""
        exponent = max(self.exponent, 1.0)
        return self.start + self.per_row * self.rows * (rows / self.rows) ** exponent

    def line(self, rows: float) -> float:
        """Extrapolated as if a row always added as much."""
        return self.start + self.per_row * rows


def growth(points: Sequence[Point]) -> Growth:
    """Of two logs at least; with three or more the exponent is measured.

    The line through the two smallest logs says what there is without rows; the exponent is that of
    the two largest, after this is taken away.

    >>> growth([(1, 12.0), (2, 14.0), (8, 26.0)])
    Growth(start=10.0, rows=8, last=26.0, exponent=1.0, measured=True)
    """
    ordered = sorted(points)
    if len(ordered) < 2:
        raise ValueError(f"growth needs logs of two sizes at least, came {len(ordered)}")
    (r0, y0), (r1, y1) = ordered[:2]
    start = max(0.0, y0 - r0 * (y1 - y0) / (r1 - r0))
    (before_rows, before), (rows, last) = ordered[-2:]
    exponent, measured = 1.0, len(ordered) > 2 and last > start and before > start
    if measured:
        exponent = math.log((last - start) / (before - start)) / math.log(rows / before_rows)
    return Growth(start, rows, last, exponent, measured)
