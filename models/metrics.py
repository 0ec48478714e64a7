"""Exact metrics over a whole split, in numpy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sklearn.metrics import mean_squared_error, roc_auc_score

from ncs4cvr.schemas.recipe import Recipe
from ncs4cvr.schemas.tasks import Product, Task


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

    calibration = mean prediction / mean label; 1 is perfect. A ratio is what is learned by squared
    error, and every product of it.

    Args:
      recipe: its tasks and products.
      predictions: task -> [rows] of probabilities.
      labels: label -> [rows].

    Raises:
      ValueError: an output has no rows, or rows of one class only, so that no AUC exists.
    """
    metrics = {}
    predictions = outputs_of(recipe, predictions)
    for output in recipe.outputs:
        p, y = predictions[output.name], labels[output.label]
        if isinstance(output, Task) and output.given:
            rows = labels[output.given] > 0
            p, y = p[rows], y[rows]
        if not len(y):
            raise ValueError(
                f"{output.name}: label {output.label!r} has 0 rows; widen the split's days"
            )
        if _is_ratio(recipe, output):
            metrics[f"{output.name}_mse"] = float(mean_squared_error(y, p))
        elif y.min() == y.max():
            raise ValueError(
                f"{output.name}: label {output.label!r} has one class on its {len(y)} rows; "
                "AUC needs both: widen the split's days"
            )
        else:
            metrics[f"{output.name}_auc"] = float(roc_auc_score(y, p))
        metrics[f"{output.name}_calibration"] = float(p.mean() / max(y.mean(), 1e-12))
    return metrics


def _is_ratio(recipe: Recipe, output: Task | Product) -> bool:
    factors = output.factors if isinstance(output, Product) else (output.name,)
    return any(task.loss == "mse" for task in recipe.tasks if task.name in factors)
