"""How tasks share dense layers: a family of Keras layers with one signature.

call(xs) takes one input [batch, inputs] per task (the same tensor for every task where the layers
below are shared) and returns one representation [batch, hidden[-1]] per task.
`connections(task)` offers the kernels and masks that tickets apply to.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import tensorflow as tf

from ncs4cvr.models import sparsity

Connections = list[tuple[tf.Variable, tf.Variable]]


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


class SharedBottom(tf.keras.layers.Layer):
    """Hard sharing: one MLP, the same representation for every task."""

    separate_inputs = False

    def __init__(self, tasks: int, hidden: Sequence[int], dropout: float = 0.0):
        super().__init__(name="shared_bottom")
        self.count, self.mlp = tasks, MaskedMLP(hidden, 0, dropout)

    def call(self, xs, training: bool = False):
        """xs: one shared input; returns the same tensor once per task."""
        return [self.mlp(xs[0], training=training)] * self.count

    def mlp_of(self, task: int) -> MaskedMLP:
        """The MLP that serves a task."""
        return self.mlp

    def connections(self, task: int) -> Connections:
        """No connection is masked."""
        return []


class SingleTask(tf.keras.layers.Layer):
    """No sharing at all: every task has its own MLP (and, in the ranker, its own embeddings).

    With masks this is also what the ticket search trains: all tasks' searches in one pass.
    """

    separate_inputs = True

    def __init__(self, tasks: int, hidden: Sequence[int], dropout: float = 0.0):
        super().__init__(name="single_task")
        self.mlps = [MaskedMLP(hidden, 1, dropout, name=f"mlp_{t}") for t in range(tasks)]

    def call(self, xs, training: bool = False):
        """xs: one input per task, each through its own MLP."""
        return [mlp(x, training=training) for mlp, x in zip(self.mlps, xs, strict=True)]

    def mlp_of(self, task: int) -> MaskedMLP:
        """The MLP that serves a task."""
        return self.mlps[task]

    def connections(self, task: int) -> Connections:
        """The task's own kernels with their masks."""
        mlp = self.mlps[task]
        return list(zip(mlp.kernels, mlp.masks[0], strict=True))


class ConnectionSharing(tf.keras.layers.Layer):
    """NCS4CVR: one MLP, of which every task uses the connections of its own ticket."""

    separate_inputs = False

    def __init__(self, tasks: int, hidden: Sequence[int], dropout: float = 0.0):
        super().__init__(name="connection_sharing")
        self.count, self.mlp = tasks, MaskedMLP(hidden, tasks, dropout)

    def call(self, xs, training: bool = False):
        """xs: one input per task (the same tensor); task t sees W * M_t."""
        return [self.mlp(x, task=t, training=training) for t, x in enumerate(xs)]

    def mlp_of(self, task: int) -> MaskedMLP:
        """The MLP that serves a task."""
        return self.mlp

    def connections(self, task: int) -> Connections:
        """The common kernels with the task's masks."""
        return list(zip(self.mlp.kernels, self.mlp.masks[task], strict=True))


SHARINGS: dict[str, type[tf.keras.layers.Layer]] = {
    "single_task": SingleTask,
    "shared_bottom": SharedBottom,
    "ncs4cvr": ConnectionSharing,
}


def get_ticket(connections: Connections) -> sparsity.Ticket:
    """The masks as boolean arrays."""
    return [mask.numpy() > 0 for _, mask in connections]


def set_ticket(connections: Connections, ticket: sparsity.Ticket) -> None:
    """Writes a ticket into the masks.

    Raises:
      ValueError: the ticket was found on layers of other shapes.
    """
    expected = [tuple(mask.shape) for _, mask in connections]
    got = [mask.shape for mask in ticket]
    if expected != got:
        raise ValueError(
            f"this ticket belongs to layers {got}, the model has {expected}; search again, or use "
            "the recipe the ticket was found with"
        )
    for (_, mask), kept in zip(connections, ticket, strict=True):
        mask.assign(kept.astype("float32"))
