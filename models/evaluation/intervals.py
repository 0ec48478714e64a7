"""How sure a metric of a test split is: a bootstrap over users.

A replicate draws the users of the split with replacement, as many as there are, and takes all rows
of each: rows of one user are alike, so drawing rows one by one would show too narrow intervals. The
same draws serve every model and output, so that differences are paired: what two models share
cancels out, and a model differs from itself by exactly 0. The ends of an interval are percentiles
of the replicates.

Efron, Tibshirani: An Introduction to the Bootstrap (1993), chapters 8 and 13.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import mean_squared_error, roc_auc_score

from ncs4cvr.models.evaluation.metrics import weighted_auc

REPLICATES = 1000
SEED = 20_220_508
LEVEL = 0.95
CHUNK = 100  # replicates drawn at a time: memory
MEMORY = 500_000_000  # bytes that all draws together may take; with more users there are fewer


def user_draws(users: int, replicates: int = REPLICATES, seed: int = SEED) -> Iterator[np.ndarray]:
    """How often each user was drawn, [at most 100, users] at a time; always the same."""
    rng = np.random.default_rng(seed)
    for start in range(0, replicates, CHUNK):
        count = min(CHUNK, replicates - start)
        drawn = np.empty((count, users), np.uint8)
        for row in drawn:
            row[:] = np.minimum(np.bincount(rng.integers(0, users, users), minlength=users), 255)
        yield drawn


def all_draws(users: int) -> np.ndarray:
    """[replicates, users]: a thousand, or what MEMORY allows, 100 at the least."""
    replicates = min(REPLICATES, max(CHUNK, MEMORY // max(users, 1)))
    return np.concatenate(list(user_draws(users, replicates)))


def replicated(
    metric: str, labels: np.ndarray, scores: np.ndarray, draws: np.ndarray, users: np.ndarray
) -> np.ndarray:
    """The metric in every replicate.

    Args:
      metric: `auc` or `mse`.
      labels, scores: [rows].
      draws: [replicates, all users].
      users: [rows], the user of each row in 0 .. all users - 1.

    Returns:
      [replicates]; NaN where a class (or, for `mse`, every row) was not drawn.
    """
    if metric == "auc":
        return weighted_auc(labels, scores, draws, users)
    errors = np.bincount(users, (scores - labels) ** 2, minlength=draws.shape[1])
    rows = np.bincount(users, minlength=draws.shape[1])
    # A product with numbers of 64 bits would make all draws as wide at once.
    sums = [part @ np.stack([errors, rows], axis=1) for part in _parts(draws)]
    total, drawn = np.concatenate(sums).T if sums else np.zeros((2, 0))
    return np.divide(total, drawn, out=np.full(len(draws), np.nan), where=drawn > 0)


def _parts(draws: np.ndarray) -> Iterator[np.ndarray]:
    """Some replicates at a time."""
    for start in range(0, len(draws), CHUNK):
        yield draws[start : start + CHUNK]


@dataclass(frozen=True)
class Measured:
    """A metric on some rows, of a model and, where there is one, of the one before.

    value, before: on the rows themselves; None where the metric does not exist (rows of one class).
    values, befores: [replicates].
    """

    value: float | None
    values: np.ndarray
    before: float | None = None
    befores: np.ndarray | None = None

    @property
    def difference(self) -> float | None:
        """How much the model is above the one before; None without one."""
        if self.value is None or self.before is None:
            return None
        return self.value - self.before

    def interval(self) -> list[float] | None:
        """[low, high] of the value, 95 %."""
        return interval(self.values)

    def difference_interval(self) -> list[float] | None:
        """[low, high] of the difference, 95 %."""
        return None if self.befores is None else interval(self.values - self.befores)

    def difference_at(self, quantile: float) -> float:
        """A quantile of the difference: .05 is the lower end of a one-sided interval of 95 %.

        NaN where there is none.
        """
        if self.befores is None or np.isnan(self.values - self.befores).all():
            return float("nan")
        return float(np.nanquantile(self.values - self.befores, quantile))


def measure(
    metric: str,
    labels: np.ndarray,
    scores: np.ndarray,
    before: np.ndarray | None,
    draws: np.ndarray,
    users: np.ndarray,
) -> Measured:
    """The metric of a model's scores and, where given, of the one before, on the same rows [rows].

    For metric, draws and users see `replicated`.
    """
    value = _value(metric, labels, scores)
    values = replicated(metric, labels, scores, draws, users)
    if before is None:
        return Measured(value, values)
    befores = replicated(metric, labels, before, draws, users)
    return Measured(value, values, _value(metric, labels, before), befores)


def interval(values: np.ndarray) -> list[float] | None:
    """The 95 % interval of replicates; None where most of them do not exist."""
    if not len(values) or np.isnan(values).mean() > 0.5:
        return None
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [float(low), float(high)]


def _value(metric: str, labels: np.ndarray, scores: np.ndarray) -> float | None:
    if metric == "auc":
        return float(roc_auc_score(labels, scores)) if len(np.unique(labels)) == 2 else None
    return float(mean_squared_error(labels, scores)) if len(labels) else None
