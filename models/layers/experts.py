"""Sharing by experts that every task weighs example by example: MMoE and PLE."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from ncs4cvr.models.layers.dense import Experts
from ncs4cvr.models.layers.sharing import Sharing


def _gate(outputs: int, name: str) -> tf.keras.layers.Layer:
    return tf.keras.layers.Dense(outputs, use_bias=False, activation="softmax", name=name)


def _mixed(weights: tf.Tensor, experts: tf.Tensor) -> tf.Tensor:
    """weights [batch, n], experts [n, batch, d] -> [batch, d]."""
    return tf.reduce_sum(tf.transpose(weights)[..., None] * experts, axis=0)


class MultiGateExperts(Sharing):
    """MMoE: every task mixes common experts by a gate of its own.

    f_k(x) = sum_i g_k(x)_i e_i(x),  g_k(x) = softmax(x W_k)       (Ma et al., KDD 2018, eq. 4 to 6)

    Args:
      tasks: how many gates.
      hidden: layer sizes of each expert.
      dropout: rate after each layer, in training.
      experts: how many.
    """

    has_experts = True

    def __init__(self, tasks: int, hidden: Sequence[int], dropout: float = 0.0, experts: int = 4):
        super().__init__(name="mmoe")
        self.experts = Experts(experts, hidden, dropout)
        self.gates = [_gate(experts, f"gate_{t}") for t in range(tasks)]

    def call(self, xs, training: bool = False):
        """xs: one input per task (the same tensor)."""
        experts = self.experts(xs[0], training=training)
        return [_mixed(gate(x), experts) for gate, x in zip(self.gates, xs, strict=True)]


class ProgressiveExperts(Sharing):
    """PLE: levels of experts, some common and some a task's own.

    Level j of task k: f_k = softmax(s_k W_k) [own experts of f_k; common experts of f_s], where s_k
    is the task's output of the level below (x at first) and experts are single layers. The common
    part mixes all experts, by a gate on its own output of the level below; the last level has none.
                                                        (Tang et al., RecSys 2020, eq. 1 to 6)

    Args:
      tasks: how many.
      hidden: expert size of each level.
      dropout: rate after each expert, in training.
      experts: how many each task has of its own, and how many are common, in each level.
    """

    has_experts = True

    def __init__(self, tasks: int, hidden: Sequence[int], dropout: float = 0.0, experts: int = 2):
        super().__init__(name="ple")
        self.levels = []
        for j, size in enumerate(hidden):
            last = j == len(hidden) - 1
            own = [Experts(experts, [size], dropout, f"own_{t}_{j}") for t in range(tasks)]
            common = Experts(experts, [size], dropout, f"common_{j}")
            gates = [_gate(2 * experts, f"gate_{t}_{j}") for t in range(tasks)]
            common_gate = None if last else _gate((tasks + 1) * experts, f"common_gate_{j}")
            self.levels.append((own, common, gates, common_gate))

    def call(self, xs, training: bool = False):
        """xs: one input per task (the same tensor)."""
        states, state = list(xs), xs[0]
        for own, common, gates, common_gate in self.levels:
            mine = [e(s, training=training) for e, s in zip(own, states, strict=True)]
            ours = common(state, training=training)
            above = [
                _mixed(gate(s), tf.concat([m, ours], axis=0))
                for gate, s, m in zip(gates, states, mine, strict=True)
            ]
            if common_gate is not None:
                state = _mixed(common_gate(state), tf.concat([*mine, ours], axis=0))
            states = above
        return states
