"""Losses of single tasks, each averaged over the rows where the task is defined."""

from __future__ import annotations

import tensorflow as tf

FOCAL_ALPHA, FOCAL_GAMMA = 0.75, 2.0


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


def over_sample_space(rows: tf.Tensor, given: tf.Tensor) -> tf.Tensor:
    """sum(given * rows) / sum(given), 0 for a batch without such rows (PLE, section 3.3)."""
    return tf.math.divide_no_nan(tf.reduce_sum(given * rows), tf.reduce_sum(given))
