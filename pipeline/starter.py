"""`ncs4cvr init`: looks at a user's own log, guesses what its columns mean, writes a recipe.

ncs4cvr init --events 'log/*.csv' --users users.csv --videos videos.csv --output my_log.py
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from ncs4cvr.components.columns import kind_of, one_chunk, to_float, to_int
from ncs4cvr.components.readers import blocks, files
from ncs4cvr.components.records import LogError
from ncs4cvr.components.times import DAY_MS, to_time_ms
from ncs4cvr.pipeline.starter_options import NAMES, flag
from ncs4cvr.pipeline.starter_recipe import Guess, recipe_source
from ncs4cvr.schemas.features import Feature

SAMPLE_ROWS = 5000  # rows of every block whose values are looked at
SAMPLES = 40  # blocks from which such rows are taken; days and labels are counted over all
FEW = 1000  # whole numbers with more different values are quantities
Source = Literal["event", "user", "video"]
TEST_SHARE = 0.12  # the last days that hold this share of the rows become the test split

NEEDED = ("user", "video", "time", "click", "conversion")
WHAT = {
    "user": "ids",
    "video": "ids",
    "time": "times in s or ms since 1970, or ISO times",
    "click": "0 or 1",
    "conversion": "0 or 1",
}

#: Names of what is known only after the impression, and of parts of its time.
AFTER = re.compile(
    "click|like|follow|comment|share|forward|hate|view|play|watch|stay|finish|conver|purchase|"
    "buy|pay|order|enter|exit|label|reward|rating|score|favo"
)
CALENDAR = re.compile("^(date|day|dt|hour|hourmin|minute|weekday|week|month|year)$")


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
        kinds = {part.type for part in parts if kind_of(part.type) != "null"} or {pa.string()}
        kind = kinds.pop() if len(kinds) == 1 else pa.string()
        return pa.concat_arrays([part.cast(kind) for part in parts])


def look(kind: str, pattern: str) -> Look:
    """Reads the head of every block of the files."""
    seen = Look(kind, pattern)
    for path in files(pattern):
        for block in blocks(path):
            seen.rows += block.table.num_rows
            if len(seen.samples) < SAMPLES and block.table.num_rows:
                seen.samples.append(block.table.slice(0, SAMPLE_ROWS))
    if not seen.rows:
        raise LogError(f"{pattern}: no rows, expected at least one; write the log again")
    return seen


def write_starter(options: argparse.Namespace) -> str:
    """Writes the recipe file; returns what was guessed and why, and the command that runs it.

    options: as parsed by `starter_options.add_options`. Raises LogError where a column's role is
    unclear (says which flag to give), the files cannot be read, or the recipe's file exists.
    """
    output = Path(options.output)
    if output.suffix != ".py" or not output.stem.isidentifier():
        raise LogError(f"--output {output} must be a Python file's name, such as my_log.py")
    if output.exists():
        raise LogError(f"{output} exists; remove it or give another --output")
    looks = {
        kind: look(kind, getattr(options, kind))
        for kind in ("events", "users", "videos", "history")
        if getattr(options, kind)
    }
    guess = Guess(name=output.stem, utc_offset_hours=options.utc_offset_hours)
    guess.files = {kind: seen.pattern for kind, seen in looks.items()}
    for role in ("user", "video", "time", "click", "conversion", "watched", "duration"):
        _choose(role, looks["events"], getattr(options, role), guess)
    if "history" in looks:
        _choose("history_order", looks["history"], options.history_order, guess)
    for kind, role in (("users", "user"), ("videos", "video")):
        if kind in looks and guess.roles[role] not in looks[kind].names:
            raise LogError(
                f"{looks[kind].pattern}: no column {guess.roles[role]!r}, the key that the events "
                f"use; rename one of them (there are {', '.join(looks[kind].names)})"
            )
    for role in ("user", "video"):
        guess.id_types[f"{role}_id"] = _id_type(looks["events"].column(guess.roles[role]))
    _time_unit(looks["events"], guess)
    _count(looks["events"], guess)
    sources: dict[str, Source] = {"events": "event", "users": "user", "videos": "video"}
    for kind, source in sources.items():
        if kind in looks:
            _choose_features(looks[kind], source, guess)
    source_text = recipe_source(guess)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(source_text, encoding="utf-8")
    return "\n".join([*guess.notes, f"wrote {output}; run it: ncs4cvr run {output}"])


def _choose(role: str, seen: Look, told: str, guess: Guess) -> None:
    """Finds the column of a role by flag, by name, or asks."""
    if told:
        if told not in seen.names:
            raise LogError(f"{seen.pattern}: no column {told!r}; there are {', '.join(seen.names)}")
        guess.roles[role] = told
        return
    plain = {re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_"): name for name in seen.names}
    taken = set(guess.roles.values())
    fit = [n for n in seen.names if n not in taken and _fits(role, seen.column(n))]
    for name in NAMES[role].split():
        if plain.get(name) in fit:
            guess.roles[role] = plain[name]
            guess.notes.append(f"{role}: column {plain[name]!r}, by its name and values")
            return
    if role in NEEDED or role == "history_order":
        candidates = ", ".join(fit) or "none"
        raise LogError(
            f"{seen.pattern}: no column is clearly the {role} ({WHAT.get(role, 'whole numbers')}); "
            f"say {flag(role)} COLUMN. Columns whose values would do: {candidates}"
        )
    guess.notes.append(f"{role}: none found ({flag(role)} COLUMN names one)")


def _fits(role: str, values: pa.Array) -> bool:
    """Whether the values of a column can play the role."""
    if role == "time":
        return not to_time_ms(values, "ms", 0)[1].any()
    if role in ("user", "video"):
        return kind_of(values.type) in ("int", "string")
    if role in ("click", "conversion"):
        whole, bad = to_int(values)
        return not bad.any() and set(whole.unique().to_pylist()) == {0, 1}
    return kind_of(values.type) not in ("time", "other") and not to_float(values)[1].any()


def _time_unit(seen: Look, guess: Guess) -> None:
    values = seen.column(guess.roles["time"])
    whole, bad = to_int(values)
    if bad.any() or kind_of(values.type) == "time":
        guess.notes.append("time: timestamps or ISO times")
        return
    middle = float(np.median(whole.drop_null().to_numpy()))
    if not 10**8 < middle < 10**13:
        raise LogError(
            f"{seen.pattern}: {guess.roles['time']!r} is about {middle:.0f}, neither seconds nor "
            "milliseconds since 1970; convert it, or name another column with --time"
        )
    guess.time_unit = "s" if middle < 10**11 else "ms"
    guess.notes.append(f"time: in {guess.time_unit}, as its values are about {middle:.0f}")


def _count(seen: Look, guess: Guess) -> None:
    """Days, splits and label rates over all rows."""
    days: Counter[int] = Counter()
    hits: Counter[str] = Counter()
    offset = int(guess.utc_offset_hours * 3_600_000)
    for path in files(seen.pattern):
        for block in blocks(path):
            time, _ = to_time_ms(
                one_chunk(block.table[guess.roles["time"]]), guess.time_unit, guess.utc_offset_hours
            )
            known = time.drop_null().to_numpy()
            days.update(Counter(((known + offset) // DAY_MS).tolist()))
            click, conversion = (
                to_int(one_chunk(block.table[guess.roles[role]]))[0].fill_null(0).to_numpy() == 1
                for role in ("click", "conversion")
            )
            hits.update(click=int(click.sum()), conversion=int((click & conversion).sum()))
    if not hits["conversion"]:
        raise LogError(
            f"{seen.pattern}: no row has both {guess.roles['click']!r} and "
            f"{guess.roles['conversion']!r}; name others with --click and --conversion"
        )
    guess.click_rate = hits["click"] / days.total()
    guess.conversion_rate = hits["conversion"] / hits["click"]
    guess.notes.append(
        f"click rate {guess.click_rate:.4f}, conversions per click {guess.conversion_rate:.4f}"
    )
    guess.splits = _splits(days, seen.pattern)
    told = ", ".join(f"{name} {first} to {last}" for name, first, last in guess.splits)
    guess.notes.append(f"splits by day: {told}")


def _splits(days: Counter[int], pattern: str) -> list[tuple[str, str, str]]:
    """The last days with TEST_SHARE of the rows test, the day before validates, the rest trains."""
    order = sorted(days)
    if len(order) < 3:
        raise LogError(f"{pattern}: {len(order)} different days; a split by time needs 3 or more")
    test, rows = len(order), 0
    while test > 2 and rows < TEST_SHARE * days.total():
        test -= 1
        rows += days[order[test]]
    parts = {"train": order[: test - 1], "validate": [order[test - 1]], "test": order[test:]}
    return [(name, _iso(part[0]), _iso(part[-1])) for name, part in parts.items()]


def _iso(day: int) -> str:
    return str(np.datetime64(day, "D"))


def _choose_features(seen: Look, source: Source, guess: Guess) -> None:
    roles = set(guess.roles.values()) - {guess.roles.get("duration")}
    left: list[str] = []
    for name in seen.names:
        lower = name.lower()
        if name in roles or CALENDAR.match(lower):
            continue
        if source == "event" and AFTER.search(lower) and name != guess.roles.get("duration"):
            left.append(f"{name} (known only afterwards?)")
            continue
        feature = _feature(name, source, seen.column(name), guess)
        if isinstance(feature, str):
            left.append(f"{name} ({feature})")
        else:
            guess.features.append(feature)
    if left:
        guess.notes.append(f"left out of the {source} features: {', '.join(left)}")


def _feature(name: str, source: Source, values: pa.Array, guess: Guess) -> Feature | str:
    """The row of a column, or why it gets none."""
    unique = values.drop_null().unique()
    if len(unique) < 2:
        return "constant"
    taken = {f.column for f in guess.features} | guess.reserved
    ours = name if name not in taken else f"{source}_{name}"
    if not ours.isidentifier() or ours in taken:
        ours = re.sub(r"\W+", "_", f"{source}_{name}")
    if ours != name:
        guess.columns.append((ours, name))
    dtype = _dtype(values)
    if dtype == "float":
        return Feature(ours, source, "number", "float", bins=20)
    if len(unique) > 0.9 * len(values) > 100:
        return "nearly every row has its own"
    if dtype == "int" and len(unique) > FEW and not name.lower().endswith("id"):
        return Feature(ours, source, "number", bins=20)
    separator = _separator(unique.to_pylist()) if dtype == "string" else ""
    if separator:
        return Feature(ours, source, "tags", "string", separator=separator)
    return Feature(ours, source, "category", dtype)


def _id_type(values: pa.Array) -> Literal["int", "string"]:
    """Text of plain whole numbers (no 007) counts as such."""
    whole, bad = to_int(values)
    if bad.any() or not whole.cast(pa.string()).equals(values.cast(pa.string())):
        return "string"
    return "int"


def _dtype(values: pa.Array) -> Literal["int", "float", "string"]:
    if not to_int(values)[1].any():
        return "int"
    return "string" if to_float(values)[1].any() else "float"


def _separator(words: Sequence[str]) -> str:
    """What cuts the words into fewer different pieces, if anything does."""
    for separator in ("|", ",", ";", " "):
        cut = [word.split(separator) for word in words]
        several = sum(len(pieces) > 1 for pieces in cut)
        if several > 0.2 * len(words) and len({p for ps in cut for p in ps}) < len(words):
            return separator
    return ""
