"""The tasks' masked layers over packed weights: sparse or dense products, as the batch asks."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tensorflow as tf

from ncs4cvr.models.packed.kernels import Kernels
from ncs4cvr.models.packed.resources import Weights

if TYPE_CHECKING:
    from ncs4cvr.models.packed.store import PlainWeights

#: Inputs of a task's first layer: [what does not change within a request,] what does.
Parts = Sequence[tf.Tensor]


class Towers(tf.Module):
    """h_l = relu(h_{l-1} W_l + b_l), W_l = W * M_t, for every task t.

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
        ways = [self.way(sparse_layers) for _, sparse_layers in self._choice]
        if len(ways) == 1:
            return ways[0](inputs)
        bounds = tf.constant([batch for batch, _ in self._choice[1:]])
        branch = tf.reduce_sum(tf.cast(tf.shape(inputs[0][-1])[0] >= bounds, tf.int32))
        return tf.switch_case(branch, [functools.partial(way, inputs) for way in ways])

    def way(self, sparse_layers: int) -> _Way:
        """One way to compute: the first `sparse_layers` layers as sparse products."""
        return _Way(self.weights.kernels, self.weights.depths, sparse_layers)


@dataclass(frozen=True)
class _Way:
    """Computes the towers with a given number of sparse layers."""

    kernels: Kernels | PlainWeights
    depths: Sequence[int]
    sparse_layers: int

    def __call__(self, inputs: Sequence[Parts]) -> list[tf.Tensor]:
        columns = self._columns(inputs) if self.sparse_layers else []
        hidden = []
        for task, parts in enumerate(inputs):
            rows = [self._sparse(task, columns[task])] if self.sparse_layers else parts
            for layer in range(self.sparse_layers, self.depths[task]):
                rows = [self._dense(task, layer, rows)]
            hidden.append(tf.cast(rows[0], tf.float32))
        return hidden

    def _columns(self, inputs: Sequence[Parts]) -> list[Parts]:
        """The inputs turned; tasks may have the same: turned once."""
        once = {id(x): x for parts in inputs for x in parts}
        columns = {key: self.kernels.columns(x) for key, x in once.items()}
        return [[columns[id(x)] for x in parts] for parts in inputs]

    def _sparse(self, task: int, columns: Parts) -> tf.Tensor:
        """Through the sparse layers, a column an example: its values for a connection side by side.

        Returns [batch, outputs].
        """
        for layer in range(self.sparse_layers):
            last = layer + 1 == self.sparse_layers
            columns = [self.kernels.sparse(task, layer, columns, last)]
        return tf.transpose(columns[0])

    def _dense(self, task: int, layer: int, rows: Parts) -> tf.Tensor:
        """Through a dense layer, in the kernel's own type."""
        if len(rows) == 2 and rows[0].shape[0] == 1:
            summed = tf.add(*(self._product(task, layer, x, p) for p, x in enumerate(rows)))
        else:
            x = rows[0] if len(rows) == 1 else tf.concat(rows, axis=1)
            summed = self._product(task, layer, x)
        bias = self.kernels.bias(task, layer)
        return tf.nn.relu(tf.nn.bias_add(summed, tf.cast(bias, summed.dtype)))

    def _product(self, task: int, layer: int, x: tf.Tensor, piece: int | None = None) -> tf.Tensor:
        kernel = self.kernels.dense(task, layer, piece)
        return tf.matmul(tf.cast(x, kernel.dtype), kernel)
