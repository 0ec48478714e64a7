"""A block of raw rows becomes typed columns; rows that break a rule become dead letters."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ncs4cvr.components.log.columns import (
    Converted,
    inexact,
    one_chunk,
    to_flag,
    to_float,
    to_int,
    to_string,
)
from ncs4cvr.components.log.hashing import row_hashes
from ncs4cvr.components.log.plan import Column, Plan, Unit
from ncs4cvr.components.log.records import Block
from ncs4cvr.components.log.times import (
    day_number,
    expected_time,
    in_split,
    local_day,
    to_day,
    to_time_ms,
)
from ncs4cvr.schemas.log import Label

CONVERT: dict[str, Callable[[pa.Array], Converted]] = {
    "int": to_int,
    "float": to_float,
    "string": to_string,
}
EXPECTED = {"int": "a whole number", "float": "a finite number", "string": "text"}
EXACT_KEY = "an id below 2^53 (2^24 in 32 bits), as it is a float; write whole numbers or text"
UNKNOWN = -1  # a label that a history file does not know
#: Names on the way; the user's own names cannot collide with them, whatever they are.
USER, VIDEO, TIME, DAY, ORDER, HASH = "@user", "@video", "@time", "@day", "@order", "@hash"
LABEL = "@label:"  # then the label's name
LATER = "later"  # rows after the splits, which the log may hold
NO_VALUE = "a value, not a missing one"


class Sieve:
    """One block on its way: which rows are out and why (the first reason counts), what is counted.

    `dead` are the dead letters, one dictionary a row; `counts` the rows per kind and reason.
    """

    def __init__(self, block: Block, unit: Unit):
        self._block, self._unit = block, unit
        self.out = np.zeros(block.table.num_rows, bool)
        self.counts: Counter[str] = Counter()
        self.dead: list[dict[str, Any]] = []
        self.counts["rows"] = len(block.rows) + len(block.broken)
        for broken in block.broken:
            self._bury(broken.row, "", broken.expected, broken.came[:200], broken.came)

    def raw(self, theirs: str) -> pa.Array:
        """A column of the file; all missing where this piece of JSON or TFRecord lacks it."""
        if theirs in self._block.table.column_names:
            return one_chunk(self._block.table[theirs])
        return pa.nulls(self._block.table.num_rows)

    def column(
        self, theirs: str, convert: Callable[[pa.Array], Converted], expected: str, needed: bool
    ) -> pa.Array:
        """The converted column. Cells that do not convert, or are missing if `needed`, go out."""
        values, bad = convert(self.raw(theirs))
        self.refuse(bad, theirs, expected)
        if needed and values.null_count:
            self.refuse(values.is_null().to_numpy(zero_copy_only=False), theirs, NO_VALUE)
        return values

    def refuse(self, wrong: np.ndarray, theirs: str, expected: str, excused: bool = False) -> None:
        """Takes rows out; excused ones do not count against max_bad_share."""
        new = np.flatnonzero(wrong & ~self.out)
        if not len(new):
            return
        self.out |= wrong
        picked = _records(self._block.table.take(pa.array(new)))
        for row, raw in zip(self._block.rows[new].tolist(), picked, strict=True):
            self._bury(row, theirs, expected, raw.get(theirs), raw, excused)

    def leave_out(self, rows: np.ndarray, why: str) -> None:
        """Takes whole rows out that are not asked for, counted as `why`."""
        self.counts[why] += int((rows & ~self.out).sum())
        self.out |= rows

    def _bury(
        self, row: int, theirs: str, expected: str, came: Any, raw: Any, excused: bool = False
    ) -> None:
        reason = f"{theirs}: expected {expected}" if theirs else f"expected {expected}"
        self.counts[f"dead:{reason}"] += 1
        self.counts["excused" if excused else "bad"] += 1
        self.dead.append(
            {
                "file": self._unit.path,
                "row": row,
                "column": theirs,
                "expected": expected,
                "came": came,
                "raw": raw,
            }
        )

    def kept(self, columns: dict[str, pa.Array]) -> pa.Table:
        """The rows that are still in."""
        table = pa.table(columns)
        return table.filter(pa.array(~self.out)) if self.out.any() else table


def _records(table: pa.Table) -> list[dict[str, Any]]:
    """The rows as Python values; moments that Python has no word for as whole numbers."""
    try:
        return table.to_pylist()
    except (OverflowError, ValueError):
        for i, field in enumerate(table.schema):
            if pa.types.is_timestamp(field.type) or pa.types.is_date(field.type):
                number = pa.int32() if pa.types.is_date32(field.type) else pa.int64()
                table = table.set_column(i, field.name, table[i].cast(number))
        return table.to_pylist()


# Unicode's line ends; JSON escapes those of ASCII by itself.
LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}


def dead_letter_line(dead: dict[str, Any]) -> str:
    """A dead letter as a line of JSON, whatever its reader takes for the end of a line."""
    return json.dumps(dead, default=_plain, ensure_ascii=False).translate(LINE_ENDS) + "\n"


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value)


def parse(block: Block, unit: Unit, plan: Plan) -> tuple[pa.Table, Sieve]:
    """The typed rows of a block (raw tables, see the functions below) and what fell out."""
    sieve = Sieve(block, unit)
    if unit.kind == "events":
        table = _events(sieve, plan)
    elif unit.kind == "history":
        table = _history(sieve, plan)
    else:
        columns: tuple[Column, ...] = getattr(plan, unit.kind)
        table = sieve.kept({c.name: _cell(sieve, c, c is columns[0]) for c in columns})
    if unit.kind in ("events", "history"):
        hashed = row_hashes(block.table)[~sieve.out]
        table = table.append_column(HASH, pa.array(hashed, pa.uint64()))
    sieve.dead.sort(key=lambda letter: letter["row"])
    return table, sieve


def _cell(sieve: Sieve, column: Column, needed: bool) -> pa.Array:
    expected = EXPECTED[column.dtype]
    if needed:  # a key: two that become one would be merged without a word
        sieve.refuse(inexact(sieve.raw(column.theirs)), column.theirs, EXACT_KEY)
    return sieve.column(column.theirs, CONVERT[column.dtype], expected, needed)


def _key(sieve: Sieve, plan: Plan, key: str, dtype: str) -> pa.Array:
    return _cell(sieve, Column(key, plan.log.column(key), dtype), True)


def _events(sieve: Sieve, plan: Plan) -> pa.Table:
    """@user, @video, @time (ms), @day (since 1970), @label:<name>, feature columns."""
    log = plan.log
    user = _key(sieve, plan, log.user, plan.user_type)
    video = _key(sieve, plan, log.video, plan.video_type)

    def in_ms(raw: pa.Array) -> Converted:
        return to_time_ms(raw, log.time_unit, log.utc_offset_hours)

    time = sieve.column(log.column(log.time), in_ms, expected_time(log.time_unit), True)
    local = local_day(_filled(time, np.int64), log.utc_offset_hours)
    if log.day:
        day = sieve.column(log.column(log.day), to_day, "a day as YYYYMMDD or ISO date", True)
        day = day.fill_null(0)
        local = local - 1  # a day column may follow another clock
    else:
        day = pa.array(local)
    last, why = (log.until, "until") if log.until else (log.last_day, "the last day of the splits")
    for theirs, days in ((log.day, day.to_numpy()), (log.time, local)):
        if theirs:
            expected = f"a day up to {last}, {why}"
            sieve.refuse(days > day_number(last), log.column(theirs), expected)
    sieve.leave_out(day.to_numpy() > day_number(log.last_day), LATER)
    columns = {USER: user, VIDEO: video, TIME: time, DAY: day}
    columns |= _labels(sieve, plan, day.to_numpy())
    columns |= {c.name: _cell(sieve, c, False) for c in plan.events}
    table = sieve.kept(columns)
    _count_splits(table, sieve, plan)
    return table


def _labels(sieve: Sieve, plan: Plan, day: np.ndarray) -> dict[str, pa.Array]:
    """@label:<name> for every label, and what the `given` rule did to it, counted."""
    log = plan.log
    raw: dict[str, np.ndarray] = {}
    for label in log.labels:
        if label.over:
            part = sieve.column(log.column(label.column), to_float, EXPECTED["float"], True)
            whole = sieve.column(log.column(label.over), to_float, EXPECTED["float"], True)
            raw[label.name] = ratio(_filled(part, np.float64), _filled(whole, np.float64))
        else:
            theirs = log.column(label.column)
            values = _filled(sieve.column(theirs, to_flag, "0 or 1", True), np.int64)
            sieve.refuse((values != 0) & (values != 1), theirs, "0 or 1")
            raw[label.name] = values.astype(np.int8)
    derived: dict[str, np.ndarray] = {}
    for label in _in_order(log.labels):
        values = raw[label.name]
        if label.given:
            missing = derived[label.given] <= 0
            if not label.over:
                _count_orphans(sieve, plan, label, (values == 1) & missing, day)
            values = np.where(missing, values.dtype.type(0), values)
        derived[label.name] = values
    return {LABEL + label.name: pa.array(derived[label.name]) for label in log.labels}


def _count_orphans(
    sieve: Sieve, plan: Plan, label: Label, orphan: np.ndarray, day: np.ndarray
) -> None:
    living = orphan & ~sieve.out
    sieve.counts[f"orphan:{label.name}"] += int(living.sum())
    for split in plan.log.splits:
        inside = in_split(day, split)
        sieve.counts[f"orphans:{split.name}:{label.name}"] += int((living & inside).sum())
    if plan.log.orphan_conversions == "drop":
        theirs = plan.log.column(label.column)
        sieve.refuse(orphan, theirs, f"no {label.name} without {label.given}", excused=True)


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole clipped to [0, 1]; 0 where `whole` is not positive."""
    positive = whole > 0
    with np.errstate(over="ignore"):  # what overflows is far above 1
        share = np.where(positive, part / np.where(positive, whole, 1), 0)
    return np.clip(share, 0, 1).astype(np.float32)


