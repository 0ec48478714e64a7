"""What each day of a log looks like, in a few numbers: rows, shares, and what single columns tell.

Statistics of a whole window hide a bad day among good ones, and see each column alone: labels that
were flipped, or that leak into a feature, leave every histogram as it was.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import tensorflow as tf
from scipy.stats import rankdata
from tensorflow_metadata.proto.v0 import schema_pb2

from ncs4cvr.components import day_hours
from ncs4cvr.schemas.data_schema import TYPES
from ncs4cvr.schemas.log import MISSING, Split
from ncs4cvr.schemas.recipe import Recipe

DAY = "day"
BATCH_ROWS = 4096
MOST_ROWS = 2_000_000  # more are read by sample: the first shards of every split, the same users
# A column with as many on most days is put in the order of its label's mean, not of its values.
FEW_VALUES = 50
BUSIEST = 0.01  # of the users
TENSORS = {"int": tf.int64, "float": tf.float32, "string": tf.string}
Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Watched:
    """What is looked at: names of columns. given: label -> the label it counts only with, or "".

    A label that others are given need not be looked at itself: it may be a ratio, or learned by
    nothing. plain: keys, clocks and tags, of which no more is asked than whether they stand still.
    time: milliseconds since 1970 UTC; "" = hours are not looked at.
    """

    user: str
    video: str
    given: Mapping[str, str]
    features: tuple[str, ...]
    plain: tuple[str, ...] = ()
    time: str = ""
    utc_offset_hours: float = 0.0

    @property
    def needed(self) -> set[str]:
        """The columns without which nothing can be said of a day."""
        return {DAY, self.user, self.video, *self.given, *filter(None, self.given.values())}

    @staticmethod
    def of(recipe: Recipe) -> Watched:
        """Labels of 0 and 1 that outputs learn, and those that they are given; columns of features
        that have one value a row, keys, clocks and tags apart.

        A label that nothing learns may be as rare as it likes: no model suffers from it.
        """
        log = recipe.log
        keys = (log.user, log.video, log.time)
        rows = [feature for feature in recipe.features if feature.source != "history"]
        features = dict.fromkeys(
            f.column for f in rows if f.kind != "tags" and f.column not in keys
        )
        plain = dict.fromkeys([*keys, *(f.column for f in rows if f.column not in features)])
        of_log = {label.name: label.given for label in log.labels if not label.over}
        learned = {output.label for output in recipe.outputs} & set(of_log)
        learned |= {of_log[label] for label in learned} & set(of_log)
        given = {label: of_log[label] for label in of_log if label in learned}
        clock = log.time, log.utc_offset_hours
        return Watched(log.user, log.video, given, tuple(features), tuple(plain), *clock)


@dataclass(frozen=True)
class Day:
    """One day.

    shares: what -> (hits, rows). aucs: (label, column) -> (the AUC of the column alone, and the
    standard error it has where the column says nothing). middles: column of quantities -> median of
    those above 0. constant: columns with the same value in all rows. valued: column -> (rows that
    have a value, rows). hours: None where no column tells.
    """

    split: str
    rows: float
    shares: Mapping[str, tuple[int, int]]
    aucs: Mapping[tuple[str, str], tuple[float, float]]
    middles: Mapping[str, float]
    constant: frozenset[str]
    valued: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    hours: day_hours.Hours | None = None


def read(
    shards: Mapping[str, Sequence[str]], rows: int, schema: schema_pb2.Schema, watched: Watched
) -> tuple[dict[str, Columns], float]:
    """split -> column -> [rows], and which share of the rows that is.

    Args:
      shards: split -> files of gzip tf.Examples, as many in every split; the n-th holds the same
        users everywhere.
      rows: how many there are.
      schema: which columns there are, and their types.
      watched: what to read; the day, too.
    """
    types = {f.name: TYPES[f.type] for f in schema.feature}
    wanted = watched.needed | {*watched.features, *watched.plain}
    spec = {
        name: tf.io.FixedLenFeature([], TENSORS[types[name]], MISSING[types[name]])
        for name in sorted(wanted & set(types))
    }
    most = max(len(files) for files in shards.values())
    taken = math.ceil(most * min(1, MOST_ROWS / max(rows, 1)))
    return {
        split: _columns(sorted(files)[:taken], spec) for split, files in shards.items()
    }, taken / most


def _columns(files: Sequence[str], spec: Mapping[str, tf.io.FixedLenFeature]) -> Columns:
    parts: dict[str, list[np.ndarray]] = {name: [] for name in spec}
    for batch in tf.data.TFRecordDataset(files, "GZIP").batch(BATCH_ROWS):
        for name, values in tf.io.parse_example(batch, spec).items():
            parts[name].append(values.numpy())
    return {name: np.concatenate(each) for name, each in parts.items() if each}


def profile(splits: Mapping[str, Columns], share: float, watched: Watched) -> dict[int, Day]:
    """day (as YYYYMMDD) -> what it looks like, in order; days without a row are not there.

    For the arguments see `read`.
    """
    days: dict[int, Day] = {}
    before: np.ndarray | None = None
    # Words become numbers once for the split, not once a day.
    numbers = {
        split: {
            name: pd.factorize(values)[0] if values.dtype == object else values
            for name, values in columns.items()
        }
        for split, columns in splits.items()
        if columns
    }
    parts = {split: _days(columns[DAY]) for split, columns in numbers.items()}
    few = _few(numbers, parts, watched)
    dates = [int(rows[DAY][part[0]]) for split, rows in numbers.items() for part in parts[split]]
    ends = min(dates, default=0), max(dates, default=0)
    for split, columns in numbers.items():
        words = {name for name, values in splits[split].items() if values.dtype == object}
        for part in parts[split]:
            rows = {name: values[part] for name, values in columns.items()}
            pairs = _pairs(splits[split], part, watched)
            day = _day(split, rows, words, few, ends, watched)
            shares = dict(day.shares)
            if before is not None:
                again = int(np.isin(pairs, before).sum())
                shares["rows with a user and a video of the day before"] = again, len(part)
            before = pairs
            valued = {
                name: (int(_known(splits[split][name][part]).sum()), len(part))
                for name in (*watched.features, *watched.plain)
                if name in rows
            }
            days[int(rows[DAY][0])] = dataclasses.replace(
                day, rows=len(part) / share, shares=shares, valued=valued
            )
    return days


def without_rows(splits: Iterable[Split]) -> dict[int, Day]:
    """Every day of some splits as one on which nothing came."""
    return {
        int(str(date).replace("-", "")): Day(split.name, 0, {}, {}, {}, frozenset())
        for split in splits
        for date in np.arange(split.first, np.datetime64(split.last) + 1, dtype="datetime64[D]")
    }


def _days(dates: np.ndarray) -> list[np.ndarray]:
    """The rows of each day, in order."""
    order = np.argsort(dates, kind="stable")
    starts = np.flatnonzero(np.diff(dates[order], prepend=-1))
    return np.split(order, starts[1:])


def _few(
    splits: Mapping[str, Columns], parts: Mapping[str, list[np.ndarray]], watched: Watched
) -> set[str]:
    """Columns that have a few values on most days.

    Each day by itself would not do: a quantity in another unit may have a few values on that day
    alone, and two ways to put values in order are no two days to compare.
    """
    counts: dict[str, list[int]] = {}
    for split, columns in splits.items():
        for part in parts[split]:
            for name in set(watched.features) & set(columns):
                counts.setdefault(name, []).append(len(pd.unique(columns[name][part])))
    return {name for name, found in counts.items() if np.median(found) <= FEW_VALUES}


def _known(values: np.ndarray) -> np.ndarray:
    """[rows], whether there is a value."""
    if values.dtype.kind == "f":
        return ~np.isnan(values)
    missing = MISSING["int"] if values.dtype.kind == "i" else str(MISSING["string"]).encode()
    return np.asarray(values != missing)


def _pairs(columns: Columns, part: np.ndarray, watched: Watched) -> np.ndarray:
    """[rows], a hash of user and video."""
    keys = [pd.util.hash_array(columns[name][part]) for name in (watched.user, watched.video)]
    return keys[0] * np.uint64(31) + keys[1]


def _day(
    split: str,
    rows: Columns,
    words: set[str],
    few: set[str],
    ends: tuple[int, int],
    watched: Watched,
) -> Day:
    count = len(rows[DAY])
    features = [name for name in watched.features if name in rows]
    aucs, middles = {}, {}
    labels = dict(_labels(rows, watched))
    for name in features:
        values = rows[name]
        if name not in few:
            if name in words:
                continue
            values = np.where(np.isfinite(values), values, -np.inf)
            if (values > 0).any():
                middles[name] = float(np.median(values[values > 0]))
        else:
            values = pd.factorize(values)[0]
        for label, (mine, y) in labels.items():
            ordered = _by_mean(values[mine], y) if name in few else values[mine]
            if (found := _auc(y, ordered)) is not None:
                aucs[label, name] = found
    known = [*features, *(name for name in watched.plain if name in rows)]
    constant = {name for name in known if len(pd.unique(rows[name])) == 1}
    shares = dict(_shares(rows, watched))
    hours = None
    if watched.time in rows:
        local = rows[watched.time] + int(watched.utc_offset_hours * day_hours.HOUR_MS)
        named = {_rows_with(label, watched): found for label, found in labels.items()}
        at_end = (rows[DAY][0] == end for end in ends)
        hours = day_hours.hours(local, rows[watched.user], named, *at_end)
    return Day(split, count, shares, aucs, middles, frozenset(constant), hours=hours)


def _labels(rows: Columns, watched: Watched) -> Iterator[tuple[str, tuple[np.ndarray, np.ndarray]]]:
    """label -> the numbers of its rows, and its values there."""
    for label, given in watched.given.items():
        mine = np.flatnonzero(rows[given] > 0) if given else np.arange(len(rows[label]))
        yield label, (mine, rows[label][mine] > 0)


def _shares(rows: Columns, watched: Watched) -> Iterator[tuple[str, tuple[int, int]]]:
    for label, (mine, y) in _labels(rows, watched):
        yield _rows_with(label, watched), (int(y.sum()), len(mine))
    counts = np.sort(np.unique(rows[watched.user], return_counts=True)[1])
    busiest = counts[-math.ceil(BUSIEST * len(counts)) :]
    yield f"rows of the busiest {BUSIEST:.0%} of the users", (int(busiest.sum()), len(rows[DAY]))


def _rows_with(label: str, watched: Watched) -> str:
    given = watched.given[label]
    return f"rows with {given} that have {label}" if given else f"rows with {label}"


def _by_mean(codes: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Each row's value as the mean label of the rows that have it."""
    codes = codes + 1  # a missing word is -1
    rows = np.bincount(codes)
    return (np.bincount(codes, y) / np.maximum(rows, 1))[codes]


def _auc(y: np.ndarray, values: np.ndarray) -> tuple[float, float] | None:
    """The AUC of values, and its standard error where they say nothing (Mann and Whitney)."""
    positives, negatives = int(y.sum()), int(len(y) - y.sum())
    if not positives or not negatives:
        return None
    pairs = positives * negatives
    over = rankdata(values)[y].sum() - positives * (positives + 1) / 2
    return float(over / pairs), math.sqrt((positives + negatives + 1) / (12 * pairs))
