"""What the hours of a day have: a clock that is off, or hours that are missing, show here alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

# Shorter ones would see summer time begin and end, which no log is to blame for.
BLOCK_HOURS = 3
BLOCKS = 24 // BLOCK_HOURS
HOUR_MS = 3_600_000
Rows = tuple[np.ndarray, np.ndarray]  # numbers of rows where a label counts, its values there


def blocks(
    moments: np.ndarray, users: np.ndarray, labels: Mapping[str, Rows], first: bool, last: bool
) -> Iterator[tuple[str, tuple[float, float]]]:
    """What -> (hits, rows) for every block of hours: its rows of the day's, and its labels.

    Both in independent rows, for what chance does: see `_independent`.

    Args:
      moments: milliseconds by the log's clock, [rows].
      users: [rows].
      labels: what they are called -> their rows.
      first: this is the log's first day. It may begin within it, so up to the block of the first
        row none is asked how many it has.
      last: likewise of the log's last day, from the block of its last row on.
    """
    at = moments // (BLOCK_HOURS * HOUR_MS)
    # A log that has a column of days may have rows of the night before: the day is where most are.
    at -= int(np.median(at)) // BLOCKS * BLOCKS
    begun = at.min() if first else -1
    ended = at.max() if last else BLOCKS
    day = _independent(users)
    for block in range(BLOCKS):
        mine = at % BLOCKS == block
        when = f"from {block * BLOCK_HOURS:02d}:00 to {(block + 1) * BLOCK_HOURS:02d}:00"
        if begun < block < ended:
            yield f"rows {when}", (float(mine.mean()) * day, day)
        for what, (rows, y) in labels.items():
            here = mine[rows]
            if here.any():
                count = _independent(users[rows[here]])
                yield f"{what} {when}", (float(y[here].mean()) * count, count)


def _independent(users: np.ndarray) -> float:
    """As many rows of as many users vary as much as these, where a user's are all alike (Kish)."""
    counts = np.unique(users, return_counts=True)[1].astype(float)
    return float(counts.sum() ** 2 / (counts**2).sum())
