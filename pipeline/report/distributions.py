"""How a column's values lie, from TFDV's statistics: small pictures' numbers, and sums."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, TypeAlias

from tensorflow_metadata.proto.v0 import statistics_pb2

Column: TypeAlias = statistics_pb2.FeatureNameStatistics
Bucket: TypeAlias = statistics_pb2.Histogram.Bucket
BINS = 12  # of numbers
VALUES = 8  # words that are shown one by one; the others together
OTHERS = "all others"
SHORT = 60  # characters of a word that are kept


def name_of(column: Column) -> str:
    """The column's name."""
    return ".".join(column.path.step) or column.name


def shapes(now: Column, before: Column | None) -> dict[str, Any]:
    """The shares of the values in the same bins, so that two distributions can be laid together.

    Returns:
      kind: "numbers", with the `edges` of equally wide bins, or "words", with the most frequent
      `values`; now, before: the share of each bin or value, adding up to 1 (0 of nothing); before
      is None where there is none to compare with.
    """
    sides = [now] if before is None else [now, before]
    if now.WhichOneof("stats") == "string_stats":
        values, shares = _words(sides)
        told: dict[str, Any] = {"kind": "words", "values": values}
    else:
        edges, shares = _numbers(sides)
        told = {"kind": "numbers", "edges": edges}
    return {**told, "now": shares[0], "before": shares[1] if len(shares) > 1 else None}


def _numbers(sides: Sequence[Column]) -> tuple[list[float], list[list[float]]]:
    buckets = [_equally_wide(side) for side in sides]
    ends = [end for each in buckets for b in each for end in (b.low_value, b.high_value)]
    if not ends:
        return [0.0, 1.0], [[0.0] for _ in sides]
    low, high = min(ends), max(ends)
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = [low + (high - low) * i / BINS for i in range(BINS + 1)]
    return edges, [rebinned(each, edges) for each in buckets]


def _equally_wide(side: Column) -> list[Bucket]:
    for histogram in side.num_stats.histograms:
        if histogram.type == statistics_pb2.Histogram.STANDARD:
            finite = float("-inf"), float("inf")
            return [
                b
                for b in histogram.buckets
                if b.low_value not in finite and b.high_value not in finite and b.sample_count
            ]
    return []


def rebinned(buckets: Sequence[Bucket], edges: Sequence[float]) -> list[float]:
    """The share of values between every two edges, as if they lay evenly within their bucket.

    >>> rebinned([Bucket(low_value=0, high_value=4, sample_count=8)], [0, 1, 4])
    [0.25, 0.75]
    >>> rebinned([Bucket(low_value=3, high_value=3, sample_count=8)], [2, 2.5, 3, 4])
    [0.0, 0.0, 1.0]
    """
    total = sum(b.sample_count for b in buckets)

    def below(edge: float) -> float:
        return sum(b.sample_count * _part_below(b, edge) for b in buckets)

    sums = [0.0, *(below(edge) for edge in edges[1:-1]), total]
    return [(b - a) / total if total else 0.0 for a, b in itertools.pairwise(sums)]


def _part_below(bucket: Bucket, edge: float) -> float:
    if edge >= bucket.high_value:
        # A bucket of one value belongs to the bin that begins with it.
        return 0.0 if edge == bucket.low_value else 1.0
    if edge <= bucket.low_value:  # so that a bucket of one value is not divided
        return 0.0
    return max(0.0, (edge - bucket.low_value) / (bucket.high_value - bucket.low_value))


def _words(sides: Sequence[Column]) -> tuple[list[str], list[list[float]]]:
    shares: list[dict[str, float]] = []
    for side in sides:
        total = values_in(side)
        ranks = side.string_stats.rank_histogram.buckets
        shares.append({b.label: b.sample_count / total for b in ranks} if total else {})
    most: dict[str, float] = {}
    for one in shares:
        for word, share in one.items():
            most[word] = max(share, most.get(word, 0.0))
    first = sorted(most, key=lambda word: (-most[word], word))[:VALUES]
    columns = [[one.get(word, 0.0) for word in first] for one in shares]
    if any(side.string_stats.unique > len(first) for side in sides):
        columns = [
            [*column, max(0.0, 1 - sum(column)) if one else 0.0]
            for column, one in zip(columns, shares, strict=True)
        ]
        first = [*first, OTHERS]
    return [shortened(word) for word in first], columns


def shortened(word: str) -> str:
    """A word that fits: logs may hold megabytes.

    >>> len(shortened("x" * 1_000_000))
    60
    """
    return word if len(word) <= SHORT else f"{word[: SHORT - 1]}…"


def _common(side: Column) -> statistics_pb2.CommonStatistics:
    return getattr(side, side.WhichOneof("stats")).common_stats


def values_in(side: Column) -> int:
    """How many values there are, several a row counted each."""
    return int(_common(side).tot_num_values)


def missing(side: Column) -> float:
    """The share of rows without a value."""
    common = _common(side)
    rows = common.num_missing + common.num_non_missing
    return common.num_missing / rows if rows else 0.0


def middle(side: Column) -> float | None:
    """The median of numbers; None for words."""
    return None if side.WhichOneof("stats") == "string_stats" else float(side.num_stats.median)


def mean(side: Column) -> float | None:
    """The mean of numbers; None for words."""
    return None if side.WhichOneof("stats") == "string_stats" else float(side.num_stats.mean)
