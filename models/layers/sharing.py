"""How tasks share dense layers: a family of Keras layers with one signature.

call(xs) takes one input [batch, inputs] per task (the same tensor for every task where the layers
below are shared) and returns one representation [batch, hidden[-1]] per task.
`connections(task)` offers the kernels and masks that tickets apply to.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from ncs4cvr.models import sparsity
from ncs4cvr.models.layers.dense import MaskedMLP

Connections = list[tuple[tf.Variable, tf.Variable]]


class Sharing(tf.keras.layers.Layer):
    """What the ranker asks of every way of sharing.

    separate_inputs  every task has embeddings of its own
    has_experts      the constructor takes `experts`, too
    sample_space     "own": a task learns on the rows where it is defined; "product": post-click
                     tasks learn as pCTR * pCVR on every impression (ESMM); "marginal": they predict
                     P(click and conversion) itself, on every impression (AITM)
    """

    separate_inputs = False
    has_experts = False
    sample_space = "own"

    def connections(self, task: int) -> Connections:
        """Kernels with the task's masks; none where nothing is masked."""
        return []


class SharedBottom(Sharing):
    """Hard sharing: one MLP, the same representation for every task (MMoE paper, section 3.1)."""

    def __init__(self, tasks: int, hidden: Sequence[int], dropout: float = 0.0):
        super().__init__(name="shared_bottom")
        self.count, self.mlp = tasks, MaskedMLP(hidden, 0, dropout)

    def call(self, xs, training: bool = False):
        """xs: one shared input; returns the same tensor once per task."""
        return [self.mlp(xs[0], training=training)] * self.count


class SingleTask(Sharing):
    """No sharing at all: every task has its own MLP and, in the ranker, its own embeddings.

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


class ConnectionSharing(Sharing):
    """NCS4CVR: one MLP, of which every task uses the connections of its own ticket."""

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
