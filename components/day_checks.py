"""Days that are not like the others: which number of them is off, and what the others have.

Each new day (of the validation and test splits) is held against the median of all other days of the
window. What chance moves is let through: four standard errors. That of an AUC is not the ranks'
alone, which takes rows for independent and a column for the same every day: rows of one user share
their tallies, and tallies tell more the longer they were counted. So what the other days' AUCs vary
by comes on top.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from ncs4cvr.components.day_hours import Shares
from ncs4cvr.components.day_profile import Day

FEWEST_DAYS = 4  # that a day is held against
CHANCE = 4  # standard errors
MAD = 1.4826  # a normal distribution's standard deviation over its median absolute deviation
FEWER = 0.1  # of the rows have a value
HOURS = "; is a clock off, or are events or labels of these hours missing?"
UNIT = 10  # times a quantity's median: another unit, not another day


def complaints(
    days: Mapping[int, Day], new: tuple[str, ...], change: float, auc_change: float
) -> Iterator[str]:
    """A line for every number of a new day that is off.

    Args:
      days: of the whole window, as YYYYMMDD; new ones without a row, too.
      new: splits whose days are judged.
      change: how many times a day's rows, and the odds of its shares, may be those of the others,
        either way; 0 = not checked.
      auc_change: how far the AUC of a single column may lie from the others'; 0 = not checked.
    """
    for number, day in days.items():
        others = [other for key, other in days.items() if key != number and other.rows]
        if day.split not in new or len(others) < FEWEST_DAYS:
            continue
        text = str(number)
        where = f"on {text[:4]}-{text[4:6]}-{text[6:]}"
        if change:
            yield from _counts(day, others, where, change)
        if auc_change:
            yield from _aucs(day, others, where, auc_change)


def _counts(day: Day, others: list[Day], where: str, change: float) -> Iterator[str]:
    usual = float(np.median([other.rows for other in others]))
    far = abs(day.rows - usual) > CHANCE * math.sqrt(usual)
    if far and not usual / change <= day.rows <= usual * change:
        low, high = usual / change, usual * change
        yield f"rows {where}: expected {low:,.0f} to {high:,.0f}; came: {day.rows:,.0f}"
    yield from _odds(day.shares, [other.shares for other in others], where, change)
    if day.hours:
        whole = day.hours.whole
        of_others = [other.hours.shares(whole) for other in others if other.hours]
        for line in _odds(day.hours.shares(whole), of_others, where, change):
            yield line + HOURS
    for column, (hits, rows) in day.valued.items():
        known = [h / n for h, n in (o.valued[column] for o in others if column in o.valued)]
        usual = _median(known)
        if _far(hits, rows, usual) and hits / rows < usual - FEWER:
            yield (
                f"{column} {where}: expected a value in at least {usual - FEWER:.2%} of the rows; "
                f"came: {hits / rows:.2%}"
            )
    for column in sorted(day.constant):
        if not any(column in other.constant for other in others):
            yield f"{column} {where}: expected several values; came: the same in all rows"
    for column, middle in day.middles.items():
        usual = _median(other.middles.get(column) for other in others)
        if middle < usual / UNIT or middle > usual * UNIT:
            low, high = usual / UNIT, usual * UNIT
            yield (
                f"{column} {where}: expected a median from {low:.3g} to {high:.3g}; came: "
                f"{middle:.3g}; is it in another unit?"
            )


def _odds(mine: Shares, others: list[Shares], where: str, change: float) -> Iterator[str]:
    for what, (hits, rows) in mine.items():
        known = [other[what] for other in others if what in other and other[what][1]]
        if len(known) < FEWEST_DAYS or not rows:
            continue
        share = float(np.median([h / n for h, n in known]))
        low, high = _at_odds(share, 1 / change), _at_odds(share, change)
        chance = CHANCE * _error((hits, rows), known)
        if abs(hits / rows - share) > chance and not low <= hits / rows <= high:
            yield f"{what} {where}: expected {low:.2%} to {high:.2%}; came: {hits / rows:.2%}"


def _aucs(day: Day, others: list[Day], where: str, auc_change: float) -> Iterator[str]:
    for (label, column), (auc, error) in day.aucs.items():
        known = [other.aucs.get((label, column), (None,))[0] for other in others]
        usual = _median(known)
        # The deviation of a normal distribution, from the median one: a bad day among them does not
        # make it large.
        varies = MAD * _median(abs(a - usual) for a in known if a is not None)
        allowed = max(auc_change, CHANCE * math.hypot(error, varies))
        if abs(auc - usual) > allowed:
            why = (
                f"{label} leaks into it, or it means something else"
                if abs(auc - 0.5) > abs(usual - 0.5)
                else f"{label} or {column} is wrong in many rows"
            )
            yield (
                f"{column} {where}: expected to tell {label} with an AUC of {usual:.3f} +- "
                f"{allowed:.3f}; came: {auc:.3f}; {why}"
            )


def orphans(counts: Mapping[str, Any], first: str, change: float) -> Iterator[str]:
    """A line for every split with more labels without the label they are given than the first has.

    Flipped labels show here before they show anywhere else: a conversion without a click is rare.

    Args:
      counts: of events, what VideoLogExampleGen counted.
      first: the split that the others are held against.
      change: as in `complaints`.
    """
    rows = {split: each["rows"] for split, each in counts["splits"].items()}
    found = counts["split_orphans"]
    for label, before in found[first].items():
        # One more, so that a first split without any does not forbid all.
        share = (before + 1) / (rows[first] + 1)
        high = _at_odds(share, change**2)  # what is rare varies more
        for split in [s for s in found if s != first and change]:
            hits = found[split].get(label, 0)
            if hits > rows[split] * high and _far(hits, rows[split], share):
                yield (
                    f"{label} in {split}: expected at most {high:.2%} of the rows to have it "
                    f"without the label it is given, as in {first}; came: "
                    f"{hits / rows[split]:.2%}; are labels wrong?"
                )


def _far(hits: float, rows: float, share: float) -> bool:
    """Whether hits are further from rows * share than chance would have them."""
    return abs(hits - rows * share) > CHANCE * math.sqrt(max(rows * share * (1 - share), 1))


def _error(mine: tuple[float, float], others: list[tuple[float, float]]) -> float:
    """The standard error of a share less the median of others, were they all the same."""
    hits, rows = np.sum(others, axis=0)
    common = (mine[0] + hits) / (mine[1] + rows)
    # A median varies as a mean does of fewer rows; and what is rare, by a row at least.
    error = math.sqrt(common * (1 - common) * (1 / mine[1] + math.pi / 2 / rows))
    return max(error, 1 / mine[1])


def _at_odds(share: float, times: float) -> float:
    """The share whose odds are so many times those of `share`.

    >>> _at_odds(0.5, 3)
    0.75
    """
    return share * times / (1 - share + share * times)


def _median(values: Iterable[float | None]) -> float:
    """Of what is known; NaN, which is neither near nor far, where that is too little."""
    known = [value for value in values if value is not None]
    return float(np.median(known)) if len(known) >= FEWEST_DAYS else float("nan")
