"""How field vectors cross: [batch, fields, d] -> [batch, features]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf


class Interaction(tf.keras.layers.Layer):
    """What the ranker and the export ask of every interaction.

    In a ranking request most fields (the user's, the context's) are the same for all candidates.
    `halves` keeps the inputs of the dense layers that depend on these alone apart, so that they and
    their share of the first layer are computed once a request.
    """

    def halves(self, request: tf.Tensor, candidates: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The outputs of `call`, in another order and in two parts.

        Args:
          request: fields [1 or batch, R, d] that all candidates have in common.
          candidates: fields [batch, C, d].

        Returns:
          [1 or batch, a], what depends on `request` alone, and [batch, b], the rest.
        """
        raise NotImplementedError

    def order(self, request: Sequence[int], candidates: Sequence[int], dim: int):
        """Which output of `call` each output of `halves` is: int arrays [a] and [b].

        Args:
          request, candidates: the numbers of their fields among all fields.
          dim: d.
        """
        raise NotImplementedError


class DotInteraction(Interaction):
    """All pairwise dot products beside the vectors themselves (DLRM; LT4REC's cross).

    x = concat(<e_i, e_j> for i < j, e_1, ..., e_F): F (F - 1) / 2 + F d features. LT4REC's code
    keeps both triangles and the diagonal; every pair once says the same in half the inputs.
    """

    def call(self, fields: tf.Tensor):
        """[batch, F, d] -> [batch, F (F - 1) / 2 + F d]."""
        return tf.concat([pairwise_dots(fields), _flat(fields)], axis=1)

    def halves(self, request: tf.Tensor, candidates: tf.Tensor):
        """Pairs and vectors of the request; mixed pairs, the candidates' pairs and vectors."""
        if request.shape[0] == 1:  # one matrix product for all candidates
            mixed = tf.tensordot(candidates, request[0], [[2], [1]])
        else:
            mixed = tf.matmul(candidates, request, transpose_b=True)
        rest = [_flat(mixed), upper_dots(candidates), _flat(candidates)]
        return (
            tf.concat([upper_dots(request), _flat(request)], axis=1),
            tf.concat(rest, axis=1),
        )

    def order(self, request: Sequence[int], candidates: Sequence[int], dim: int):
        """See `Interaction.order`."""
        count = len(request) + len(candidates)
        pair = np.zeros((count, count), int)
        upper = np.triu_indices(count, 1)
        pair[upper] = np.arange(len(upper[0]))
        pair += pair.T
        own = [_pairs(pair[np.ix_(which, which)]) for which in (request, candidates)]
        flat = [len(upper[0]) + _numbers(which, dim) for which in (request, candidates)]
        mixed = pair[np.ix_(candidates, request)].reshape(-1)
        return np.concatenate([own[0], flat[0]]), np.concatenate([mixed, own[1], flat[1]])


class Concat(Interaction):
    """No explicit crossing: the vectors side by side."""

    def call(self, fields: tf.Tensor):
        """[batch, F, d] -> [batch, F d]."""
        return _flat(fields)

    def halves(self, request: tf.Tensor, candidates: tf.Tensor):
        """The request's vectors; the candidates'."""
        return _flat(request), _flat(candidates)

    def order(self, request: Sequence[int], candidates: Sequence[int], dim: int):
        """See `Interaction.order`."""
        return _numbers(request, dim), _numbers(candidates, dim)


INTERACTIONS: dict[str, type[Interaction]] = {"dot": DotInteraction, "concat": Concat}


@tf.custom_gradient
def pairwise_dots(fields: tf.Tensor):
    """<e_i, e_j> for i < j, row by row of the upper triangle: [batch, F, d] -> [batch, F(F-1)/2].

    The triangle is cut out row by row and put back by padding, because gather and its scatter
    gradient cost more than the dense layers above. With U the upstream gradient in the upper
    triangle, dE = (U + U') E.
    """
    count = fields.shape[1]

    def gradient(upstream):
        with tf.name_scope("dot_interaction_gradient"):  # a profiler finds it by this name
            rows = tf.split(upstream, range(count - 1, -1, -1), axis=1)
            filled = [tf.pad(row, [[0, 0], [i + 1, 0]]) for i, row in enumerate(rows)]
            upper = tf.reshape(tf.concat(filled, axis=1), [-1, count, count])
            return tf.matmul(upper + tf.transpose(upper, [0, 2, 1]), fields)

    return upper_dots(fields), gradient


def upper_dots(fields: tf.Tensor) -> tf.Tensor:
    """The same without a gradient of its own, which an export would carry along."""
    dots = tf.matmul(fields, fields, transpose_b=True)
    return tf.concat([dots[:, i, i + 1 :] for i in range(fields.shape[1])], axis=1)


def _flat(fields: tf.Tensor) -> tf.Tensor:
    return tf.reshape(fields, [-1, fields.shape[1] * fields.shape[2]])


def _pairs(square: np.ndarray) -> np.ndarray:
    """The upper triangle without its diagonal, row by row."""
    return square[np.triu_indices(len(square), 1)]


def _numbers(fields: Sequence[int], dim: int) -> np.ndarray:
    """Where the vectors of fields lie among all vectors, side by side."""
    return (np.array(fields, int)[:, None] * dim + np.arange(dim)).reshape(-1)
