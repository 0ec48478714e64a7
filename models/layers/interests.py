"""How a history becomes field vectors: [batch, n, d] -> [batch, fields, d]."""

from __future__ import annotations

import tensorflow as tf


class MeanInterests(tf.keras.layers.Layer):
    """Two fields: the mean vector of engaged and of passed-over videos of the history.

    Engaged are positions with an action (a like, a conversion), passed over those without.
    """

    FIELDS = 2

    def call(self, videos: tf.Tensor, present: tf.Tensor, engaged: tf.Tensor):
        """videos [batch, n, d]; present, engaged [batch, n] of 0 and 1."""
        weights = tf.stack([present * engaged, present * (1 - engaged)], axis=1)  # [batch, 2, n]
        return tf.math.divide_no_nan(
            tf.matmul(weights, videos), tf.reduce_sum(weights, -1, keepdims=True)
        )
