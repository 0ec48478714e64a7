"""What `ncs4cvr init` sees of a log, and which of its columns is the user, the click, and so on."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ncs4cvr.components.log.columns import (
    kind_of,
    mask_of,
    one_chunk,
    to_flag,
    to_float,
    to_int,
    to_string,
)
from ncs4cvr.components.log.readers import blocks, files
from ncs4cvr.components.log.records import LogError, check_once
from ncs4cvr.components.log.times import to_time_ms, zone_hours
from ncs4cvr.pipeline.init.starter_options import NAMES, flag
from ncs4cvr.pipeline.init.starter_recipe import Guess

MOST_WRONG = 0.01  # of a column's values; more, and a run would stop at its dead letters
SAMPLE_ROWS = 5000  # rows of every block whose values are looked at
SAMPLES = 40  # blocks from which such rows are taken; days and labels are counted over all
NEEDED = ("user", "video", "time", "click", "conversion")
WHAT = {
    "user": "ids",
    "video": "ids",
    "time": "times in s or ms since 1970, or ISO times",
    "click": "0 or 1",
    "conversion": "0 or 1",
    "history_order": "whole numbers",
}


@dataclass
class Look:
    """What was seen of the files of one kind: every column's name, and sampled values."""

    kind: str
    pattern: str
    rows: int = 0
    samples: list[pa.Table] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return list(dict.fromkeys(name for table in self.samples for name in table.column_names))

    def column(self, name: str) -> pa.Array:
        """Sampled values of a column."""
        parts = [one_chunk(t[name]) for t in self.samples if name in t.column_names]
        # Text of TFRecord files is bytes.
        parts = [to_string(p)[0] if "binary" in str(p.type) else p for p in parts]
        kinds = {part.type for part in parts if kind_of(part.type) != "null"} or {pa.string()}
        if len(kinds) > 1:  # files of different types
            return pa.concat_arrays([_text(part) for part in parts])
        kind = kinds.pop()
        return pa.concat_arrays([part.cast(kind) for part in parts])


def _text(values: pa.Array) -> pa.Array:
    """As text, what is true as 1."""
    return to_string(values.cast(pa.int8()) if pa.types.is_boolean(values.type) else values)[0]


def look(kind: str, pattern: str) -> Look:
    """Reads the head of every block of the files."""
    seen = Look(kind, pattern)
    for path in files(pattern):
        for block in blocks(path):
            names = block.table.column_names
            check_once(path, names, names)
            seen.rows += block.table.num_rows
            if len(seen.samples) < SAMPLES and block.table.num_rows:
                seen.samples.append(block.table.slice(0, SAMPLE_ROWS))
    if not seen.rows:
        raise LogError(f"{pattern}: no rows, expected at least one; write the log again")
    return seen


