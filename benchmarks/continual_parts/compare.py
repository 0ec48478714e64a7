"""An arm against fresh days: seconds, AUC, and whether the target is met."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from continual_parts.plan import FRESH, Cell

Json = dict[str, Any]
MOST_SECONDS, MOST_LOST = 0.5, 0.001  # of a fresh day's; of CVR AUC
#: output -> its label, and whether clicked rows alone tell of it
OUTPUTS = {"ctr": ("click", False), "cvr": ("conversion", True), "ctcvr": ("conversion", False)}


def pairs(cells: Sequence[Json], arm: str) -> list[tuple[Json, Json]]:
    """(an arm's run, the fresh one) of every seed and day after the first.

    The first day is left out, since no arm has an earlier model then; and days whose data one of
    them refused, since a run that ends early has no model and few seconds.
    """
    first = min(cell["day"] for cell in cells)
    fresh = {(c["seed"], c["day"]): c for c in cells if c["arm"] == FRESH and c["auc"]}
    found = [
        (c, fresh[c["seed"], c["day"]])
        for c in cells
        if c["arm"] == arm and c["day"] > first and c["auc"] and (c["seed"], c["day"]) in fresh
    ]
    return sorted(found, key=lambda pair: (pair[0]["seed"], pair[0]["day"]))


def ratio(of: Sequence[tuple[Json, Json]], key: str) -> float:
    """The arm's sum of seconds as a part of the fresh days'.

    >>> ratio([({"s": 1}, {"s": 4}), ({"s": 2}, {"s": 2})], "s")
    0.5
    """
    return sum(mine[key] for mine, _ in of) / sum(fresh[key] for _, fresh in of)


def differences(of: Sequence[tuple[Json, Json]], output: str) -> list[float]:
    """How much the arm's AUC of an output is above the fresh day's, day by day."""
    return [mine["auc"][output] - fresh["auc"][output] for mine, fresh in of]


def mean_steps(cells: Sequence[Json], key: str) -> dict[str, float]:
    """step -> its mean seconds in some runs of one arm; a step that was not there took none."""
    names = dict.fromkeys(name for cell in cells for name in cell[key])
    return {n: statistics.fmean(cell[key].get(n, 0.0) for cell in cells) for n in names}


def verdict(seconds: float, difference: float) -> tuple[bool, str]:
    """Whether the target is met, and a sentence about each half of it.

    Args:
      seconds: of the arm, as a part of the fresh days'.
      difference: of the mean CVR AUC, positive where the arm is better.
    """
    fast, good = seconds <= MOST_SECONDS, difference >= -MOST_LOST
    than = "higher" if difference > 0 else "lower" if difference < 0 else "the same"
    apart = f"{abs(difference):.4f} {than}" if difference else than
    aim = "reached" if difference > 0 else "missed"
    return fast and good, (
        f"It takes {seconds:.2f} of the seconds (at most {MOST_SECONDS:g}: {_kept(fast)}). "
        f"Its mean CVR AUC is {apart} (at most {MOST_LOST:g} lower: {_kept(good)}; the aim was "
        f"higher: {aim})."
    )


def _kept(holds: bool) -> str:
    return "kept" if holds else "missed"


def intervals(scored: Mapping[Cell, Path]) -> dict[str, dict[str, list[float] | None]]:
    """arm -> output -> the 95 % interval of its mean difference to fresh; see `interval_of_mean`.

    Args:
      scored: runs, and the files of their models' scores (poison_parts.costs.scores).
    """
    import numpy as np

    first = min((cell.day for cell in scored), default="")
    found: dict[str, dict[str, list[float] | None]] = {}
    for arm in dict.fromkeys(cell.arm for cell in scored if cell.arm != FRESH):
        mine = [c for c in scored if c.arm == arm and c.day > first]
        both = [
            tuple(dict(np.load(scored[c])) for c in (cell, Cell(FRESH, cell.day, cell.seed)))
            for cell in mine
            if Cell(FRESH, cell.day, cell.seed) in scored
        ]
        if both:
            found[arm] = {output: interval_of_mean(both, output) for output in OUTPUTS}
    return found


def interval_of_mean(of: Sequence[tuple[Mapping, Mapping]], output: str) -> list[float] | None:
    """95 % of the mean over days of what an arm's AUC is above the fresh one's.

    A bootstrap over users: one that is drawn comes with its rows of all days.

    Args:
      of: an arm's and the fresh model's scores of the same rows, a pair a day.
      output: a key of OUTPUTS; `ctcvr` is the product of the two others.

    Raises:
      ValueError: the two models of a day were tested on other rows.
    """
    import numpy as np

    from ncs4cvr.models.evaluation.intervals import all_draws, interval, measure

    label, clicked = OUTPUTS[output]
    everybody = np.unique(np.concatenate([fresh["user"] for _, fresh in of]))
    draws = all_draws(len(everybody))
    replicates = []
    for mine, fresh in of:
        if not np.array_equal(mine["key"], fresh["key"]):
            raise ValueError("the arms have other test rows on a day; give another --work")
        rows = fresh["click"] > 0 if clicked else np.full(len(fresh["click"]), True)
        users = np.searchsorted(everybody, fresh["user"][rows])
        a, b = (_scores(each, output)[rows] for each in (mine, fresh))
        found = measure("auc", fresh[label][rows], a, b, draws, users)
        replicates.append(found.values - found.befores)
    return interval(np.mean(replicates, axis=0))


def _scores(found: Mapping, output: str) -> Any:
    return found["ctr"] * found["cvr"] if output == "ctcvr" else found[output]
