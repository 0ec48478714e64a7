"""The tasks' masked layers over packed weights: sparse or dense products, as the batch asks."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import tensorflow as tf

from ncs4cvr.models.packed.resources import Weights

#: Inputs of a task's first layer: [what does not change within a request,] what does.
Parts = Sequence[tf.Tensor]


class Towers(tf.Module):
    """h_l = relu(h_{l-1} W_l + b_l), W_l = W * M_t, for every task t.

    Args:
      weights: decoded kernels.
      biases: [task][layer].
      choice: smallest batch -> how many layers, counted from the first, are computed sparsely from
        there on; 0 must be among the batches.
    """

    def __init__(
        self,
        weights: Weights,
        biases: Sequence[Sequence[tf.Variable]],
        choice: Mapping[int, int],
    ):
        super().__init__(name="towers")
        self.weights, self.biases = weights, biases
        self._choice = sorted(choice.items())

    def __call__(self, inputs: Sequence[Parts]) -> list[tf.Tensor]:
        """One [batch, outputs] a task.

        Args:
          inputs: for every task, [batch, inputs] or two parts of them; the first of two may have
            one row, which then stands for all.
        """
        if len(self._choice) == 1:
            return self.computed(self._choice[0][1], inputs)
        bounds = tf.constant([batch for batch, _ in self._choice[1:]])
        branch = tf.reduce_sum(tf.cast(tf.shape(inputs[0][-1])[0] >= bounds, tf.int32))
        ways = [functools.partial(self.computed, k, inputs) for _, k in self._choice]
        return tf.switch_case(branch, ways)

    def computed(self, sparse_layers: int, inputs: Sequence[Parts]) -> list[tf.Tensor]:
        """The same, the first `sparse_layers` layers as sparse products."""
        turned: dict[int, tf.Tensor] = {}  # tasks may have the same inputs: turned once
        if sparse_layers:
            for x in {id(x): x for parts in inputs for x in parts}.values():
                turned[id(x)] = tf.transpose(x)
        hidden = []
        for task, parts in enumerate(inputs):
            # Sparse products want a column an example: its values for one connection side by side.
            columns = [turned[id(x)] for x in parts] if sparse_layers else []
            for layer in range(sparse_layers):
                products = [
                    self.weights.sparse_product(task, layer, p, x) for p, x in enumerate(columns)
                ]
                bias = self.biases[task][layer][:, None]
                columns = [tf.nn.relu(functools.reduce(tf.add, products) + bias)]
            rows = [tf.transpose(columns[0])] if sparse_layers else list(parts)
            for layer in range(sparse_layers, len(self.biases[task])):
                rows = [tf.nn.relu(self._dense(task, layer, rows) + self.biases[task][layer])]
            hidden.append(rows[0])
        return hidden

    def _dense(self, task: int, layer: int, rows: Parts) -> tf.Tensor:
        if len(rows) == 2 and rows[0].shape[0] == 1:
            products = [
                tf.matmul(x, self.weights.dense(task, layer, p)) for p, x in enumerate(rows)
            ]
            return tf.add(*products)
        x = rows[0] if len(rows) == 1 else tf.concat(rows, axis=1)
        return tf.matmul(x, self.weights.dense(task, layer))
