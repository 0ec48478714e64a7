"""`ncs4cvr init`: looks at a user's own log, guesses what its columns mean, writes a recipe.

ncs4cvr init --events 'log/*.csv' --users users.csv --videos videos.csv --output my_log.py
"""

from __future__ import annotations

import argparse
import itertools
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ncs4cvr.components.columns import kind_of, mask_of, one_chunk, to_float, to_int, to_string
from ncs4cvr.components.readers import blocks, files
from ncs4cvr.components.records import LogError
from ncs4cvr.components.times import DAY_MS, expected_time, to_time_ms
from ncs4cvr.pipeline.starter_recipe import Guess, recipe_source
from ncs4cvr.pipeline.starter_roles import MOST_WRONG, Look, choose, completion, look, time_unit
from ncs4cvr.schemas import checks
from ncs4cvr.schemas.features import Feature

FEW = 1000  # whole numbers with more different values are quantities
Source = Literal["event", "user", "video"]
CHANCE = 1e-6  # of a column that by chance says something in rows with a click alone
FAR = 366  # days between others and a time that is wrong, such as 0 or one of 2099
TEST_SHARE = 0.12  # the last days that hold this share of the rows become the test split

#: Names of what is known only after the impression, and of parts of its time.
AFTER = re.compile(
    "click|like|follow|comment|share|forward|hate|view|play|watch|stay|finish|conver|purchase|"
    "buy|pay|order|enter|exit|label|reward|rating|score|favo|dwell|complet|skip|bounce|cart|"
    "revenue|outcome"
)
CALENDAR = re.compile("^(date|day|dt|hour|hourmin|minute|weekday|week|month|year)$")


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
        choose(role, looks["events"], getattr(options, role), guess)
    if "history" in looks:
        choose("history_order", looks["history"], options.history_order, guess)
    for kind, role in (("users", "user"), ("videos", "video")):
        if kind in looks and guess.roles[role] not in looks[kind].names:
            raise LogError(
                f"{looks[kind].pattern}: no column {guess.roles[role]!r}, the key that the events "
                f"use; rename one of them (there are {', '.join(looks[kind].names)})"
            )
    for role in ("user", "video"):
        guess.id_types[f"{role}_id"] = _id_type(looks["events"].column(guess.roles[role]))
    time_unit(looks["events"], guess)
    completion(looks["events"], guess)
    _count(looks["events"], guess)
    sources: dict[str, Source] = {"events": "event", "users": "user", "videos": "video"}
    for kind, source in sources.items():
        if kind in looks:
            _choose_features(looks[kind], source, guess)
    source_text = recipe_source(guess)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(source_text, encoding="utf-8")
    return "\n".join([*guess.notes, f"wrote {output}; run it: ncs4cvr run {output}"])


def _count(seen: Look, guess: Guess) -> None:
    """Days, splits and label rates over all rows."""
    days: Counter[int] = Counter()
    clicks: Counter[int] = Counter()
    conversions: Counter[int] = Counter()
    needed = [guess.roles[role] for role in ("time", "click", "conversion")]
    offset = int(guess.utc_offset_hours * 3_600_000)
    unknown = 0
    for path in files(seen.pattern):
        for block in blocks(path):
            if not block.table.num_rows:
                continue
            if lacking := [name for name in needed if name not in block.table.column_names]:
                raise LogError(
                    f"{path}: no column {lacking[0]!r}, which other files of {seen.pattern} have; "
                    "write it again, or leave it out"
                )
            time, _ = to_time_ms(
                one_chunk(block.table[guess.roles["time"]]), guess.time_unit, guess.utc_offset_hours
            )
            known = mask_of(time.is_valid())  # other rows will be dead letters
            unknown += int((~known).sum())
            day = (time.drop_null().to_numpy() + offset) // DAY_MS
            click, conversion = (
                to_int(one_chunk(block.table[name]))[0].fill_null(0).to_numpy()[known] == 1
                for name in needed[1:]
            )
            days.update(day.tolist())
            clicks.update(day[click].tolist())
            conversions.update(day[click & conversion].tolist())
    if not conversions:
        raise LogError(
            f"{seen.pattern}: no row has both {guess.roles['click']!r} and "
            f"{guess.roles['conversion']!r}; name others with --click and --conversion"
        )
    if unknown > MOST_WRONG * (unknown + days.total()):
        raise LogError(
            f"{seen.pattern}: {unknown:,} of {unknown + days.total():,} rows have no time in "
            f"{guess.roles['time']!r}, expected {expected_time(guess.time_unit)}; write them all "
            "in one unit, or name another column with --time"
        )
    days = _near(days, guess)
    guess.splits = _splits(days, seen.pattern)
    trained = range(min(days), _day(guess.splits[0][2]) + 1)  # rates of later days would be known
    rows, hits, both = (sum(of[day] for day in trained) for of in (days, clicks, conversions))
    guess.click_rate = hits / rows
    guess.conversion_rate = both / max(hits, 1)
    guess.notes.append(
        f"click rate {guess.click_rate:.4f}, conversions per click {guess.conversion_rate:.4f}"
    )
    clock = "days and hours are those of UTC; --utc-offset-hours names another clock"
    guess.notes += [] if guess.utc_offset_hours else [clock]
    told = ", ".join(f"{name} {first} to {last}" for name, first, last in guess.splits)
    guess.notes.append(f"splits by day: {told}")


