"""The page's picture: AUC by day and arm, and where each day's seconds go."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from continual_parts.compare import OUTPUTS
from continual_parts.plan import ARMS, FRESH
from quality_parts.pictures import COLORS, FAINT, STYLE

Json = dict[str, Any]
LARGEST = 4  # steps with a colour of their own
MARKS = "os^"


def draw(cells: Sequence[Json], file: Path) -> None:
    """Writes it; of several seeds the means."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplot_mosaic(
            [[*OUTPUTS], ["seconds"] * len(OUTPUTS)],
            figsize=(10.5, 7),
            height_ratios=(1, 1.3),
            layout="constrained",
        )
        for output in OUTPUTS:
            _auc(axes[output], cells, output)
        handles, labels = axes[next(iter(OUTPUTS))].get_legend_handles_labels()
        axes[next(iter(OUTPUTS))].legend(handles, labels, fontsize=9)
        _seconds(axes["seconds"], cells)
        figure.savefig(file)
        plt.close(figure)


def _auc(axis, cells: Sequence[Json], output: str) -> None:
    days = sorted({cell["day"] for cell in cells})
    for arm, color, mark in zip(ARMS, COLORS, MARKS):
        mine = _by_day([c for c in cells if c["arm"] == arm and c["auc"]])
        values = [statistics.fmean(c["auc"][output] for c in each) for each in mine.values()]
        at = [days.index(day) for day in mine]
        if at:
            axis.plot(at, values, color=color, marker=mark, markersize=5, alpha=0.85, label=arm)
    axis.set_title(f"{output.upper()} AUC")
    axis.set_xticks(range(len(days)), [day[5:] for day in days], fontsize=8)
    axis.ticklabel_format(axis="y", useOffset=False)


def _seconds(axis, cells: Sequence[Json]) -> None:
    """A bar a day and arm: the steps that take longest on fresh days, then all the rest."""
    days, arms = sorted({c["day"] for c in cells}), [a for a in ARMS if a in _arms(cells)]
    largest = largest_steps([c for c in cells if c["auc"]])
    width = 0.84 / len(arms)
    ticks, names = [], []
    for d, day in enumerate(days):
        for a, arm in enumerate(arms):
            mine = [c for c in cells if (c["arm"], c["day"]) == (arm, day)]
            place, bottom = d + (a - (len(arms) - 1) / 2) * width, 0.0
            ticks.append(place)
            names.append(arm)
            for color, (name, height) in zip((*COLORS, FAINT), parts(mine, largest)):
                label = name if d == a == 0 else None
                axis.bar(place, height, width * 0.9, bottom, color=color, label=label)
                bottom += height
    axis.set_xticks(ticks, names, rotation=60, fontsize=8)
    for d, day in enumerate(days):
        top = axis.get_xaxis_transform()
        axis.text(d, -0.2, day, transform=top, ha="center", va="top", fontsize=9)
    axis.set_title("Seconds of a day's command")
    axis.grid(visible=False, axis="x")
    axis.legend(ncols=LARGEST + 1, loc="upper right", fontsize=9)
    axis.set_ylim(0, axis.get_ylim()[1] * 1.15)


def largest_steps(cells: Sequence[Json]) -> list[str]:
    """The steps that take longest on fresh days (or in all runs), the longest first."""
    fresh = [c for c in cells if c["arm"] == FRESH] or cells
    sums: dict[str, float] = {}
    for cell in fresh:
        for name, seconds in cell["steps_s"].items():
            sums[name] = sums.get(name, 0.0) + seconds
    return sorted(sums, key=lambda name: -sums[name])[:LARGEST]


def parts(cells: Sequence[Json], largest: Sequence[str]) -> list[tuple[str, float]]:
    """Mean seconds of some steps in runs of one arm and day, and of all the rest of the command."""
    if not cells:
        return []
    steps = [
        (name, statistics.fmean(c.get("steps_s", {}).get(name, 0.0) for c in cells))
        for name in largest
    ]
    whole = statistics.fmean(c["seconds"] for c in cells)
    return [*steps, ("all else", whole - sum(seconds for _, seconds in steps))]


def _by_day(cells: Sequence[Json]) -> dict[str, list[Json]]:
    days = sorted({cell["day"] for cell in cells})
    return {day: [cell for cell in cells if cell["day"] == day] for day in days}


def _arms(cells: Sequence[Json]) -> set[str]:
    return {cell["arm"] for cell in cells}
