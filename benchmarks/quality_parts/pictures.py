"""The page's pictures: differences, sparsity, tickets and rounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from ncs4cvr.schemas.recipe import Recipe
from quality_parts.cells import Cell
from quality_parts.results import OURS, by_model, judged_outputs

matplotlib.use("Agg")
import matplotlib.pyplot as plt

INK, FAINT, GRID = "#22303c", "#8a97a3", "#e4e8eb"
COLORS = ("#0b6e99", "#d1603d", "#5a8f4e", "#8a5aa8", "#c2952b")
STYLE = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.dpi": 130,
    "savefig.facecolor": "white",
}

Rows = Sequence[Mapping[str, Any]]


def draw(
    recipe: Recipe, cells: Sequence[Cell], rows: Rows, compared: Rows, curve: Rows, folder: Path
) -> list[tuple[str, str]]:
    """Draws what there is; returns (file name, what it shows)."""
    drawn = []
    facts = _facts(cells)
    with plt.rc_context(STYLE):
        for name, says, figure in (
            ("differences", "Differences with intervals", _differences(recipe, compared)),
            ("sparsity", "AUC against sparsity", _sparsity(recipe, rows, curve)),
            ("overlap", "Tickets by layer", _overlap(facts)),
            ("rounds", "Validation by round", _rounds(facts)),
        ):
            if figure is not None:
                file = f"quality_{recipe.name}_{name}.png"
                figure.savefig(folder / file, bbox_inches="tight")
                plt.close(figure)
                drawn.append((file, f"{recipe.name}: {says}"))
    return drawn


def _facts(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """What the searches of ncs4cvr's own tickets say, one per seed."""
    searches = [c.search for c in cells if c.model == OURS and c.search]
    return [found["facts"] for s in searches if (found := s.stored(any_code=True))]


def _differences(recipe: Recipe, compared: Rows):
    if not compared:
        return None
    outputs = judged_outputs(recipe)
    names = list(dict.fromkeys(d["against"] for d in compared))
    figure, axes = plt.subplots(
        1,
        len(outputs),
        figsize=(3.6 * len(outputs) + 1, 0.36 * len(names) + 1.6),
        sharey=True,
        layout="constrained",
        squeeze=False,
    )
    for axis, output in zip(axes[0], outputs):
        for i, name in enumerate(names):
            (d,) = [d for d in compared if d["against"] == name and d["output"] == output]
            clear = d["low"] > 0 or d["high"] < 0
            color = FAINT if not clear else COLORS[0] if d["low"] > 0 else COLORS[1]
            span = [1000 * d["low"], 1000 * d["high"]]
            axis.plot(span, [i, i], color=color, linewidth=2.2, solid_capstyle="round")
            axis.plot(1000 * d["difference"], i, "o", color=color, markersize=6)
        axis.axvline(0, color=INK, linewidth=1)
        axis.set_title(f"{output.upper()} AUC")
        axis.set_xlabel("difference, thousandths")
        axis.grid(visible=False, axis="y")
    axes[0, 0].set_yticks(range(len(names)), [f"over {n}" for n in names])
    axes[0, 0].invert_yaxis()
    seeds = max(d["seeds"] for d in compared)
    figure.suptitle(
        f"{OURS} above (right) or below (left) the other models on {recipe.name}: 95 % intervals, "
        f"test users and {seeds} seed{'s' if seeds > 1 else ''} resampled",
        fontsize=10,
        color=INK,
    )
    return figure


def _sparsity(recipe: Recipe, rows: Rows, curve: Rows):
    if not curve:
        return None
    outputs = judged_outputs(recipe)
    figure, axes = plt.subplots(
        1, len(outputs), figsize=(4.2 * len(outputs), 3.6), layout="constrained", squeeze=False
    )
    lines: dict[str, dict[float, list[Mapping]]] = {}
    for model, own in by_model(curve).items():
        kind, removed = model.split("@")
        lines.setdefault(kind, {})[float(removed.rstrip("%"))] = list(own)
    bands = {m: own for m, own in by_model(rows).items() if m in ("shared_bottom", "single_task")}
    for axis, output in zip(axes[0], outputs):
        metric = f"{output}_auc"
        for color, (kind, points) in zip(COLORS, lines.items()):
            xs = sorted(points)
            values = [[r["metrics"][metric] for r in points[x]] for x in xs]
            means = [np.mean(v) for v in values]
            errors = [np.std(v, ddof=1) / len(v) ** 0.5 if len(v) > 1 else 0 for v in values]
            axis.errorbar(
                [_place(x) for x in xs],
                means,
                errors,
                color=color,
                marker="o",
                markersize=5,
                capsize=3,
                label=kind,
            )
        for color, (model, own) in zip((INK, FAINT), bands.items()):
            values = [r["metrics"][metric] for r in own]
            mean = np.mean(values)
            error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0
            axis.axhline(mean, color=color, linewidth=1.2, linestyle="--", label=model)
            axis.axhspan(mean - error, mean + error, color=color, alpha=0.15, linewidth=0)
        axis.set_title(f"{output.upper()} AUC")
        axis.set_xlabel("connections removed")
        removed = sorted({x for points in lines.values() for x in points})
        axis.set_xticks([_place(x) for x in removed], [f"{x:.0f} %" for x in removed])
        axis.ticklabel_format(axis="y", useOffset=False)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=9)
    figure.suptitle(
        f"AUC against sparsity on {recipe.name}; bars and bands: standard error over seeds",
        fontsize=10,
    )
    return figure


