"""Losses of single tasks per row, and their mean over the rows where a task is defined."""

from __future__ import annotations

import tensorflow as tf

FOCAL_ALPHA, FOCAL_GAMMA = 0.75, 2.0
CONSTRAINT = 0.6  # weight of AITM's label constraint, as in its authors' code


def bce(label: tf.Tensor, logit: tf.Tensor) -> tf.Tensor:
    """Binary cross-entropy per row, from the logit; a label in [0, 1] is allowed."""
    return tf.nn.sigmoid_cross_entropy_with_logits(label, logit)


def focal(label: tf.Tensor, logit: tf.Tensor) -> tf.Tensor:
    """Focal loss: -a (1 - p)^g log p for y = 1, -(1 - a) p^g log(1 - p) for y = 0.

    a = .75 and g = 2 as in LT4REC's click loss; log p is taken from the logit, so nothing is
    clipped.
    """
    p = tf.sigmoid(logit)
    weight = label * FOCAL_ALPHA * (1 - p) ** FOCAL_GAMMA
    weight += (1 - label) * (1 - FOCAL_ALPHA) * p**FOCAL_GAMMA
    return weight * bce(label, logit)


def mse(label: tf.Tensor, logit: tf.Tensor) -> tf.Tensor:
    """Squared error of sigmoid(logit), for a completion ratio in [0, 1]."""
    return (tf.sigmoid(logit) - label) ** 2


LOSSES = {"bce": bce, "focal": focal, "mse": mse}


def soft(task: str) -> str:
    """The column of a batch with a task's soft labels; see models/pruning/soft_labels.py."""
    return f"soft/{task}"


def mean(rows: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """sum(rows) / count, 0 for a batch without rows that count (PLE, section 3.3).

    The count is that of the whole batch: where devices divide it among them, each has a part of
    the sum, and their gradients add up to the batch's.
    """
    return tf.math.divide_no_nan(tf.reduce_sum(rows), count)


def product_logit(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """The logit of sigmoid(a) sigmoid(b), for the loss of pCTCVR = pCTR pCVR (ESMM, eq. 3).

    With l = log p = log sigmoid(a) + log sigmoid(b): logit = l - log(1 - exp(l)); p stays below
    1 - 1e-7, so that it is finite.
    """
    log_p = tf.minimum(tf.math.log_sigmoid(a) + tf.math.log_sigmoid(b), -1e-7)
    return log_p - tf.math.log(-tf.math.expm1(log_p))


def above(logit: tf.Tensor, parent: tf.Tensor) -> tf.Tensor:
    """.6 max(p_conversion - p_click, 0) per row: AITM's label constraint (KDD 2021, eq. 9)."""
    return CONSTRAINT * tf.nn.relu(tf.sigmoid(logit) - tf.sigmoid(parent))
