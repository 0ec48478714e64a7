"""What a day of a size needs: arithmetic on what was measured, and nothing else."""

from __future__ import annotations

import math
from dataclasses import dataclass

GB = 1e9
MB = 2**20  # of memory, as the benchmarks tell it
HOUR_S = 3600.0
DAY_S = 86_400.0
FLOAT = 4  # bytes of a parameter, and of each copy of it
ID = 8  # bytes of the row number that goes with an embedding row's gradient
#: Copies of each embedding parameter that a training worker holds (docs/production.md).
TRAINED = 4  # the value, two moments, the best epoch's value
WARM = 6  # with warm_start
WRITTEN = 3  # more, while the result is written
WRITTEN_CUT = 2  # the same of the first worker's, where the table is cut among all
SEARCHED = 7  # the common start's values; and for each of two tasks the values, two moments
#: Rings in which embedding rows travel (models/together/exchange.py).
WHOLE = 1  # the sums of their gradients
CUT = 2  # and before that their values, where a table is cut among the workers


@dataclass(frozen=True)
class Ask:
    """A day, and what it may take.

    parameters: of the embedding table, in rows of `dim`. hours: that each step may take. gbit: of
    each trainer's network, in Gbit/s. core_price: of a core-hour, in any unit.
    """

    impressions: float = 1e9
    users: float = 1e8
    parameters: float = 4e8
    dim: int = 16
    hours: float = 2.0
    gbit: float = 10.0
    core_price: float = 1.0


def workers(core_hours: float, hours: float) -> int:
    """So many of one core each end within the hours.

    >>> workers(10.5, 2)
    6
    """
    return max(1, math.ceil(core_hours / hours))


def gb_hours(mb: float, core_hours: float) -> float:
    """Of workers that hold `mb` (of 2^20 bytes) while they work, with a core each.

    However many they are: twice the workers hold twice as much for half as long.
    """
    return mb * MB / GB * core_hours


def pass_hours(rows: float, examples_s: float) -> float:
    """Of one training worker, once over the rows.

    >>> pass_hours(7200, 2)
    1.0
    """
    return rows / examples_s / HOUR_S


def trainers(one_hours: float, kept: float, hours: float) -> int:
    """Training workers that end within the hours; `kept` of one's speed is left to each."""
    return 1 if one_hours <= hours else math.ceil(one_hours / kept / hours)


def table_gb(parameters: float, copies: float) -> float:
    """Of a table and what belongs to it.

    >>> table_gb(1e9, 4)
    16.0
    """
    return parameters * FLOAT * copies / GB


def sent_dense(parameters: int, count: int) -> float:
    """Bytes that each of `count` workers sends in a step for the dense gradients, in a ring."""
    return 2 * (count - 1) / count * FLOAT * parameters


def sent_rows(batch: int, ids: int, dim: int, count: int, rings: int) -> float:
    """Bytes that each worker sends in a step for embedding rows, if no id occurs twice.

    batch: examples of all workers together. ids: looked up for an example. rings: in which rows
    travel: WHOLE or CUT.
    """
    return (count - 1) / count * batch * ids * _of_row(dim, rings)


def _of_row(dim: int, rings: int) -> int:
    return rings * 2 * FLOAT * dim + ID


def step_s(batch: int, count: int, examples_s: float) -> float:
    """Seconds of arithmetic for a worker's part of a batch."""
    return batch / count / examples_s


def gbit_for(sent: float, seconds: float) -> float:
    """Gbit/s with which so many bytes take so long.

    >>> gbit_for(1e9, 8)
    1.0
    """
    return 8 * sent / GB / seconds


def full_network(
    batch: int, ids: int, dim: int, dense: int, examples_s: float, gbit: float, rings: int
) -> int:
    """Training workers at which the exchange takes as long as the arithmetic.

    batch: of each worker. Everyone sends rows of all in every step, so the exchange grows with the
    workers, and the arithmetic does not.
    """
    spare = gbit * GB / 8 * batch / examples_s - 2 * FLOAT * dense
    return max(1, math.floor(1 + spare / (batch * ids * _of_row(dim, rings))))


def pieces(rows: float, unit_rows: int, bucket_rows: int) -> float:
    """Cuts that example generation makes of the events: each unit has one for each bucket, while
    it has rows for them.

    >>> pieces(1000, 100, 50)
    200.0
    """
    return math.ceil(rows / unit_rows) * float(min(math.ceil(rows / bucket_rows), unit_rows))


def int8_gb(parameters: float, dim: int) -> float:
    """Of a served table: a byte a parameter, and a scale a row."""
    return parameters * (1 + FLOAT / dim) / GB


def words_gb(words: float) -> float:
    """Of a vocabulary's text, if the words are numbers.

    >>> words_gb(1e9) > 10
    True
    """
    return words * (len(f"{words:.0f}") + 1) / GB