def choose(role: str, seen: Look, told: str, guess: Guess) -> str:
    """Finds the column of a role by flag or by name; returns a question where none is clear.

    Raises:
      LogError: the column that was named is not there or cannot play the role.
    """
    if told:
        if told not in seen.names:
            raise LogError(f"{seen.pattern}: no column {told!r}; there are {', '.join(seen.names)}")
        _check(role, seen, told)
        guess.roles[role] = told
        return ""
    plain = {re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_"): name for name in seen.names}
    taken = set(guess.roles.values())
    fit = [n for n in seen.names if n not in taken and _fits(role, seen.column(n))]
    passed: list[str] = []  # columns that are called so, but hold something else
    for name in NAMES[role].split():
        if plain.get(name) in fit:
            guess.roles[role] = plain[name]
            note = f"{role}: column {plain[name]!r}, by its name and values"
            guess.notes.append("; not ".join([note, *passed]))
            return ""
        if name in plain and plain[name] not in taken:
            passed.append(f"{plain[name]!r}, which {_why_not(role, seen.column(plain[name]))}")
    if role in NEEDED or role == "history_order":
        if role in ("user", "video"):
            fit = [n for n in fit if _many_in_common(seen.column(n))] or fit
        candidates = ", ".join(fit) or "none"
        return (
            f"{seen.pattern}: no column is clearly the {role} ({WHAT[role]}); "
            f"say {flag(role)} COLUMN. Columns whose values would do: "
            + "; not ".join([candidates, *passed])
        )
    guess.notes.append(f"{role}: none found ({flag(role)} COLUMN names one)")
    return ""


def _many_in_common(values: pa.Array) -> bool:
    """Whether rows share its values as they share users: neither a yes or no, nor one a row."""
    different = pc.count_distinct(values).as_py()
    return different > 2 and (different <= 0.9 * len(values) or len(values) < 100)


def _fits(role: str, values: pa.Array) -> bool:
    """Whether the values of a column can play the role, and look as if they did."""
    if _wrong(role, values).any():
        return False
    return role not in ("click", "conversion") or set(to_flag(values)[0].to_pylist()) == {0, 1}


def _why_not(role: str, values: pa.Array) -> str:
    wrong = _wrong(role, values)
    if wrong.any():
        return f"holds {values[int(np.flatnonzero(wrong)[0])].as_py()!r}"
    return "has missing values" if to_flag(values)[0].null_count else "is always the same"


def _wrong(role: str, values: pa.Array) -> np.ndarray:
    """The values that cannot play the role."""
    kind = kind_of(values.type)
    if kind == "other" or (kind == "time" and role != "time"):
        return np.full(len(values), True)
    if role == "time" and pa.types.is_float32(values.type):  # true to two minutes only
        return np.full(len(values), True)
    if role == "time":  # a fraction of a second is a time in seconds alone
        return to_time_ms(values, "ms", 0)[1] & to_time_ms(values, "s", 0)[1]
    if role in ("user", "video"):
        return np.full(len(values), kind not in ("int", "string"))
    if role in ("click", "conversion"):
        whole, bad = to_flag(values)
        return bad | mask_of(pc.invert(pc.is_in(whole, pa.array([0, 1, None], pa.int64()))))
    return (to_int if role == "history_order" else to_float)(values)[1]


def _check(role: str, seen: Look, column: str) -> None:
    """Raises LogError where the values of a column that was named cannot play the role."""
    values = seen.column(column)
    wrong = _wrong(role, values)
    if wrong.mean() > MOST_WRONG:
        cell = values[int(np.flatnonzero(wrong)[0])].as_py()
        raise LogError(
            f"{seen.pattern}: {flag(role)} {column}: expected {WHAT.get(role, 'numbers')}, but "
            f"{wrong.mean():.0%} of the values looked at are none, such as {cell!r}; name another "
            "column, or convert this one"
        )


def clock(seen: Look, told: float | None, guess: Guess) -> None:
    """Whose days and hours count: as told, else by the zone that all times are written in."""
    guess.utc_offset_hours = told or 0.0
    if told is not None:
        return
    values = seen.column(guess.roles["time"]).drop_null()
    zones = set()
    if kind_of(values.type) == "string":
        zones = {zone_hours(text) for text in values.to_pylist()}
    zone = zones.pop() if len(zones) == 1 else None
    if zone:
        guess.utc_offset_hours = zone
    whose = f"UTC{zone:+g}, as the times are written" if zone else "UTC"
    guess.notes.append(
        f"days and hours are those of {whose}; --utc-offset-hours names another clock"
    )


def time_unit(seen: Look, guess: Guess) -> None:
    """Seconds, milliseconds or text; raises LogError for numbers that are neither."""
    values = seen.column(guess.roles["time"])
    number = None
    if kind_of(values.type) != "time":
        number, bad = to_float(values)
        number = None if bad.mean() > MOST_WRONG else number
    if number is None:
        guess.notes.append("time: timestamps or ISO times")
        return
    middle = float(np.median(number.drop_null().to_numpy()))
    if not 10**8 < middle < 10**13:
        raise LogError(
            f"{seen.pattern}: {guess.roles['time']!r} is about {middle:.0f}, neither seconds nor "
            "milliseconds since 1970; convert it, or name another column with --time"
        )
    guess.time_unit = "s" if middle < 10**11 else "ms"
    guess.notes.append(f"time: in {guess.time_unit}, as its values are about {middle:.0f}")


def completion(seen: Look, guess: Guess) -> None:
    """Decides on a label of the share watched, and notes it: two units show there."""
    if not {"watched", "duration"} <= set(guess.roles):
        return
    names = [guess.roles["watched"], guess.roles["duration"]]
    sampled = sum(table.num_rows for table in seen.samples)
    for name in names:
        values = to_float(seen.column(name))[0]
        lacking = 1 - (len(values) - values.null_count) / sampled
        if lacking > MOST_WRONG:
            guess.notes.append(
                f"no completion: {lacking:.0%} of the rows have no {name!r}, and a label needs a "
                "value in every row; write 0 where that is meant"
            )
            return
    guess.completion = True
    part, whole = (to_float(seen.column(name))[0].to_numpy(False) for name in names)
    if len(part) != len(whole):  # a block of JSON that lacks one of them
        return
    both = (part > 0) & (whole > 0)
    if not both.any():
        return
    middle = float(np.median(part[both] / whole[both]))
    doubt = "" if 0.01 <= middle <= 10 else "; are both in the same unit?"
    guess.notes.append(f"completion: {names[0]} / {names[1]}, about {middle:.2g}{doubt}")
