"""What was known of a user and a video before an impression: pure functions on arrays.

"Before" is strict: of a user everything at earlier times (rows at the same millisecond do not see
each other), of a video everything up to the day before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ncs4cvr.schemas.log import Tally

BEFORE_LOG = np.iinfo(np.int32).min  # the "day" of impressions in the history file


def group_starts(*keys: np.ndarray) -> np.ndarray:
    """For every row of a table sorted by `keys`: the first row that agrees with it in all of them.

    >>> group_starts(np.array([3, 3, 4, 4, 4]), np.array([1, 2, 2, 2, 3])).tolist()
    [0, 1, 2, 2, 4]
    """
    rows = len(keys[0])
    new = np.ones(rows, bool)
    if rows:
        new[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    return np.maximum.accumulate(np.where(new, np.arange(rows), 0))


def actions(labels: Mapping[str, np.ndarray], names: Sequence[str], rows: int) -> np.ndarray:
    """Bit i is set where label names[i] is 1; labels that are missing or -1 set no bit."""
    bits = np.zeros(rows, np.int64)
    for bit, name in enumerate(names):
        if name in labels:
            bits |= (labels[name] == 1).astype(np.int64) << bit
    return bits


@dataclass(frozen=True)
class Timeline:
    """Users' impressions from oldest to newest, and where each event stands in them.

    Positions count all impressions, users together, the history file's before the events.

    time: [positions], 0 of the history file's. source: [positions], the row in (past rows, then
    event rows). first, now: [events], the position of the user's first impression, and of the first
    at the event's very moment, so that [first, now) is its past.
    """

    time: np.ndarray
    first: np.ndarray
    now: np.ndarray
    source: np.ndarray

    @staticmethod
    def merge(
        event_user: np.ndarray,
        event_time: np.ndarray,
        past_user: np.ndarray,
        past_order: np.ndarray,
    ) -> Timeline:
        """Of events in any order and history rows; `past_order` 0 is the latest of a user.

        Rows of one user that agree in time (or order) keep the order they come in.
        """
        n_past, n_event = len(past_user), len(event_user)
        user = np.concatenate([past_user, event_user])
        event = np.repeat([False, True], [n_past, n_event])
        when = np.concatenate([-past_order.astype(np.int64), event_time.astype(np.int64)])
        source = np.lexsort((when, event, user))
        position = np.empty(len(source), np.int64)
        position[source] = np.arange(len(source))
        mine = position[n_past:]
        user, event, when = user[source], event[source], when[source]
        return Timeline(
            time=np.where(event, when, 0),
            first=group_starts(user)[mine],
            now=group_starts(user, event, when)[mine],
            source=source,
        )

    def last(self, rows: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the last `length` impressions before each event row, newest first.

        Returns (offsets, positions): row i has positions[offsets[i]:offsets[i + 1]].
        """
        now = self.now[rows]
        lengths = np.minimum(now - self.first[rows], length)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        steps = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        return offsets, np.repeat(now, lengths) - 1 - steps

    def before(self, counted: np.ndarray) -> np.ndarray:
        """Per event the sum of `counted` (in `source` order) over its past."""
        total = np.concatenate([[0], np.cumsum(counted[self.source])])
        return total[self.now] - total[self.first]


def before_day(key: np.ndarray, day: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Per row the sum of `counted` over rows of the same key and strictly earlier days.

    >>> before_day(np.array([7, 7, 7]), np.array([2, 1, 2]), np.array([5, 3, 1])).tolist()
    [3, 0, 3]
    """
    order = np.lexsort((day, key))
    sorted_key, sorted_day = key[order], day[order]
    total = np.concatenate([[0], np.cumsum(counted[order])])
    result = np.empty(len(key), total.dtype)
    result[order] = total[group_starts(sorted_key, sorted_day)] - total[group_starts(sorted_key)]
    return result


def hits_and_trials(
    tally: Tally, labels: Mapping[str, np.ndarray], rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Per row 0 or 1: is it a hit, is it a trial. -1 (or no entry) in `labels` means unknown.

    A rate looks only at rows where both labels are known, so that hits never lack their trials.
    """

    def label(name: str) -> np.ndarray:
        if name == "impression":
            return np.ones(rows, np.int8)
        return labels.get(name, np.full(rows, -1, np.int8))

    hit = label(tally.hits)
    if not tally.trials:
        return (hit == 1).astype(np.int64), np.zeros(rows, np.int64)
    trial = label(tally.trials)
    known = (hit >= 0) & (trial >= 0)
    return (known & (hit == 1)).astype(np.int64), (known & (trial == 1)).astype(np.int64)


def tally_value(tally: Tally, hits: np.ndarray, trials: np.ndarray) -> np.ndarray:
    """The count (int64), or the rate smoothed towards its prior (float64)."""
    if not tally.trials:
        return hits
    return (hits + tally.strength * tally.prior) / (trials + tally.strength)
