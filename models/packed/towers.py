"""The tasks' masked layers over packed weights: sparse or dense products, as the batch asks."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import tensorflow as tf

from ncs4cvr.models.packed.resources import Weights

if TYPE_CHECKING:
    from ncs4cvr.models.packed.store import PlainWeights

#: Of one task: the inputs of a layer, in one part or in two: [what does not change within a
#: request,] what does.
Parts = Sequence[tf.Tensor]


class Towers(tf.Module):
    """h_l = relu(h_{l-1} W_l + b_l), W_l = W * M_t, for every task t.

    The first layers may be computed sparsely, the others are dense. Only the layers between the
    fewest and the most sparse ones of a choice are computed in one way or another.

    Args:
      weights: decoded kernels and biases.
      choice: smallest batch -> how many layers, counted from the first, are computed sparsely from
        there on; 0 must be among the batches.
    """

    def __init__(
        self,
        weights: Weights | PlainWeights,
        choice: Mapping[int, int],
    ):
        super().__init__(name="towers")
        self.weights = weights
        self._choice = sorted(choice.items())

    def __call__(self, inputs: Sequence[Parts]) -> list[tf.Tensor]:
        """One [batch, outputs] a task.

        Args:
          inputs: for every task, [batch, inputs] or two parts of them; the first of two may have
            one row, which then stands for all.
        """
        counts = [sparse_layers for _, sparse_layers in self._choice]
        fewest, most = min(counts), max(counts)
        hidden = self._sparse(inputs, 0, fewest)
        ways = [functools.partial(self._way, hidden, fewest, k, most) for k in counts]
        if len(ways) == 1:
            rows = ways[0]()
        else:
            bounds = tf.constant([smallest for smallest, _ in self._choice[1:]])
            batch = tf.shape(inputs[0][-1])[0]
            rows = tf.switch_case(tf.reduce_sum(tf.cast(batch >= bounds, tf.int32)), ways)
        return [h for (h,) in self._dense(rows, most, self.weights.depth)]

    def _way(self, hidden: Sequence[Parts], fewest: int, sparse: int, most: int) -> Sequence[Parts]:
        """Through the layers from `fewest` to `most`: the first of them up to `sparse` sparsely."""
        hidden = self._sparse(hidden, fewest, sparse)
        if sparse:
            hidden = [[self.weights.kernels.turned_back(x) for x in parts] for parts in hidden]
        return self._dense(hidden, sparse, most)

    def _sparse(self, hidden: Sequence[Parts], start: int, stop: int) -> Sequence[Parts]:
        """Through sparse layers, a column an example: its values for a connection side by side.

        The first layer takes rows, and turns them.
        """
        kernels = self.weights.kernels
        if start == 0 < stop:  # tasks may have the same inputs: turned once
            once = {id(x): x for parts in hidden for x in parts}
            columns = {key: kernels.columns(x) for key, x in once.items()}
            hidden = [[columns[id(x)] for x in parts] for parts in hidden]
        for layer in range(start, stop):
            hidden = [[kernels.sparse(task, layer, x)] for task, x in enumerate(hidden)]
        return hidden

    def _dense(self, hidden: Sequence[Parts], start: int, stop: int) -> Sequence[Parts]:
        """Through dense layers, a row an example; between them in the kernels' own type."""
        for layer in range(start, stop):
            hidden = [[self._dense_layer(task, layer, x)] for task, x in enumerate(hidden)]
        return [[tf.cast(x, tf.float32) for x in parts] for parts in hidden]

    def _dense_layer(self, task: int, layer: int, rows: Parts) -> tf.Tensor:
        if len(rows) == 2 and rows[0].shape[0] == 1:
            summed = tf.add(*(self._product(task, layer, x, p) for p, x in enumerate(rows)))
        else:
            x = rows[0] if len(rows) == 1 else tf.concat(rows, axis=1)
            summed = self._product(task, layer, x)
        bias = self.weights.kernels.bias(task, layer)
        return tf.nn.relu(tf.nn.bias_add(summed, tf.cast(bias, summed.dtype)))

    def _product(self, task: int, layer: int, x: tf.Tensor, piece: int | None = None) -> tf.Tensor:
        kernel = self.weights.kernels.dense(task, layer, piece)
        return tf.matmul(tf.cast(x, kernel.dtype), kernel)
