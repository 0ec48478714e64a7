"""Dense layers that sharings are made of: an MLP with a mask a task, and a stack of experts."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import tensorflow as tf


class MaskedMLP(tf.keras.layers.Layer):
    """A ReLU MLP whose kernels serve every task under its own mask.

    h_l = relu(h_{l-1} (W_l * M_{t,l}) + b_l), l = 1..len(hidden)       (NCS4CVR, arXiv 2008.09872)
    W and b are common to all tasks, the masks M_t are constants of 0 and 1 and biases are not
    masked. The gradient of task t reaches only connections of its ticket, by the chain rule.

    Args:
      hidden: layer sizes.
      tasks: how many masks each kernel carries; 0 makes a plain dense MLP.
      dropout: rate after each layer, in training.
    """

    def __init__(self, hidden: Sequence[int], tasks: int, dropout: float = 0.0, name: str = "mlp"):
        super().__init__(name=name)
        self.hidden, self.tasks, self.rate = tuple(hidden), tasks, dropout
        self.kernels: list[tf.Variable] = []
        self.biases: list[tf.Variable] = []
        self.masks: list[list[tf.Variable]] = []  # [task][layer]

    def build(self, input_shape):
        """Adds kernels, biases and one all-ones mask a task and layer."""
        sizes = [int(input_shape[-1]), *self.hidden]
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
            self.kernels.append(
                self.add_weight(f"kernel_{i}", (fan_in, fan_out), initializer="glorot_normal")
            )
            self.biases.append(self.add_weight(f"bias_{i}", (fan_out,), initializer="zeros"))
        self.masks = [
            [
                self.add_weight(f"mask_{t}_{i}", k.shape, initializer="ones", trainable=False)
                for i, k in enumerate(self.kernels)
            ]
            for t in range(self.tasks)
        ]

    def call(self, x, task: int = 0, training: bool = False):
        """x [batch, inputs] -> [batch, hidden[-1]] under the task's ticket."""
        for i, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            weights = kernel * self.masks[task][i] if self.tasks else kernel
            x = tf.nn.relu(tf.matmul(x, weights) + bias)
            if training and self.rate:
                x = tf.nn.dropout(x, self.rate)
        return x


class Experts(tf.keras.layers.Layer):
    """`count` ReLU MLPs of the same sizes, computed side by side.

    Args:
      count: how many.
      hidden: layer sizes of each.
      dropout: rate after each layer, in training.
    """

    def __init__(
        self, count: int, hidden: Sequence[int], dropout: float = 0.0, name: str = "experts"
    ):
        super().__init__(name=name)
        self.count, self.hidden, self.rate = count, tuple(hidden), dropout
        self.kernels: list[tf.Variable] = []
        self.biases: list[tf.Variable] = []

    def build(self, input_shape):
        """Adds one [count, in, out] kernel a layer, every expert with its own Glorot draw."""
        sizes = [int(input_shape[-1]), *self.hidden]
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
            # Glorot's variance 2 / (in + out) for each expert; Keras would count `count` as a fan.
            draw = tf.keras.initializers.TruncatedNormal(stddev=(2 / (fan_in + fan_out)) ** 0.5)
            shape = (self.count, fan_in, fan_out)
            self.kernels.append(self.add_weight(f"kernel_{i}", shape, initializer=draw))
            shape = (self.count, 1, fan_out)
            self.biases.append(self.add_weight(f"bias_{i}", shape, initializer="zeros"))

    def call(self, x, training: bool = False):
        """x [batch, inputs] -> [count, batch, hidden[-1]]."""
        x = x[None]
        for kernel, bias in zip(self.kernels, self.biases, strict=True):
            x = tf.nn.relu(tf.matmul(x, kernel) + bias)
            if training and self.rate:
                x = tf.nn.dropout(x, self.rate)
        return x
