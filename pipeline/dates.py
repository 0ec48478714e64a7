"""A recipe on another day: its windows shifted, and the days in its file names filled in."""

from __future__ import annotations

import datetime as dt
import functools
import re
from dataclasses import replace

from ncs4cvr.schemas.log import Log, Split
from ncs4cvr.schemas.recipe import Recipe

#: {DATE} in a file name, or {DATE:%Y/%m/%d} with a format of its own; the default is ISO.
DATE = re.compile(r"\{DATE(?::([^}]*))?\}")
ISO = "%Y-%m-%d"
RELATIVE = {"yesterday": -1, "today": 0}


def on_day(recipe: Recipe, day: str = "") -> Recipe:
    """The recipe as of `day`: its last split ends then, all others keep their distance to it.

    `{DATE}` in `events` and `history` stands for every day of all splits, in `users` and `videos`
    for the last day only.

    Args:
      recipe: its splits are days; their lengths and order stay.
      day: ISO date, or yesterday or today where the log is; "" leaves the splits where they are.

    Raises:
      ValueError: `day` is no ISO date.

    >>> splits = (Split("train", "2022-05-01", "2022-05-02"), Split("test", "2022-05-03",
    ...                                                             "2022-05-03"))
    >>> shifted(splits, "2022-05-07")[0]
    Split(name='train', first='2022-05-05', last='2022-05-06')
    """
    log = recipe.log
    day = named(day, log)
    if day:
        ends = log.until or log.last_day
        log = replace(log, splits=shifted(log.splits, day), until="")
        # Files without {DATE} go on after an earlier day: what they hold then is not broken.
        if ends > log.last_day and not DATE.search(log.events):
            log = replace(log, until=ends)
    return recipe.replace(log=_filled(log))


def named(day: str, log: Log) -> str:
    """The date that yesterday or today is where the log is; any other text as it stands."""
    if day not in RELATIVE:
        return day
    there = dt.datetime.now(dt.timezone(dt.timedelta(hours=log.utc_offset_hours))).date()
    return (there + dt.timedelta(RELATIVE[day])).isoformat()


def date_of(day: str) -> dt.date:
    """The date; raises ValueError for text that is none."""
    try:
        return dt.date.fromisoformat(day)
    except ValueError as error:
        raise ValueError(f"{day!r} is no day; expected YYYY-MM-DD, yesterday or today") from error


def shifted(splits: tuple[Split, ...], day: str) -> tuple[Split, ...]:
    """The splits moved by the same number of days, so that the latest ends on `day`."""
    by = date_of(day) - max(dt.date.fromisoformat(split.last) for split in splits)

    def moved(date: str) -> str:
        return (dt.date.fromisoformat(date) + by).isoformat()

    return tuple(Split(s.name, moved(s.first), moved(s.last)) for s in splits)


def _filled(log: Log) -> Log:
    if not any(DATE.search(p) for p in (log.events, log.users, log.videos, log.history)):
        return log
    last = dt.date.fromisoformat(log.last_day)
    first = min(dt.date.fromisoformat(split.first) for split in log.splits)
    window = [first + dt.timedelta(days) for days in range((last - first).days + 1)]
    return replace(
        log,
        events=files_on(log.events, window),
        history=files_on(log.history, window),
        users=files_on(log.users, [last]),
        videos=files_on(log.videos, [last]),
    )


def files_on(pattern: str, days: list[dt.date]) -> str:
    """The globs of a Log's file field with `{DATE}` written out, once per day.

    >>> files_on("a-{DATE}.csv,b.csv", [dt.date(2022, 5, 1), dt.date(2022, 5, 2)])
    'a-2022-05-01.csv,a-2022-05-02.csv,b.csv'
    >>> files_on("{DATE:%Y/%m%d}/*.csv", [dt.date(2022, 5, 1)])
    '2022/0501/*.csv'
    """
    globs: list[str] = []
    for glob in filter(None, (part.strip() for part in pattern.split(","))):
        for day in days if DATE.search(glob) else days[:1]:
            globs.append(DATE.sub(functools.partial(_written, day), glob))
    return ",".join(globs)


def _written(day: dt.date, found: re.Match[str]) -> str:
    return day.strftime(found[1] or ISO)
