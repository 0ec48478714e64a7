"""From cells to what the page shows: rows, means, differences, the curve, what the search costs."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ncs4cvr.models.evaluation import metrics
from ncs4cvr.schemas.recipe import Recipe
from quality_parts.bootstrap import difference, replicated_aucs
from quality_parts.cells import SPLITS, Cell
from quality_parts.data import Rows
from quality_parts.models import HYBRID, SOFT, searches

OURS = "ncs4cvr"
KEPT = (
    "params",
    "embedding_params",
    "dense_params",
    "live_params",
    "flops",
    "live_flops",
    "seconds",
    "examples_per_s",
    "peak_mb",
    "best_epoch",
)


def rows(dataset: str, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """The rows of quality.json: one per model, seed and split, where there is a result."""
    out = []
    for cell in cells:
        result = cell.stored(any_code=True)
        for split in SPLITS if result else ():
            row = {"dataset": dataset, "model": cell.model, "seed": cell.recipe.seed}
            row |= {"split": split, "metrics": result["metrics"][split]}
            row |= {name: result[name] for name in KEPT}
            row |= {n: result[n] for n in ("kept", "overlap") if n in result}
            out.append(row)
    return out


def by_model(every: Sequence[Mapping[str, Any]], split: str = "test") -> dict[str, list[Mapping]]:
    """model -> its rows of a split, in the order of the rows."""
    found: dict[str, list[Mapping]] = defaultdict(list)
    for row in every:
        if row["split"] == split:
            found[row["model"]].append(row)
    return dict(found)


def mean_and_sd(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and the standard deviation over seeds (0 for one seed)."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def judged_outputs(recipe: Recipe) -> list[str]:
    """The outputs that have an AUC."""
    return [o.name for o in recipe.outputs if recipe.metric_of(o) == "auc"]


def differences(
    recipe: Recipe,
    cells: Sequence[Cell],
    judged: Rows,
    replicates: int,
    ours: str = OURS,
    split: str = "test",
) -> list[dict[str, Any]]:
    """A model against every other, by output: see `bootstrap.difference`.

    Only seeds that both models have are compared, on the rows of `split`, which are `judged`.
    """
    made = {(c.model, c.recipe.seed): c for c in cells if c.stored(any_code=True)}
    if not any(model == ours for model, _ in made):
        return []
    labels, count = judged.labels(recipe), int(judged.users.max()) + 1
    predicted = {
        key: metrics.outputs_of(recipe, cell.predictions(split)) for key, cell in made.items()
    }
    names = [n for n in dict.fromkeys(model for model, _ in made) if n != ours]
    found = []
    for output in recipe.outputs:
        if recipe.metric_of(output) != "auc":
            continue
        mask = metrics.own_rows(output, labels)
        y, users = labels[output.label][mask], judged.users[mask]
        scores = {key: p[output.name][mask] for key, p in predicted.items()}
        whole = {k: metrics.weighted_auc(y, s, _ones(count), users)[0] for k, s in scores.items()}
        drawn = replicated_aucs(y, scores, users, count, replicates)
        for name in names:
            seeds = sorted(s for m, s in made if m == name and (ours, s) in made)
            if not seeds:
                continue
            pair = [np.array([whole[m, s] for s in seeds]) for m in (ours, name)]
            pair += [np.stack([drawn[m, s] for s in seeds]) for m in (ours, name)]
            found.append({"against": name, "output": output.name, **difference(*pair)})
    return found


def differences_by_sparsity(
    recipe: Recipe, cells: Sequence[Cell], curve: Sequence[Cell], test: Rows, replicates: int
) -> dict[str, list[dict[str, Any]]]:
    """ncs4cvr at each sparsity -> its differences to that sparsity's controls and shared-bottom.

    Likewise of ncs4cvr with soft labels, whose controls have them, too.
    """
    bottom = [cell for cell in cells if cell.model == "shared_bottom"]
    found = {}
    for ours in dict.fromkeys(cell.model for cell in curve):
        kind, _, removed = ours.partition("@")
        if kind not in (OURS, SOFT):
            continue
        alike = [
            cell
            for cell in curve
            if cell.model.endswith(f"@{removed}") and cell.model.startswith(SOFT) == (kind == SOFT)
        ]
        found[ours] = differences(recipe, [*alike, *bottom], test, replicates, ours)
    return found


def _ones(count: int) -> np.ndarray:
    return np.ones((1, count), np.uint8)


def search_costs(recipe: Recipe, cells: Sequence[Cell], data_rows: int) -> list[dict[str, Any]]:
    """Ticket searches beside the joint training that follows, a row per model that searches."""
    found = []
    for name in (OURS, *(m.name for m in searches(recipe)), HYBRID.name):
        pairs = [
            (s, r)
            for c in cells
            if c.model == name and c.search
            if (s := c.search.stored(any_code=True)) and (r := c.stored(any_code=True))
        ]
        if not pairs:
            continue
        joint_rows = [len(r["epochs"]) * data_rows for _, r in pairs]
        searched = [s["rows_times_copies"] for s, _ in pairs]
        found.append(
            {
                "model": name,
                "search_seconds": mean_and_sd([s["seconds"] for s, _ in pairs]),
                "soft_label_seconds": mean_and_sd([s["soft_label_seconds"] for s, _ in pairs]),
                "joint_seconds": mean_and_sd([r["seconds"] for _, r in pairs]),
                "ratio": mean_and_sd([s["seconds"] / r["seconds"] for s, r in pairs]),
                "search_rows": statistics.mean(searched),
                "joint_rows": statistics.mean(joint_rows),
                "watched": mean_and_sd([r["watched"] for _, r in pairs]),
                "seeds": len(pairs),
            }
        )
    return found
