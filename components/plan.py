"""Checks a log and its description before anything is read in bulk, and says who reads what."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from ncs4cvr.components.columns import kind_of, one_chunk, to_int
from ncs4cvr.components.readers import LogError, blocks, files, format_of, row_groups, schema_of
from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.log import HISTORY_COLUMNS, Label, Log

BUCKET_ROWS = 100_000  # rows that one worker holds at a time
SIDE_ROWS = 4  # rows of users, videos and history weigh about a fourth of an event's

#: Per kind of file and path: its columns and how many rows it holds.
Heads = dict[str, dict[str, tuple[pa.Schema, int]]]


@dataclass(frozen=True)
class Column:
    """A column of a file: our name, theirs, its type, and what joins several values in a cell."""

    name: str
    theirs: str
    dtype: str
    separator: str = ","


@dataclass(frozen=True)
class Unit:
    """What one worker reads at once: a row group of a Parquet file, any other file as a whole."""

    kind: str
    index: int
    path: str
    row_group: int = -1
    first_row: int = 0


@dataclass(frozen=True)
class Plan:
    """Everything a worker has to know. Columns of users and videos start with their key."""

    log: Log
    events: tuple[Column, ...]
    users: tuple[Column, ...]
    videos: tuple[Column, ...]
    tallies: tuple[Column, ...]
    history: tuple[str, ...]
    known: tuple[str, ...]  # labels that the history file knows
    user_type: str
    video_type: str
    units: tuple[Unit, ...]
    buckets: int

    def separators(self, kind: str) -> dict[str, str]:
        """What joins the values of a cell, per column of the files of this kind."""
        return {c.theirs: c.separator for c in getattr(self, kind, ()) if isinstance(c, Column)}


def check_rows(log: Log, features: Sequence[Feature]) -> None:
    """Raises LogError where the rows contradict each other; touches no file."""
    labels = {label.name: label for label in log.labels}
    if not log.splits or not log.labels:
        raise LogError("a log needs at least one split and one label; add Log.splits, Log.labels")
    for label in log.labels:
        _given_first(label, labels)
    for use, names in (
        ("history_actions", log.history_actions),
        *((f"tally {tally.name!r}", (tally.hits, tally.trials)) for tally in log.tallies),
    ):
        for name in names:
            if name in labels and labels[name].over:
                raise LogError(f"{use}: {name!r} is a ratio; name a binary label instead")
    taken = {"day", log.user, log.video, log.time, *HISTORY_COLUMNS}
    for what, called, forbidden in (
        ("label", list(_label_names(log)), taken),
        ("tally", [tally.name for tally in log.tallies], taken | set(labels)),
        ("feature", [feature.name for feature in features], set(labels)),
    ):
        if clash := [name for name in called if name in forbidden]:
            raise LogError(
                f"{what} {clash[0]!r}: examples use this name for something else; give it another"
            )
    made = {"history": set(HISTORY_COLUMNS), "tally": {tally.name for tally in log.tallies}}
    seen: dict[str, Feature] = {}
    for feature in features:
        _check_feature(feature, log, made)
        other = seen.setdefault(feature.column, feature)
        keys = (log.user, log.video)
        if feature.column not in keys and (feature.source, feature.dtype) != (
            other.source,
            other.dtype,
        ):
            raise LogError(
                f"features {other.name!r} and {feature.name!r} both read column {feature.column!r} "
                f"but as {other.source}/{other.dtype} and {feature.source}/{feature.dtype}; give "
                "one another `column` and map it with Log.columns"
            )


def _check_feature(feature: Feature, log: Log, made: dict[str, set[str]]) -> None:
    column, source = feature.column, feature.source
    if source in made:
        if column not in made[source]:
            raise LogError(
                f"feature {feature.name!r}: no {source} column {column!r}; "
                f"name one of {sorted(made[source])}"
            )
        return
    if source in ("user", "video") and column not in (log.user, log.video):
        if not (log.users if source == "user" else log.videos):
            raise LogError(
                f"feature {feature.name!r} comes from the {source}s file, but Log.{source}s is "
                "empty; name the file or drop the feature"
            )
    if source == "event":
        leaks = {theirs for label in log.labels for theirs in (label.name, label.column)}
        if column in leaks or log.column(column) in {log.column(leak) for leak in leaks}:
            raise LogError(
                f"feature {feature.name!r} reads {column!r}, which is a label: it is known only "
                "after the impression (label leak); drop the feature"
            )
    if column in ("day", *HISTORY_COLUMNS, *(t.name for t in log.tallies), *_label_names(log)):
        raise LogError(
            f"feature {feature.name!r}: column {column!r} is a name that examples use themselves; "
            "give the feature another `column` and map it with Log.columns"
        )


def _label_names(log: Log) -> tuple[str, ...]:
    return tuple(label.name for label in log.labels)


def _given_first(label: Label, labels: dict[str, Label]) -> None:
    path = [label.name]
    while given := labels[path[-1]].given:
        if given in path:
            raise LogError(f"labels {path} are given each other in a circle; break it")
        path.append(given)


def make_plan(log: Log, features: Sequence[Feature], bucket_rows: int = BUCKET_ROWS) -> Plan:
    """Looks at every file's columns and cuts the log into units and buckets.

    Raises LogError for rows that contradict each other, a missing or unreadable file, a missing
    column, one of the wrong type, and a log without rows.
    """
    check_rows(log, features)
    by_column = {feature.column: feature for feature in features}
    heads = {
        kind: {path: schema_of(path) for path in files(pattern)}
        for kind, pattern in _patterns(log).items()
    }
    for kind, found in heads.items():
        if not sum(rows for _, rows in found.values()):
            raise LogError(f"{kind}: {', '.join(found)} hold no row; write the log again")

    def wanted(source: str) -> tuple[Column, ...]:
        rows = [f for f in features if f.source == source]
        names = dict.fromkeys(f.column for f in rows if f.column not in (log.user, log.video))
        names.pop(log.time, None)
        return tuple(
            Column(
                name,
                log.column(name),
                by_column[name].dtype,
                next((f.separator for f in rows if f.column == name and f.kind == "tags"), ","),
            )
            for name in names
        )

    user_type = _key_type(log, log.user, by_column, heads, ("events", "users", "history"))
    video_type = _key_type(log, log.video, by_column, heads, ("events", "videos", "history"))
    history_file = set().union(*(set(s.names) for s, _ in heads.get("history", {}).values()))
    plan = Plan(
        log=log,
        events=wanted("event"),
        users=(Column(log.user, log.column(log.user), user_type), *wanted("user")),
        videos=(Column(log.video, log.column(log.video), video_type), *wanted("video")),
        tallies=wanted("tally"),
        history=tuple(dict.fromkeys(f.column for f in features if f.source == "history")),
        known=tuple(
            label.name
            for label in log.labels
            if not label.over and log.column(label.column) in history_file
        ),
        user_type=user_type,
        video_type=video_type,
        units=tuple(_units(heads)),
        buckets=_buckets(heads, bucket_rows),
    )
    for kind, found in heads.items():
        for path, (schema, rows) in found.items():
            if rows:
                _check_columns(path, schema, _required(plan, kind), log)
    return plan


def _patterns(log: Log) -> dict[str, str]:
    given = {"events": log.events, "users": log.users, "videos": log.videos, "history": log.history}
    if not log.events:
        raise LogError("Log.events names no file, got ''; give it the impressions' files")
    return {kind: pattern for kind, pattern in given.items() if pattern}


def _key_type(
    log: Log, key: str, by_column: dict[str, Feature], heads: Heads, kinds: Sequence[str]
) -> str:
    """int or string: what a feature says, else string as soon as one file holds text."""
    if key in by_column:
        return by_column[key].dtype
    for kind in kinds:
        for path, (schema, rows) in heads.get(kind, {}).items():
            name = log.column(key)
            if not rows or name not in schema.names:
                continue
            if kind_of(schema.field(name).type) == "string" and not _holds_whole(path, name, log):
                return "string"
    return "int"


def _holds_whole(path: str, name: str, log: Log) -> bool:
    """Whether the head of a text file holds whole numbers here, but for a few broken cells."""
    if format_of(path) not in ("csv", "json"):
        return False
    cells = one_chunk(next(blocks(path, limit=1000)).table[name])
    whole, bad = to_int(cells)
    good = pa.array(~bad)
    same = whole.filter(good).cast(pa.string()).equals(cells.filter(good))  # 007 is a word
    return same and bad.mean() <= log.max_bad_share


def _required(plan: Plan, kind: str) -> list[tuple[str, str]]:
    """(our column, type) of everything the files of this kind must hold."""
    log = plan.log
    keys = [(log.user, plan.user_type), (log.video, plan.video_type)]
    if kind == "history":
        return [*keys, (log.history_order, "int")]
    if kind != "events":
        return [(column.name, column.dtype) for column in getattr(plan, kind)]
    required = [*keys, (log.time, "time"), *((c.name, c.dtype) for c in plan.events)]
    required += [(log.day, "day")] if log.day else []
    for label in log.labels:
        required.append((label.column, "float" if label.over else "int"))
        required += [(label.over, "float")] if label.over else []
    return required


#: Types of a file's column that can become what is wanted; text cells are looked at one by one.
FITS = {
    "int": ("int", "float", "null"),
    "float": ("int", "float", "null"),
    "string": ("string", "int", "float", "null"),
    "time": ("int", "float", "time", "string"),
    "day": ("int", "time", "string"),
}


def _check_columns(
    path: str, schema: pa.Schema, required: Sequence[tuple[str, str]], log: Log
) -> None:
    text = format_of(path) in ("csv", "json")
    mixed = format_of(path) == "tfrecord"  # where one record holds text, all cells are read as text
    for name, dtype in required:
        theirs = log.column(name)
        if theirs not in schema.names:
            near = difflib.get_close_matches(theirs, schema.names, 3, 0.5) or schema.names
            raise LogError(
                f"{path}: no column {theirs!r}; nearest are {', '.join(near)}. If it has another "
                f'name, map it: Log(columns=(("{name}", "{near[0] if near else "THEIRS"}"),))'
            )
        kind = kind_of(schema.field(theirs).type)
        if kind not in FITS[dtype] and not text and not (mixed and kind == "string"):
            raise LogError(
                f"{path}: column {theirs!r} holds {schema.field(theirs).type}, expected {dtype}; "
                "write it as that type, or give the feature's row another dtype"
            )


def _units(heads: Heads) -> list[Unit]:
    units = []
    for kind, found in heads.items():
        mine = [
            (path, group, first)
            for path, (_, rows) in found.items()
            for group, first in (row_groups(path) if format_of(path) == "parquet" else [(-1, 0)])
            if rows
        ]
        units += [Unit(kind, i, *about) for i, about in enumerate(mine)]
    return units


def _buckets(heads: Heads, bucket_rows: int) -> int:
    """At least two, so that two readers can share a split's files."""
    rows = {kind: sum(count for _, count in found.values()) for kind, found in heads.items()}
    weight = max(count // (1 if kind == "events" else SIDE_ROWS) for kind, count in rows.items())
    return max(2, -(-weight // bucket_rows))
