"""What `ncs4cvr init` counts over all rows of a log: days, which become splits, and label rates."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np

from ncs4cvr.components.log.columns import mask_of, one_chunk, to_flag
from ncs4cvr.components.log.readers import blocks, files
from ncs4cvr.components.log.records import LogError
from ncs4cvr.components.log.times import DAY_MS, expected_time, to_time_ms
from ncs4cvr.pipeline.init.starter_recipe import Guess
from ncs4cvr.pipeline.init.starter_roles import MOST_WRONG, Look

FAR = 366  # days between others and a time that is wrong, such as 0 or one of 2099
TEST_SHARE = 0.12  # the last days that hold this share of the rows become the test split


def count(seen: Look, guess: Guess) -> None:
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
                to_flag(one_chunk(block.table[name]))[0].fill_null(0).to_numpy()[known] == 1
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
    told = ", ".join(f"{name} {first} to {last}" for name, first, last in guess.splits)
    guess.notes.append(f"splits by day: {told}")
    tested = sum(days[day] for day in range(_day(guess.splits[-1][1]), max(days) + 1))
    if rows < tested:
        guess.notes.append(
            f"train has {rows:,} rows and test {tested:,}: hardly enough to learn from; give more "
            "days"
        )


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