def _in_order(labels: tuple[Label, ...]) -> list[Label]:
    """A label comes after the one it is given."""
    by_name = {label.name: label for label in labels}

    def depth(label: Label) -> int:
        return 1 + depth(by_name[label.given]) if label.given else 0

    return sorted(labels, key=depth)


def _filled(values: pa.Array, dtype: type) -> np.ndarray:
    return values.fill_null(0).to_numpy(zero_copy_only=False).astype(dtype, copy=False)


def _count_splits(table: pa.Table, sieve: Sieve, plan: Plan) -> None:
    day = table[DAY].to_numpy()
    for split in plan.log.splits:
        inside = in_split(day, split)
        sieve.counts[f"split:{split.name}"] += int(inside.sum())
        for label in plan.log.labels:
            values = table[LABEL + label.name].to_numpy()
            sieve.counts[f"positive:{split.name}:{label.name}"] += int((values[inside] > 0).sum())


def _history(sieve: Sieve, plan: Plan) -> pa.Table:
    """@user, @video, @order, @label:<name> of the labels that the file knows (-1 = unknown)."""
    log = plan.log
    columns = {
        USER: _key(sieve, plan, log.user, plan.user_type),
        VIDEO: _key(sieve, plan, log.video, plan.video_type),
        ORDER: sieve.column(log.column(log.history_order), to_int, EXPECTED["int"], True),
    }
    derived: dict[str, np.ndarray] = {}
    for label in _in_order(log.labels):
        if label.name not in plan.known:
            continue
        theirs = log.column(label.column)
        cells = sieve.column(theirs, to_flag, "0, 1 or missing", False)
        values = cells.fill_null(UNKNOWN).to_numpy(zero_copy_only=False)
        wrong = (values < 0) & pc.is_valid(cells).to_numpy(zero_copy_only=False) | (values > 1)
        sieve.refuse(wrong, theirs, "0, 1 or missing")
        if label.given in derived:
            values = np.where((values == 1) & (derived[label.given] == 0), 0, values)
        derived[label.name] = values.astype(np.int8)
        columns[LABEL + label.name] = pa.array(derived[label.name])
    return sieve.kept(columns)
