"""What the benchmark reports of one model's predictions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ncs4cvr.models.evaluation import metrics
from ncs4cvr.schemas.recipe import Recipe


def scores(
    recipe: Recipe,
    predictions: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    users: np.ndarray,
) -> dict[str, float]:
    """What `metrics.evaluate` gives, and of every output that is no ratio, on its own rows:

    <output>_gauc               AUC by user, weighted by the user's rows
    <output>_log_loss           mean negative log likelihood
    <output>_calibration_error  ECE over 15 bins of equally many rows

    GAUC is left out where no user has rows of both classes.
    """
    found = metrics.evaluate(recipe, predictions, labels)
    every = metrics.outputs_of(recipe, predictions)
    for output in recipe.outputs:
        if recipe.metric_of(output) != "auc":
            continue
        rows = metrics.own_rows(output, labels)
        y, p = labels[output.label][rows], every[output.name][rows]
        by_user = metrics.grouped_auc(y, p, users[rows])
        if not np.isnan(by_user):
            found[f"{output.name}_gauc"] = by_user
        found[f"{output.name}_log_loss"] = metrics.log_loss(y, p)
        found[f"{output.name}_calibration_error"] = metrics.calibration_error(y, p)
    return found
