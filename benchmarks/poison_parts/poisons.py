"""What can be wrong with a day of a log: a poison takes the events of all days and spoils one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

DAY = "2022-05-06"  # the poisoned one; the last blessed model is the day before's
SEED = 6
DAY_MS = 86_400_000
HOUR_MS = 3_600_000
EAST_MS = 8 * HOUR_MS  # the log's clock is ahead of UTC
BOTS, CLICKS = 100, 60  # accounts, and clicks of each
Poison = Callable[[pd.DataFrame, int, np.random.Generator], pd.DataFrame]


def flipped(share: float) -> Poison:
    """Clicks and long views become their opposite in a share of the rows."""

    def spoil(events: pd.DataFrame, day: int, rng: np.random.Generator) -> pd.DataFrame:
        hit = on(events, day) & (rng.random(len(events)) < share)
        for label in ("is_click", "long_view"):
            events.loc[hit, label] = 1 - events.loc[hit, label]
        return events

    return spoil


def stuck(events: pd.DataFrame, day: int, rng: np.random.Generator) -> pd.DataFrame:
    """Every video lasts as long as the median one."""
    events.loc[on(events, day), "duration_ms"] = int(events["duration_ms"].median())
    return events


def duration_in_s(events: pd.DataFrame, day: int, rng: np.random.Generator) -> pd.DataFrame:
    """Durations in seconds, in a column of milliseconds."""
    mine = on(events, day)
    events.loc[mine, "duration_ms"] = events.loc[mine, "duration_ms"] // 1000
    return events


def time_in_s(events: pd.DataFrame, day: int, rng: np.random.Generator) -> pd.DataFrame:
    """Times in seconds, in a column of milliseconds."""
    mine = on(events, day)
    events.loc[mine, "time_ms"] = events.loc[mine, "time_ms"] // 1000
    return events


def tenth(events: pd.DataFrame, day: int, rng: np.random.Generator) -> pd.DataFrame:
    """Nine of ten rows are lost."""
    return events[~on(events, day) | (rng.random(len(events)) < 0.1)]


def twice(events: pd.DataFrame, day: int, rng: np.random.Generator) -> pd.DataFrame:
    """The day's file was delivered twice."""
    return pd.concat([events, events[on(events, day)]])


def yesterday(events: pd.DataFrame, day: int, rng: np.random.Generator) -> pd.DataFrame:
    """The rows of the day before once more, under the day's date, in place of its own."""
    again = events[on(events, day - 1)].copy()
    again["date"], again["time_ms"] = day, again["time_ms"] + DAY_MS
    return pd.concat([events[~on(events, day)], again])


def bots(events: pd.DataFrame, day: int, rng: np.random.Generator) -> pd.DataFrame:
    """A hundred accounts that were taken over click on, and watch, 60 random videos each."""
    mine = events[on(events, day)]
    accounts = rng.choice(mine["user_id"].unique(), BOTS, replace=False)
    false = mine.sample(BOTS * CLICKS, random_state=SEED, replace=True).copy()
    false["user_id"] = np.repeat(accounts, CLICKS)
    false["time_ms"] += rng.integers(-600_000, 600_000, len(false))
    false[["is_click", "long_view"]] = 1
    return pd.concat([events, false])


def leak(events: pd.DataFrame, day: int, rng: np.random.Generator) -> pd.DataFrame:
    """The time that was watched, which decides both labels, in the column of durations."""
    mine = on(events, day)
    events.loc[mine, "duration_ms"] = events.loc[mine, "play_time_ms"].clip(0, DAY_MS)
    return events


def clock(events: pd.DataFrame, day: int, rng: np.random.Generator) -> pd.DataFrame:
    """The local time was written as if it were UTC; the column of days stays right."""
    events.loc[on(events, day), "time_ms"] += EAST_MS
    return events


def late(first: int, last: int) -> Poison:
    """The conversions of some hours were not joined: none of their rows has one."""

    def spoil(events: pd.DataFrame, day: int, rng: np.random.Generator) -> pd.DataFrame:
        events.loc[on(events, day) & within(events, first, last), "long_view"] = 0
        return events

    return spoil


def dark(first: int, last: int) -> Poison:
    """Of some hours nothing came."""

    def spoil(events: pd.DataFrame, day: int, rng: np.random.Generator) -> pd.DataFrame:
        return events[~(on(events, day) & within(events, first, last))]

    return spoil


POISONS: dict[str, tuple[str, Poison]] = {
    "flip5": ("labels flipped in 5 % of the rows", flipped(0.05)),
    "flip20": ("labels flipped in 20 % of the rows", flipped(0.2)),
    "flip50": ("labels flipped in 50 % of the rows", flipped(0.5)),
    "stuck": ("a feature (`duration_ms`) stuck at one value", stuck),
    "duration_in_s": ("`duration_ms` in seconds", duration_in_s),
    "time_in_s": ("`time_ms` in seconds", time_in_s),
    "tenth": ("a tenth of the volume", tenth),
    "twice": ("the day delivered twice", twice),
    "yesterday": ("the day before again, under the day's date", yesterday),
    "bots": (f"{BOTS * CLICKS:,} clicks by {BOTS} bots, with accounts of users", bots),
    "leak": ("`play_time_ms`, which decides the labels, in `duration_ms`", leak),
    "clock": ("times eight hours off", clock),
    "late": ("no conversions from 6:00 to 12:00", late(6, 12)),
    "dark": ("no events from 12:00 to 18:00", dark(12, 18)),
    "ended": ("no events from 18:00 on", dark(18, 24)),
}


def on(events: pd.DataFrame, day: int) -> pd.Series:
    """Which rows are of a day (YYYYMMDD)."""
    return events["date"] == day


def within(events: pd.DataFrame, first: int, last: int) -> pd.Series:
    """Which rows are of some hours of their day, by the log's clock."""
    return ((events["time_ms"] + EAST_MS) % DAY_MS // HOUR_MS).between(first, last - 1)


def spoiled(events: pd.DataFrame, name: str, day: int) -> pd.DataFrame:
    """The events with one day poisoned; the same every time."""
    return POISONS[name][1](events.copy(), day, np.random.default_rng(SEED))


def resampled(events: pd.DataFrame, day: int, seed: int) -> pd.DataFrame:
    """The events with four fifths of a day's users: another day that is as clean."""
    users = np.sort(events.loc[on(events, day), "user_id"].unique())
    kept = np.random.default_rng(seed).choice(users, len(users) * 4 // 5, replace=False)
    return events[~on(events, day) | events["user_id"].isin(kept)]