def _near(days: Counter[int], guess: Guess) -> Counter[int]:
    """The days without a few rows that lie years from all others; says so."""
    order = sorted(days)
    cuts = [i for i, (a, b) in enumerate(itertools.pairwise(order), 1) if b - a > FAR]
    parts = [order[a:b] for a, b in itertools.pairwise([0, *cuts, len(order)])]
    few = MOST_WRONG * days.total()
    near = [part for part in parts if sum(days[day] for day in part) > few] or parts
    for part in parts:
        if part not in near:
            rows = sum(days[day] for day in part)
            guess.notes.append(
                f"in no split: {rows:,} rows of {_iso(part[0])} to {_iso(part[-1])}, which lie "
                "years from the others"
            )
    for before, after in itertools.pairwise(near):
        guess.notes.append(
            f"no row lies between {_iso(before[-1])} and {_iso(after[0])}: are all times in one "
            "unit?"
        )
    return Counter({day: days[day] for part in near for day in part})


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


def _day(iso: str) -> int:
    return int(np.datetime64(iso, "D").astype(int))


def _iso(day: int) -> str:
    return str(np.datetime64(day, "D"))


def _choose_features(seen: Look, source: Source, guess: Guess) -> None:
    roles = set(guess.roles.values()) - {guess.roles.get("duration")}
    left: list[str] = []
    many: list[str] = []
    for name in seen.names:
        lower = name.lower()
        if name in roles or CALENDAR.match(lower):
            continue
        if source == "event" and AFTER.search(lower) and name != guess.roles.get("duration"):
            left.append(f"{name} (known only afterwards?)")
            continue
        if source == "event" and _known_after(name, seen, guess):
            left.append(f"{name} (the same in every row without a click: known only afterwards?)")
            continue
        feature = _feature(name, source, seen.column(name), guess)
        if isinstance(feature, str):
            left.append(f"{name} ({feature})")
        else:
            guess.features.append(feature)
            many += [name] if (feature.kind, feature.dtype) == ("number", "int") else []
    if many:
        guess.notes.append(
            f"whole numbers taken for quantities, as they have more than {FEW} values: "
            f"{', '.join(many)} (ids want kind='category')"
        )
    if left:
        guess.notes.append(f"left out of the {source} features: {', '.join(left)}")


def _known_after(name: str, seen: Look, guess: Guess) -> bool:
    """Whether a column tells rows apart among those with a click alone, too often for chance."""
    if kind_of(seen.column(name).type) in ("time", "other"):  # no feature anyway
        return False
    click = guess.roles["click"]
    texts, clicks = [], []
    for table in seen.samples:
        if {name, click} <= set(table.column_names):
            texts.append(to_string(one_chunk(table[name]))[0].fill_null("0").to_numpy(False))
            clicks.append(mask_of(pc.equal(to_int(one_chunk(table[click]))[0], 1)))
    text, clicked = np.concatenate(texts), np.concatenate(clicks)
    without = set(text[~clicked])
    if len(without) != 1:
        return False
    return float(clicked.mean() ** (text != without.pop()).sum()) < CHANCE


def _feature(name: str, source: Source, values: pa.Array, guess: Guess) -> Feature | str:
    """The row of a column, or why it gets none."""
    if kind_of(values.type) in ("time", "other"):
        return f"of the type {values.type}"
    unique = values.drop_null().unique()
    if len(unique) < 2:
        return "constant"
    taken = {f.column for f in guess.features} | guess.reserved
    ours = name if name not in taken else f"{source}_{name}"
    if not checks.COLUMN.fullmatch(ours) or ours in taken:
        ours = plain = re.sub(r"\W+", "_", f"{source}_{name}", flags=re.ASCII)
        numbers = itertools.count(2)
        while ours in taken:
            ours = f"{plain}_{next(numbers)}"
    if ours != name:
        guess.columns.append((ours, name))
    dtype = _dtype(values)
    if dtype == "float":
        return Feature(ours, source, "number", "float", bins=20)
    if len(unique) > 0.9 * len(values) > 100:
        return "nearly every row has its own"
    if dtype == "int" and len(unique) > FEW and not name.lower().endswith("id"):
        return Feature(ours, source, "number", bins=20)
    text = dtype == "string" and kind_of(values.type) == "string"
    separator = _separator(unique.to_pylist()) if text else ""
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
    bad = to_int(values)[1]
    if not bad.any():
        return "int"
    if mask_of(
        pc.match_substring_regex(to_string(values.filter(pa.array(bad)))[0], r"^-?[0-9]+$")
    ).all():
        return "string"  # whole numbers of more than 63 bits are no quantities, but hashes
    return "string" if to_float(values)[1].any() else "float"


def _separator(words: Sequence[str]) -> str:
    """What cuts the words into fewer different pieces, if anything does."""
    for separator in ("|", ",", ";", " "):
        cut = [word.split(separator) for word in words]
        several = sum(len(pieces) > 1 for pieces in cut)
        if several > 0.2 * len(words) and len({p for ps in cut for p in ps}) < len(words):
            return separator
    return ""
