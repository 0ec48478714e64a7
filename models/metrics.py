"""Exact metrics over a whole split, in numpy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ncs4cvr.schemas.recipe import Recipe
from ncs4cvr.schemas.tasks import Task
from sklearn.metrics import mean_squared_error, roc_auc_score


def outputs_of(recipe: Recipe, predictions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Adds the products (ctcvr = ctr * cvr) to the tasks' predictions."""
    out = dict(predictions)
    for product in recipe.products:
        out[product.name] = np.prod([predictions[f] for f in product.factors], axis=0)
    return out


def evaluate(
    recipe: Recipe, predictions: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """`<output>_auc` (`_mse` for ratios) and `<output>_calibration`, each on the output's own rows.

    calibration = mean prediction / mean label; 1 is perfect.

    Raises:
      ValueError: an output's rows hold one class only, so no AUC exists.
    """
    metrics = {}
    predictions = outputs_of(recipe, predictions)
    for output in recipe.outputs:
        p, y = predictions[output.name], labels[output.label]
        if isinstance(output, Task) and output.given:
            rows = labels[output.given] > 0
            p, y = p[rows], y[rows]
        if isinstance(output, Task) and output.loss == "mse":
            metrics[f"{output.name}_mse"] = float(mean_squared_error(y, p))
        elif y.min(initial=2) == y.max(initial=-1):
            raise ValueError(
                f"{output.name}: label {output.label!r} has one class on its {len(y)} rows; "
                "AUC needs both: widen the split's days"
            )
        else:
            metrics[f"{output.name}_auc"] = float(roc_auc_score(y, p))
        metrics[f"{output.name}_calibration"] = float(p.mean() / max(y.mean(), 1e-12))
    return metrics
