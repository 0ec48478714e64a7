"""Exact metrics over a whole split, in numpy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from sklearn.metrics import mean_squared_error, roc_auc_score

from ncs4cvr.schemas.recipe import Recipe
from ncs4cvr.schemas.tasks import Product, Task

CACHED = 2**15  # numbers of weightings that are worked on at a time


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
        rows = own_rows(output, labels)
        p, y = predictions[output.name][rows], labels[output.label][rows]
        if not len(y):
            raise ValueError(
                f"{output.name}: label {output.label!r} has 0 rows; widen the split's days"
            )
        if recipe.metric_of(output) == "mse":
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


def own_rows(output: Task | Product, labels: Mapping[str, np.ndarray]) -> np.ndarray:
    """The rows [rows] on which an output is judged: a post-click task's are the clicked ones."""
    if isinstance(output, Task) and output.given:
        return labels[output.given] > 0
    return np.ones(len(labels[output.label]), bool)


def weighted_auc(
    labels: np.ndarray, scores: np.ndarray, weights: np.ndarray, groups: np.ndarray
) -> np.ndarray:
    """The AUC under many weightings of the same rows, e.g. of a bootstrap, sorting once.

    AUC = sum_{i: y=1, j: y=0} w_i w_j ([s_i > s_j] + [s_i = s_j] / 2) / (sum_i w_i sum_j w_j)

    Args:
      labels, scores: [rows]; labels are 0 or 1.
      weights: [weightings, groups] of whole numbers, such as how often each user was drawn.
      groups: [rows], the column of `weights` that a row's weight stands in.

    Returns:
      [weightings]; NaN where a class has no weight.
    """
    order = np.argsort(scores, kind="stable")
    y, s, g = labels[order] > 0, scores[order], groups[order]
    below = np.searchsorted(s[~y], s[y], "left")  # negatives under each positive
    up_to = np.searchsorted(s[~y], s[y], "right")
    g_positive, g_negative = g[y], g[~y]
    tied = bool((below != up_to).any())
    out = np.full(len(weights), np.nan)
    # So many weightings at a time that their sums stay in the processor's cache.
    step = max(1, CACHED // max(1, len(s)))
    for start in range(0, len(weights), step):
        part = weights[start : start + step]
        positive = part.take(g_positive, axis=1).astype(np.int64)  # [weightings, positives]
        sums = np.zeros((len(part), len(g_negative) + 1), np.int64)
        np.cumsum(part.take(g_negative, axis=1), axis=1, dtype=np.int64, out=sums[:, 1:])
        twice = sums.take(below, axis=1)
        twice += sums.take(up_to, axis=1) if tied else twice
        pairs = 2.0 * positive.sum(axis=1) * sums[:, -1]
        won = np.einsum("ij,ij->i", positive, twice)
        np.divide(won, pairs, out=out[start : start + step], where=pairs > 0)
    return out


def grouped_auc(labels: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> float:
    """GAUC: every user's own AUC, weighted by the user's rows.

    GAUC = sum_u n_u AUC_u / sum_u n_u over users u with both classes (Zhu et al., KDD 2017, section
    5.1); NaN if there is none.

    Args:
      labels, scores: [rows]; labels are 0 or 1.
      groups: [rows], the user of each row.
    """
    group = np.unique(groups, return_inverse=True)[1]
    order = np.lexsort((scores, group))
    g, s, y = group[order], scores[order], labels[order] > 0
    new_group = np.r_[True, g[1:] != g[:-1]]
    starts = np.flatnonzero(new_group | np.r_[True, s[1:] != s[:-1]])
    ends = np.r_[starts[1:], len(s)]
    # Equal scores share their mean rank; ranks count from 1 within a user.
    rank = np.repeat((starts + ends + 1) / 2, ends - starts) - np.flatnonzero(new_group)[g]
    rows, positives = np.bincount(g), np.bincount(g, y)
    pairs = positives * (rows - positives)
    right = np.bincount(g, y * rank) - positives * (positives + 1) / 2
    both = pairs > 0
    if not both.any():
        return float("nan")
    return float(np.average(right[both] / pairs[both], weights=rows[both]))


def log_loss(labels: np.ndarray, predictions: np.ndarray) -> float:
    """mean(-y log p - (1 - y) log(1 - p)), p kept 1e-7 away from 0 and 1."""
    p = np.clip(predictions.astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(labels * np.log(p) + (1 - labels) * np.log1p(-p)))


def calibration_error(labels: np.ndarray, predictions: np.ndarray, bins: int = 15) -> float:
    """ECE over bins of equally many rows: sum_b n_b / n |mean prediction - mean label|.

    Rows are sorted by prediction and cut into `bins` parts whose sizes differ by one at most.
    (Naeini et al., AAAI 2015, with equal-mass bins as Nixon et al., arXiv 1904.01685)
    """
    order = np.argsort(predictions, kind="stable")
    excess = (predictions.astype(np.float64) - labels)[order]
    return float(sum(abs(part.sum()) for part in np.array_split(excess, bins)) / len(excess))
