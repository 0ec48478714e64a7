"""Checks a log and its description before anything is read in bulk, and says who reads what."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from ncs4cvr.components.log.columns import kind_of, one_chunk, to_int
from ncs4cvr.components.log.readers import files, format_of, head_of, row_groups, schema_of
from ncs4cvr.components.log.records import LogError, check_once
from ncs4cvr.components.log.row_checks import check_rows
from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.log import Log

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


def make_plan(log: Log, features: Sequence[Feature], bucket_rows: int = BUCKET_ROWS) -> Plan:
    """Looks at every file's columns and cuts the log into units and buckets.

    Raises LogError for rows that contradict each other, a missing or unreadable file, a column that
    is missing, there twice or of the wrong type, and a log without rows.
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
            if rows and schema.names:  # else there are broken rows only, each a dead letter
                required = _required(plan, kind)
                names = [name for name, _ in required] + _optional(plan, kind)
                check_once(path, schema.names, map(log.column, names))
                _check_columns(path, schema, required, log)
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
            if not rows or schema.names.count(name) != 1:  # refused later
                continue
            if kind_of(schema.field(name).type) == "string" and not _holds_whole(path, name, log):
                return "string"
    return "int"


def _holds_whole(path: str, name: str, log: Log) -> bool:
    """Whether the head of a text file holds whole numbers here, but for a few broken cells."""
    if format_of(path) not in ("csv", "json"):
        return False
    head, _ = head_of(path)
    if head is None or not len(head.rows):  # nothing that speaks against it
        return True
    cells = one_chunk(head.table[name])
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
        required.append((label.column, "float" if label.over else "0 or 1"))
        required += [(label.over, "float")] if label.over else []
    return required


def _optional(plan: Plan, kind: str) -> list[str]:
    """Our names of what is read where the files of this kind have it."""
    if kind != "history":
        return []
    return [label.column for label in plan.log.labels if label.name in plan.known]


#: Types of a file's column that can become what is wanted; text cells are looked at one by one.
FITS = {
    "int": ("int", "float", "null"),
    "0 or 1": ("int", "float", "string", "null"),
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
        held = schema.field(theirs).type
        kind = kind_of(held)
        if dtype == "time" and pa.types.is_float32(getattr(held, "value_type", held)):
            raise LogError(
                f"{path}: column {theirs!r} holds floats of 32 bits, which keep times of these "
                "years to two minutes only, expected time; write it as 64 bits, best whole numbers"
            )
        if kind not in FITS[dtype] and not text and not (mixed and kind == "string"):
            raise LogError(
                f"{path}: column {theirs!r} holds {held}, expected {dtype}; "
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
