"""`ncs4cvr init`: looks at a user's own log, guesses what its columns mean, writes a recipe.

ncs4cvr init --events 'log/*.csv' --users users.csv --videos videos.csv --output my_log.py
"""

from __future__ import annotations

import argparse
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

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
from ncs4cvr.components.log.records import LogError
from ncs4cvr.pipeline.init.starter_days import count
from ncs4cvr.pipeline.init.starter_recipe import Guess, recipe_source
from ncs4cvr.pipeline.init.starter_roles import (
    Look,
    choose,
    clock,
    completion,
    look,
    time_unit,
)
from ncs4cvr.schemas import checks
from ncs4cvr.schemas.features import Feature

FEW = 1000  # whole numbers with more different values are quantities
LONGEST = 90  # letters of a feature's name, with room for a number behind it
Source = Literal["event", "user", "video"]
RARE = 0.2  # of the rows without a click that chance would give a column that clicks fill
CHANCE = 1e-6  # of a column that by chance says something in rows with a click alone

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
    guess = Guess(name=output.stem)
    guess.files = {kind: seen.pattern for kind, seen in looks.items()}
    roles = ("user", "video", "time", "click", "conversion", "watched", "duration")
    asked = [choose(role, looks["events"], getattr(options, role), guess) for role in roles]
    if "history" in looks:
        asked += [choose("history_order", looks["history"], options.history_order, guess)]
    if any(asked):
        raise LogError("\n".join(filter(None, asked)))
    for kind, role in (("users", "user"), ("videos", "video")):
        if kind in looks and guess.roles[role] not in looks[kind].names:
            raise LogError(
                f"{looks[kind].pattern}: no column {guess.roles[role]!r}, the key that the events "
                f"use; rename one of them (there are {', '.join(looks[kind].names)})"
            )
    for role in ("user", "video"):
        guess.id_types[f"{role}_id"] = _id_type(looks["events"].column(guess.roles[role]))
    time_unit(looks["events"], guess)
    clock(looks["events"], options.utc_offset_hours, guess)
    completion(looks["events"], guess)
    count(looks["events"], guess)
    sources: dict[str, Source] = {"events": "event", "users": "user", "videos": "video"}
    for kind, source in sources.items():
        if kind in looks:
            _choose_features(looks[kind], source, guess)
    source_text = recipe_source(guess)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(source_text, encoding="utf-8")
    return "\n".join([*guess.notes, f"wrote {output}; run it: ncs4cvr run {output}"])


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
        if source == "event" and (why := _known_after(name, seen, guess)):
            left.append(f"{name} ({why})")
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


def _known_after(name: str, seen: Look, guess: Guess) -> str:
    """Why a column seems to be filled by clicks: it tells hardly any rows without one apart.

    "" if it does not: chance would do it, too, or others than clicks fill it.
    """
    if kind_of(seen.column(name).type) in ("time", "other"):  # no feature anyway
        return ""
    click = guess.roles["click"]
    texts, clicks = [], []
    for table in seen.samples:
        if {name, click} <= set(table.column_names):
            texts.append(to_string(one_chunk(table[name]))[0].fill_null("0").to_numpy(False))
            clicks.append(mask_of(pc.equal(to_flag(one_chunk(table[click]))[0], 1)))
    text, clicked = np.concatenate(texts), np.concatenate(clicks)
    without, rows = np.unique(text[~clicked].astype(str), return_counts=True)
    if not len(without):
        return ""
    others = text != without[rows.argmax()]
    rate, share = float(clicked.mean()), float(clicked[others].mean()) if others.any() else 0.0
    if 1 - share > RARE * (1 - rate) or _surprise(share, rate) * others.sum() < -np.log(CHANCE):
        return ""
    nearly = "" if len(without) == 1 else "nearly "
    return f"{nearly}the same in every row without a click: known only afterwards?"


def _surprise(share: float, rate: float) -> float:
    """Kullback-Leibler divergence: -log(chance) a row that a share is above the rate by luck."""
    rest = (1 - share) * np.log((1 - share) / (1 - rate)) if share < 1 else 0.0
    return float(share * np.log(share / rate) + rest) if share > rate else 0.0


def _feature(name: str, source: Source, values: pa.Array, guess: Guess) -> Feature | str:
    """The row of a column, or why it gets none."""
    if kind_of(values.type) in ("time", "other"):
        return f"of the type {values.type}"
    unique = values.drop_null().unique()
    if len(unique) < 2:
        return "constant"
    if _objects(unique):
        return "objects: write the parts as columns of their own"
    taken = {f.column for f in guess.features} | guess.reserved
    ours = name if name not in taken else f"{source}_{name}"
    if not checks.COLUMN.fullmatch(ours) or ours in (*taken, "self") or len(ours) > LONGEST:
        ours = plain = re.sub(r"\W+", "_", f"{source}_{name}", flags=re.ASCII)[:LONGEST]
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


def _objects(values: pa.Array) -> bool:
    """Whether these are the texts that JSON's nested objects are read as."""
    if kind_of(values.type) != "string":
        return False
    texts = to_string(values)[0].drop_null().to_pylist()
    return bool(texts) and all(text[0] + text[-1] == "{}" for text in texts)


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
