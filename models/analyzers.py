"""Statistics of a column that do not depend on the order or the cut of the rows.

Workers hand in their parts in any order. Sums of floats and sketches of quantiles then differ in
their last digits, or more, from run to run; what is added here are whole numbers only.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

CELLS = 1 << 16  # most distinct values that a column's counts keep apart: 0.8 MB
Finish = Callable[[np.ndarray, np.ndarray], np.ndarray]


def quantiles(x: tf.Tensor, buckets: int) -> tf.Tensor:
    """Boundaries [1, buckets - 1] that cut the values of x, float32 [rows], into even parts.

    Boundary i is the value of rank ⌊i n / buckets⌋ among n (from 0), so that the part below it
    holds no more than i / buckets of them. Exact for up to `CELLS` distinct values; with more, each
    is rounded down to the same number of leading bits, as many as `CELLS` allows. Zeros where there
    is no value.
    """
    return _analyzed(x, functools.partial(boundaries, buckets=buckets), buckets - 1)[tf.newaxis]


def mean_and_deviation(x: tf.Tensor) -> tf.Tensor:
    """Mean and standard deviation (of the whole, not a sample) of x, float32 [rows], as [2].

    Of the values as `quantiles` rounds them; what is not finite is left out. Zeros where there is
    no value.
    """
    return _analyzed(x, moments, 2)


def _analyzed(x: tf.Tensor, finish: Finish, size: int) -> tf.Tensor:
    (found,) = tft.experimental.ptransform_analyzer(
        [x], _Combined(Counting(finish)), [tf.float32], [[size]]
    )
    return found


@beam.typehints.with_input_types(tuple[np.ndarray])
@beam.typehints.with_output_types(np.ndarray)
class _Combined(beam.PTransform):
    def __init__(self, combine: beam.CombineFn):
        super().__init__()
        self._combine = combine

    def expand(self, batches):
        return batches | beam.CombineGlobally(self._combine)


class Counts(NamedTuple):
    """How often values occur: codes in order, without their `shift` low bits.

    waiting: values that are not counted yet.
    """

    shift: int
    codes: np.ndarray
    counts: np.ndarray
    waiting: tuple[np.ndarray, ...] = ()


class Counting(beam.CombineFn):
    """Counts of values by their leading bits.

    Bits are dropped only while there are more than `cells` different codes. Fewer values never need
    more bits dropped than all of them do, so the end is the same in whatever order they come.

    Args:
      finish: gives the result of (values in order, counts).
      cells: most different codes that are kept apart.
    """

    def __init__(self, finish: Finish, cells: int = CELLS):
        self._finish, self._cells = finish, cells

    def create_accumulator(self) -> Counts:
        return Counts(0, np.array([], np.int32), np.array([], np.int64))

    def add_input(self, counts: Counts, batch: tuple[np.ndarray]) -> Counts:
        counts = counts._replace(waiting=(*counts.waiting, batch[0].ravel()))
        full = sum(map(len, counts.waiting)) >= self._cells
        return self.compact(counts) if full else counts

    def compact(self, counts: Counts) -> Counts:
        """The same with nothing waiting; Beam calls it, too."""
        if not counts.waiting:
            return counts
        codes = codes_of(np.concatenate(counts.waiting))
        one = Counts(0, codes, np.ones(len(codes), np.int64))
        return self._added([counts._replace(waiting=()), one])

    def merge_accumulators(self, many: Iterable[Counts]) -> Counts:
        return self._added([self.compact(counts) for counts in many])

    def _added(self, many: list[Counts]) -> Counts:
        shift = max(counts.shift for counts in many)
        codes = np.concatenate([c.codes >> (shift - c.shift) for c in many])
        counts = np.concatenate([c.counts for c in many])
        while True:
            codes, place = np.unique(codes, return_inverse=True)
            counts = np.bincount(place, counts, len(codes)).astype(np.int64)
            if len(codes) <= self._cells:
                return Counts(shift, codes, counts)
            shift, codes = shift + 1, codes >> 1

    def extract_output(self, counts: Counts) -> np.ndarray:
        counts = self.compact(counts)
        # Without its low bits -inf would be none of the numbers.
        codes = np.maximum(counts.codes << counts.shift, codes_of(np.array([-np.inf], np.float32)))
        return self._finish(values_of(codes), counts.counts)


def boundaries(values: np.ndarray, counts: np.ndarray, buckets: int) -> np.ndarray:
    """What `quantiles` says.

    >>> boundaries(np.array([1, 2, 9], np.float32), np.array([2, 1, 1]), buckets=2)
    array([2.], dtype=float32)
    """
    if not len(values):
        return np.zeros(buckets - 1, np.float32)
    below = np.cumsum(counts)
    ranks = np.arange(1, buckets) * below[-1] // buckets
    return values[np.searchsorted(below, ranks, side="right")]


def moments(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean and standard deviation; fsum, so that no machine adds in another order.

    >>> moments(np.array([1, 5], np.float32), np.array([3, 1]))
    array([2.       , 1.7320508], dtype=float32)
    """
    finite = np.isfinite(values)
    values, counts = values[finite].astype(np.float64), counts[finite]
    if not len(values):
        return np.zeros(2, np.float32)
    total = int(counts.sum())
    mean = math.fsum(values * counts) / total
    variance = math.fsum((values - mean) ** 2 * counts) / total
    return np.array([mean, math.sqrt(variance)], np.float32)


def codes_of(values: np.ndarray) -> np.ndarray:
    """float32 -> int32 in the same order; NaN is left out.

    >>> codes_of(np.array([-2.0, -0.0, 0.0, 1.0, np.nan], np.float32)).tolist()
    [-1073741825, 0, 0, 1065353216]
    """
    bits = (values[~np.isnan(values)].astype(np.float32) + np.float32(0)).view(np.int32)
    return bits ^ (bits >> 31 & 0x7FFFFFFF)


def values_of(codes: np.ndarray) -> np.ndarray:
    """The inverse of `codes_of`."""
    return (codes ^ (codes >> 31 & 0x7FFFFFFF)).view(np.float32)
