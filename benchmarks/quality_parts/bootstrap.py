"""Differences between models with intervals, from a bootstrap over test users and seeds.

A replicate draws the test users with replacement, and the seeds with replacement; the same draws
serve every model. Its statistic is the mean over the drawn seeds of AUC(ncs4cvr) - AUC(other), on
the rows of the drawn users. Users vary what is measured, seeds what is trained: so the interval
covers both. (Seeds being few, their share of the variance is understated by (n - 1) / n.)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ncs4cvr.models.evaluation.intervals import REPLICATES, SEED, user_draws
from ncs4cvr.models.evaluation.metrics import weighted_auc


def seed_draws(seeds: int, replicates: int = REPLICATES, seed: int = SEED) -> np.ndarray:
    """How often each seed was drawn: [replicates, seeds]."""
    rng = np.random.default_rng(seed + 1)
    return rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=replicates)


def replicated_aucs(
    labels: np.ndarray,
    scores: Mapping[str, np.ndarray],
    users: np.ndarray,
    count: int,
    replicates: int = REPLICATES,
) -> dict[str, np.ndarray]:
    """The AUC of every model's scores in every replicate.

    Args:
      labels: [rows], 0 or 1.
      scores: name -> [rows].
      users: [rows], the user of each row in 0 .. count - 1.
      count: users of the whole split, also of those without a row here.
      replicates: how many.

    Returns:
      name -> [replicates].
    """
    parts: dict[str, list[np.ndarray]] = {name: [] for name in scores}
    for weights in user_draws(count, replicates):
        for name, values in scores.items():
            parts[name].append(weighted_auc(labels, values, weights, users))
    return {name: np.concatenate(part) for name, part in parts.items()}


def difference(
    ours: np.ndarray,
    theirs: np.ndarray,
    our_aucs: np.ndarray,
    their_aucs: np.ndarray,
) -> dict[str, float]:
    """The difference of two models with its 95 % interval.

    Args:
      ours, theirs: [seeds], AUC on the whole split.
      our_aucs, their_aucs: [seeds, replicates], what `replicated_aucs` gave, seeds paired.

    Returns:
      difference, low, high (2.5 and 97.5 % of the replicates), seeds_above: in how many seeds ours
      is higher.
    """
    drawn = seed_draws(len(ours), our_aucs.shape[1])
    replicates = np.einsum("rs,sr->r", drawn, our_aucs - their_aucs) / len(ours)
    low, high = np.nanpercentile(replicates, [2.5, 97.5])
    return {
        "difference": float(np.mean(ours - theirs)),
        "low": float(low),
        "high": float(high),
        "seeds_above": int(np.sum(ours > theirs)),
        "seeds": len(ours),
    }
