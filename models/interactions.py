"""How field vectors cross: [batch, fields, d] -> [batch, features]."""

from __future__ import annotations

import tensorflow as tf


class DotInteraction(tf.keras.layers.Layer):
    """All pairwise dot products beside the vectors themselves (DLRM; LT4REC's cross).

    x = concat(<e_i, e_j> for i < j, e_1, ..., e_F): F (F - 1) / 2 + F d features. LT4REC's code
    keeps both triangles and the diagonal; every pair once says the same in half the inputs.
    """

    def call(self, fields: tf.Tensor):
        """[batch, F, d] -> [batch, F (F - 1) / 2 + F d]."""
        return tf.concat([pairwise_dots(fields), _flat(fields)], axis=1)


class Concat(tf.keras.layers.Layer):
    """No explicit crossing: the vectors side by side."""

    def call(self, fields: tf.Tensor):
        """[batch, F, d] -> [batch, F d]."""
        return _flat(fields)


INTERACTIONS: dict[str, type[tf.keras.layers.Layer]] = {"dot": DotInteraction, "concat": Concat}


@tf.custom_gradient
def pairwise_dots(fields: tf.Tensor):
    """<e_i, e_j> for i < j, row by row of the upper triangle: [batch, F, d] -> [batch, F(F-1)/2].

    The triangle is cut out row by row and put back by padding, because gather and its scatter
    gradient cost more than the dense layers above. With U the upstream gradient in the upper
    triangle, dE = (U + U') E.
    """
    count = fields.shape[1]
    dots = tf.matmul(fields, fields, transpose_b=True)
    out = tf.concat([dots[:, i, i + 1 :] for i in range(count)], axis=1)

    def gradient(upstream):
        with tf.name_scope("dot_interaction_gradient"):  # a profiler finds it by this name
            rows = tf.split(upstream, range(count - 1, -1, -1), axis=1)
            filled = [tf.pad(row, [[0, 0], [i + 1, 0]]) for i, row in enumerate(rows)]
            upper = tf.reshape(tf.concat(filled, axis=1), [-1, count, count])
            return tf.matmul(upper + tf.transpose(upper, [0, 2, 1]), fields)

    return out, gradient


def _flat(fields: tf.Tensor) -> tf.Tensor:
    return tf.reshape(fields, [-1, fields.shape[1] * fields.shape[2]])
