"""The rows that say what a video log looks like: columns, labels, tallies, splits."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from ncs4cvr.schemas import checks

#: How a missing value of each type is written in a dense serving tensor.
MISSING = {"int": -(2**63), "float": float("nan"), "string": ""}

#: Where an export keeps how its log writes times: `column`, `unit`, `utc_offset_hours` (see Log).
TIMES = "assets.extra/times.json"

#: Columns every example of a history carries, newest impression first.
HISTORY_COLUMNS = ("history_video", "history_action", "history_gap_s", "history_time_ms")


def _is_day(text: str) -> bool:
    """Whether this is an ISO date with dashes: newer Pythons take "20220107" for one, too."""
    try:
        return dt.date.fromisoformat(text).isoformat() == text
    except (TypeError, ValueError):
        return False


@dataclass(frozen=True)
class Label:
    """One thing a user did (or how much of it), read from an event column.

    binary:  label = column, which must be 0 or 1 (also true or false, in any case)
    ratio:   label = clip(column / over, 0, 1), 0 where `over` is not positive
    `given` names a label without which this one does not count: a conversion is post-click.
    """

    name: str
    column: str
    over: str = ""
    given: str = ""

    def __post_init__(self) -> None:
        checks.name("label", self.name)


@dataclass(frozen=True)
class Tally:
    """A count or smoothed rate of a user or a video, known before the impression.

    count:  n(hits) over earlier impressions                      (trials == "")
    rate:   (n(hits) + strength * prior) / (n(trials) + strength)
    `hits` and `trials` are binary label names; "impression" counts every row. A user's tally runs
    up to the moment of the impression (strictly earlier times), a video's up to the day before.
    Rows whose label is unknown (a history file without that column) are no trials.
    """

    name: str
    key: Literal["user", "video"]
    hits: str = "impression"
    trials: str = ""
    prior: float = 0.0
    strength: float = 0.0

    def __post_init__(self) -> None:
        checks.name("tally", self.name)
        checks.literals(self)
        if self.trials and self.strength <= 0:
            raise ValueError(
                f"rate {self.name!r} needs strength > 0, got {self.strength}; say how many trials "
                "the prior counts for"
            )


@dataclass(frozen=True)
class Split:
    """The days (both included, ISO dates) whose impressions become this split."""

    name: str
    first: str
    last: str

    def __post_init__(self) -> None:
        checks.name("split", self.name)
        if not checks.SPLIT.fullmatch(self.name):
            raise ValueError(
                f"split {self.name!r}: TFX takes letters, digits, '_' and '-' only, a letter or "
                "digit first; call it so"
            )
        for day in (self.first, self.last):
            if not _is_day(day):
                raise ValueError(f"split {self.name!r}: {day!r} is no day; expected YYYY-MM-DD")
        if dt.date.fromisoformat(self.first) > dt.date.fromisoformat(self.last):
            raise ValueError(
                f"split {self.name!r}: first day {self.first} lies after last day {self.last}; "
                "swap them"
            )


@dataclass(frozen=True)
class Log:
    """Where the log lies and what its columns are called.

    Files are globs (several: separated by commas) of Parquet, CSV with header, JSON lines or
    gzip/plain TFRecord of tf.Example, told apart by their ending. `columns` maps our name to
    theirs wherever they differ: (("time_ms", "ts"), ...).

    events   one impression a row: user, video, time, labels and event features
    users    one user a row, joined on `user`                           (optional)
    videos   one video a row, joined on `video`                         (optional)
    history  impressions older than the log: user, video, `history_order` (0 = latest) and the
             columns of labels that are known                           (optional)

    Rows after the splits and up to `until` are left out; later ones are broken.
    """

    events: str
    users: str = ""
    videos: str = ""
    history: str = ""
    columns: tuple[tuple[str, str], ...] = ()
    user: str = "user_id"
    video: str = "video_id"
    time: str = "time_ms"
    time_unit: Literal["ms", "s"] = "ms"
    day: str = ""  # a YYYYMMDD or ISO day column that decides the split; "" takes it from `time`
    utc_offset_hours: float = 0.0
    history_order: str = "steps_before_cutoff"
    history_length: int = 50
    history_actions: tuple[str, ...] = ()  # label names; bit i of history_action is label i
    labels: tuple[Label, ...] = ()
    tallies: tuple[Tally, ...] = ()
    splits: tuple[Split, ...] = ()
    until: str = ""  # the last day that the files may hold; "" = the last day of the splits
    orphan_conversions: Literal["keep", "drop"] = "keep"
    max_bad_share: float = 0.01

    def column(self, ours: str) -> str:
        """The name in the user's files of our column."""
        return dict(self.columns).get(ours, ours)

    def __post_init__(self) -> None:
        checks.literals(self)
        for field in ("events", "users", "videos", "history"):
            checks.no_secret(
                f"Log.{field}",
                getattr(self, field),
                "give it to the file system in the environment",
            )
        labels = {label.name for label in self.labels}
        for label in self.labels:
            if label.given and label.given not in labels:
                raise ValueError(
                    f"label {label.name!r} is given {label.given!r}, which is no label; "
                    f"labels are {sorted(labels)}"
                )
        for tally in self.tallies:
            for used in (tally.hits, tally.trials):
                if used and used != "impression" and used not in labels:
                    raise ValueError(
                        f"tally {tally.name!r} counts {used!r}, which is no label; "
                        f"use 'impression' or one of {sorted(labels)}"
                    )
        unknown = set(self.history_actions) - labels
        if unknown:
            raise ValueError(
                f"history_actions {sorted(unknown)} are no labels; labels are {sorted(labels)}"
            )
        checks.unique("label", [label.name for label in self.labels])
        checks.unique("tally", [tally.name for tally in self.tallies])
        checks.unique("split", [split.name for split in self.splits])
        if not -24 <= self.utc_offset_hours <= 24:
            raise ValueError(
                f"utc_offset_hours must lie in [-24, 24], such as 5.5 for India, got "
                f"{self.utc_offset_hours}"
            )
        if not 0 <= self.max_bad_share <= 1:
            raise ValueError(f"max_bad_share must lie in [0, 1], got {self.max_bad_share}")
        days = sorted((s.first, s.last, s.name) for s in self.splits)
        for (_, last, a), (first, _, b) in pairwise(days):
            if first <= last:
                raise ValueError(
                    f"splits {a!r} and {b!r} overlap: {first} <= {last}; a day belongs to one split"
                )
        if self.until and not (_is_day(self.until) and self.until >= self.last_day):
            raise ValueError(
                f"until {self.until!r} must be a day as YYYY-MM-DD, and none before "
                f"{self.last_day}, the last day of the splits"
            )

    @property
    def last_day(self) -> str:
        """The last day of the splits, an ISO date."""
        return max((split.last for split in self.splits), default="")
