"""How far a window of days is from being refused: each check's value, beside its limit."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tensorflow_metadata.proto.v0 import anomalies_pb2

from ncs4cvr.components import day_checks, day_profile
from ncs4cvr.schemas import data_schema
from ncs4cvr.schemas.recipe import Recipe

#: check -> (the recipe's key for its limit, or "", what the value is)
CHECKS = {
    "rows": ("day_change", "rows of a day, times or part of the others'"),
    "shares": ("day_change", "odds of a share, times or part of the others'"),
    "hours": ("day_change", "likewise of three hours: their rows of the day's, and labels"),
    "orphans": ("day_change", "root of the odds of conversions without click, times training's"),
    "medians": ("", "median of a quantity, times or part of the others'"),
    "one column": ("day_auc_change", "AUC of a column alone, less the others'"),
    "drift": ("", "histogram against the run before, times the column's limit"),
    "skew": ("", "histogram against training days, times the column's limit"),
}
HISTOGRAMS = {"drift": "DriftValidator/anomalies", "skew": "SkewValidator/anomalies"}
MOST = 1e6


def limits(recipe: Recipe) -> dict[str, float]:
    """check -> the largest value that is let through."""
    of_key = {"day_change": recipe.day_change, "day_auc_change": recipe.day_auc_change, "": 1.0}
    return {name: of_key[key] for name, (key, _) in CHECKS.items()} | {"medians": day_checks.UNIT}


def values(folder: Path, recipe: Recipe) -> dict[str, float]:
    """check -> the smallest limit that the last run's data would pass; what chance moves passes.

    Args:
      folder: of the recipe's runs.
      recipe: what was run.
    """
    from ncs4cvr.components import data_gate

    artifacts = folder / "artifacts"
    schema = data_schema.read(str(next((folder / "schemas").glob("*.pbtxt"))))
    watched = day_profile.Watched.of(recipe)
    examples = last(artifacts / "VideoLogExampleGen/examples")
    first, *later = (split.name for split in recipe.log.splits)
    shards = {s: [str(f) for f in (examples / f"Split-{s}").iterdir()] for s in (first, *later)}
    new = tuple(later)
    days = day_profile.profile(*day_profile.read(shards, 1, schema, watched), watched)
    counts = data_gate.read_counts(str(last(artifacts / "VideoLogExampleGen/dead_letters")))

    def refused(check: str, change: float, auc: float = 0) -> bool:
        lines = day_checks.complaints(days, new, change, auc)
        return any(check in ("", check_of(line)) for line in lines)

    return {
        **{
            check: smallest(lambda limit, check=check: refused(check, limit))
            for check in ("rows", "shares", "hours")
        },
        "orphans": smallest(lambda limit: any(day_checks.orphans(counts["events"], first, limit))),
        "medians": medians(days, new),
        "one column": smallest(lambda limit: refused("", 0, limit), 1e-6, 1.0),
        **{
            check: max(distance(file) for file in last(artifacts / where).rglob(data_gate.FILE))
            for check, where in HISTOGRAMS.items()
        },
    }


def check_of(line: str) -> str:
    """Which check of shares a complaint is of; "" if of none."""
    if line.endswith(day_checks.HOURS):
        return "hours"
    if line.startswith("rows on"):
        return "rows"
    return "shares" if line.startswith(("rows with", "rows of")) else ""


def last(folder: Path) -> Path:
    """The newest artifact of a kind."""
    return max(folder.iterdir(), key=lambda each: int(each.name))


def smallest(refused: Callable[[float], bool], low: float = 1.0001, high: float = MOST) -> float:
    """The limit from which on nothing is refused, to a thousandth; low if nothing ever is.

    >>> round(smallest(lambda limit: limit < 3), 2)
    3.0
    """
    if not refused(low):
        return low
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if refused(middle) else (low, middle)
    return high


def medians(days: dict[int, day_profile.Day], new: tuple[str, ...]) -> float:
    """How many times a new day's median of any quantity is the others', or the others' it."""
    most = 1.0
    for number, day in days.items():
        for column, middle in day.middles.items() if day.split in new else ():
            known = [o.middles.get(column) for key, o in days.items() if key != number]
            known = [value for value in known if value is not None]
            if len(known) >= day_checks.FEWEST_DAYS:
                times = middle / float(np.median(known))
                most = max(most, times, 1 / times)
    return most


def distance(file: Path) -> float:
    """The largest distance of two histograms of a column, over the limit that it has."""
    found = anomalies_pb2.Anomalies.FromString(file.read_bytes())
    each = [m for info in found.drift_skew_info for m in info.drift_measurements]
    each += [m for info in found.drift_skew_info for m in info.skew_measurements]
    return max((m.value / m.threshold for m in each if m.threshold > 0), default=0.0)
