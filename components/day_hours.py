"""What the hours of a day have: a clock that is off, or hours that are missing, show here alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

# Shorter ones would see summer time begin and end, which no log is to blame for.
BLOCK_HOURS = 3
BLOCKS = 24 // BLOCK_HOURS
HOUR_MS = 3_600_000
Rows = tuple[np.ndarray, np.ndarray]  # numbers of rows where a label counts, its values there
Shares = Mapping[str, tuple[float, float]]  # what -> (hits, rows)


@dataclass(frozen=True)
class Hours:
    """A day in blocks of hours. Counts are of independent rows, for what chance does.

    rows: of each block. whole: the blocks that the log has from their begin to their end. labels:
    the share of each label in each block that has its rows.
    """

    rows: tuple[float, ...]
    whole: range
    labels: Shares

    def shares(self, whole: range) -> Shares:
        """Those of the labels, and of the rows of some blocks each of them."""
        total = sum(self.rows[block] for block in whole)
        rows = {f"rows {_name(block)}": (self.rows[block], total) for block in whole}
        return {**rows, **self.labels}


def hours(
    moments: np.ndarray, users: np.ndarray, labels: Mapping[str, Rows], first: bool, last: bool
) -> Hours:
    """What a day's hours have.

    Args:
      moments: milliseconds by the log's clock, [rows].
      users: [rows].
      labels: what they are called -> their rows.
      first: this is the log's first day. It may begin within it, so blocks up to that of the first
        row need not be whole.
      last: likewise of the log's last day, from the block of its last row on.
    """
    at = moments // (BLOCK_HOURS * HOUR_MS)
    # A log that has a column of days may have rows of the night before: the day is where most are.
    at -= int(np.median(at)) // BLOCKS * BLOCKS
    begun = int(at.min()) if first else -1
    ended = int(at.max()) if last else BLOCKS
    counts = np.bincount(at % BLOCKS, minlength=BLOCKS) * (_independent(users) / len(users))
    whole = range(max(begun + 1, 0), min(ended, BLOCKS))
    return Hours(tuple(counts.tolist()), whole, dict(_labels(at % BLOCKS, users, labels)))


def _labels(
    at: np.ndarray, users: np.ndarray, labels: Mapping[str, Rows]
) -> Iterator[tuple[str, tuple[float, float]]]:
    for what, (rows, y) in labels.items():
        for block in range(BLOCKS):
            here = at[rows] == block
            if here.any():
                count = _independent(users[rows[here]])
                yield f"{what} {_name(block)}", (float(y[here].mean()) * count, count)


def _name(block: int) -> str:
    return f"from {block * BLOCK_HOURS:02d}:00 to {(block + 1) * BLOCK_HOURS:02d}:00"


def _independent(users: np.ndarray) -> float:
    """As many rows of as many users vary as much as these, where a user's are all alike (Kish)."""
    counts = np.unique(users, return_counts=True)[1].astype(float)
    return float(counts.sum() ** 2 / (counts**2).sum())