def _place(removed: float) -> float:
    """Equal steps for equal shares of the survivors."""
    return -float(np.log(1 - removed / 100))


def _overlap(facts: Sequence[Mapping[str, Any]]):
    if not facts:
        return None
    tasks = facts[0]["tasks"]
    layers = ["x".join(map(str, shape)) for shape in facts[0]["shapes"]]
    kept = {t: np.array([f["kept"][t]["layers"] for f in facts]) for t in tasks}
    overlap = np.array([f["overlap_layers"] for f in facts])
    chance = _chance(list(kept.values()))
    figure, axis = plt.subplots(figsize=(1.6 * len(layers) + 2.4, 3.4), layout="constrained")
    bars = [*((f"{t} keeps", kept[t]) for t in tasks), ("overlap of the tickets", overlap)]
    width = 0.8 / len(bars)
    at = np.arange(len(layers))
    for i, (label, values) in enumerate(bars):
        spread = values.std(0, ddof=1) if len(values) > 1 else None
        place = at + (i - (len(bars) - 1) / 2) * width
        axis.bar(
            place,
            values.mean(0),
            width * 0.92,
            yerr=spread,
            color=COLORS[i],
            ecolor=FAINT,
            capsize=2,
            label=label,
        )
    last = at + (len(bars) - 1) / 2 * width
    axis.hlines(
        chance.mean(0),
        last - width / 2,
        last + width / 2,
        color=INK,
        linewidth=2,
        label="overlap of random tickets",
    )
    axis.set_xticks(at, layers)
    axis.set(xlabel="layer", ylabel="share", ylim=(0, 1), title="Tickets by layer")
    axis.grid(visible=False, axis="x")
    axis.legend(fontsize=9)
    return figure


def _chance(kept: Sequence[np.ndarray]) -> np.ndarray:
    """Overlap that independent random tickets of these densities would have: [seeds, layers]."""
    every = np.prod(kept, axis=0)
    return every / (1 - np.prod([1 - k for k in kept], axis=0))


def _rounds(facts: Sequence[Mapping[str, Any]]):
    if not facts:
        return None
    tasks = facts[0]["tasks"]
    figure, axes = plt.subplots(
        1, len(tasks), figsize=(4.4 * len(tasks), 3.4), layout="constrained", squeeze=False
    )
    for axis, task, color in zip(axes[0], tasks, COLORS):
        rounds = facts[0]["rounds"]
        metric = next(m for m in rounds[0]["metrics"] if m.rsplit("_", 1)[0] == task)
        kept = [
            100 * np.mean([f["rounds"][k]["kept"][task] for f in facts]) for k in range(len(rounds))
        ]
        values = np.array([[r["metrics"][metric] for r in f["rounds"]] for f in facts])
        at = range(len(rounds))
        for seed in values:
            axis.plot(at, seed, color=color, alpha=0.25, linewidth=1)
        axis.plot(at, values.mean(0), color=color, marker="o", linewidth=2, label="mean")
        for f, seed in zip(facts, values):
            k = f["chosen"][task]
            axis.plot(k, seed[k], "*", color=INK, markersize=9, linestyle="none")
        axis.set_xticks(at, [f"{k:.0f} %" for k in kept])
        axis.set(xlabel="connections kept", title=metric.replace("_", " ").upper())
        axis.ticklabel_format(axis="y", useOffset=False)
    axes[0, 0].set_ylabel("validation")
    figure.suptitle("Validation by round, a thin line a seed; stars: chosen", fontsize=10)
    return figure
