"""Sharing between towers: ESMM, Cross-Stitch, AITM and SNR."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import tensorflow as tf

from ncs4cvr.models.layers.dense import MaskedMLP
from ncs4cvr.models.layers.sharing import Sharing


class EntireSpace(Sharing):
    """ESMM: common embeddings, a tower a task, conversions learned on every impression.

    L = l(click, pCTR) + l(click and conversion, pCTR * pCVR)   (Ma et al., SIGIR 2018, eq. 1 and 3)
    The losses are the ranker's: see `sample_space`.
    """

    sample_space = "product"

    def __init__(self, tasks: int, hidden: Sequence[int], dropout: float = 0.0):
        super().__init__(name="esmm")
        self.mlps = [MaskedMLP(hidden, 0, dropout, name=f"mlp_{t}") for t in range(tasks)]

    def call(self, xs, training: bool = False):
        """xs: one input per task (the same tensor), each through its own tower."""
        return [mlp(x, training=training) for mlp, x in zip(self.mlps, xs, strict=True)]


class CrossStitch(Sharing):
    """A tower a task; after every layer each task takes a learned mix of all tasks' activations.

    h_k = sum_j a_kj h_j, one matrix a a layer             (Misra et al., CVPR 2016, eq. 1)
    It starts with .9 on the task itself and the rest spread evenly, as the paper advises.
    """

    OWN = 0.9

    def __init__(self, tasks: int, hidden: Sequence[int], dropout: float = 0.0):
        super().__init__(name="cross_stitch")
        self.layers_ = [
            [MaskedMLP([size], 0, dropout, name=f"layer_{t}_{i}") for t in range(tasks)]
            for i, size in enumerate(hidden)
        ]

    def build(self, _):
        """Adds one [tasks, tasks] matrix a layer."""
        tasks = len(self.layers_[0])
        start = tf.fill([tasks, tasks], (1 - self.OWN) / max(tasks - 1, 1))
        start = tf.linalg.set_diag(start, tf.fill([tasks], self.OWN if tasks > 1 else 1.0))
        start = tf.keras.initializers.Constant(start.numpy())
        self.mixes = [
            self.add_weight(f"mix_{i}", (tasks, tasks), initializer=start)
            for i in range(len(self.layers_))
        ]

    def call(self, xs, training: bool = False):
        """xs: one input per task (the same tensor)."""
        for layers, mix in zip(self.layers_, self.mixes, strict=True):
            hs = [layer(x, training=training) for layer, x in zip(layers, xs, strict=True)]
            xs = tf.unstack(tf.einsum("kj,jbd->kbd", mix, tf.stack(hs)), num=len(hs))
        return list(xs)


class AdaptiveTransfer(Sharing):
    """AITM: a tower a task, and every task attends to what the one before it hands on.

    z_t = sum_u w_u h1(u) over u in {p_{t-1}, q_t},  w = softmax(<h2(u), h3(u)> / sqrt(d)),
    p_{t-1} = relu(z_{t-1} P),  q_t the tower's output, z_1 = q_1       (Xi et al., KDD 2021, eq. 4
    to 7). It predicts P(click and conversion); the ranker adds the label constraint (eq. 9).
    """

    sample_space = "marginal"

    def __init__(self, tasks: int, hidden: Sequence[int], dropout: float = 0.0):
        super().__init__(name="aitm")
        self.size = hidden[-1]
        self.mlps = [MaskedMLP(hidden, 0, dropout, name=f"mlp_{t}") for t in range(tasks)]
        self.handed = [MaskedMLP([self.size], 0, name=f"info_{t}") for t in range(tasks - 1)]
        self.attention = [
            [tf.keras.layers.Dense(self.size, name=f"h{i}_{t}") for i in (1, 2, 3)]
            for t in range(1, tasks)
        ]

    def call(self, xs, training: bool = False):
        """xs: one input per task (the same tensor), in the order in which tasks depend."""
        qs = [mlp(x, training=training) for mlp, x in zip(self.mlps, xs, strict=True)]
        zs = [qs[0]]
        for q, info, (h1, h2, h3) in zip(qs[1:], self.handed, self.attention, strict=True):
            both = tf.stack([info(zs[-1]), q], axis=1)  # [batch, 2, d]
            fit = tf.reduce_sum(h2(both) * h3(both), -1) / math.sqrt(self.size)
            zs.append(tf.reduce_sum(tf.nn.softmax(fit)[..., None] * h1(both), axis=1))
        return zs


class SubNetworkRouting(Sharing):
    """SNR-Trans: sub-networks in every level, each connection between them open or closed.

    v_i = relu(sum_j z_ij u_j W_ij + b_i) from level to level; a task's output is the same sum over
    the last level. In training z is hard-concrete, s = sigmoid((log u - log(1-u) + a) / BETA),
    z = clip(s (ZETA - GAMMA) + GAMMA, 0, 1), u uniform; in serving u is left out and BETA is 1.
    Its loss is sum P(z != 0) = sum sigmoid(a - BETA log(-GAMMA / ZETA)).
                       (Ma et al., AAAI 2019, eq. 4 to 8; Louizos et al., arXiv 1712.01312)

    Args:
      tasks: how many.
      hidden: size of a sub-network in each level.
      dropout: rate after each level, in training.
      experts: sub-networks in each level.
    """

    has_experts = True
    BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
    OPEN = 2.0  # log a at the start: sigmoid(2) stretched is z = .96

    def __init__(self, tasks: int, hidden: Sequence[int], dropout: float = 0.0, experts: int = 4):
        super().__init__(name="snr")
        self.counts = [experts] * len(hidden) + [tasks]
        self.hidden, self.rate = tuple(hidden), dropout

    def build(self, input_shape):
        """Adds transforms [to, from, in, out], biases and gates [to, from] of every level."""
        levels = [(1, int(input_shape[0][-1])), *zip(self.counts, [*self.hidden, self.hidden[-1]])]
        self.transforms, self.biases, self.gates = [], [], []
        for i, ((j, fan_in), (k, fan_out)) in enumerate(itertools.pairwise(levels)):
            draw = tf.keras.initializers.TruncatedNormal(stddev=(2 / (j * fan_in + fan_out)) ** 0.5)
            self.transforms.append(
                self.add_weight(f"transform_{i}", (k, j, fan_in, fan_out), initializer=draw)
            )
            self.biases.append(self.add_weight(f"bias_{i}", (k, 1, fan_out), initializer="zeros"))
            if i:  # the input goes to every sub-network of the first level
                start = tf.keras.initializers.Constant(self.OPEN)
                self.gates.append(self.add_weight(f"gate_{i}", (k, j), initializer=start))

    def call(self, xs, training: bool = False):
        """xs: one input per task (the same tensor)."""
        us = tf.nn.relu(tf.matmul(xs[0][None], self.transforms[0][:, 0]) + self.biases[0])
        for w, b, gate in zip(self.transforms[1:], self.biases[1:], self.gates, strict=True):
            us = tf.nn.dropout(us, self.rate) if training and self.rate else us
            routed = self.openings(gate, training)[..., None, None] * w
            k, j, fan_in, fan_out = routed.shape
            # Side by side, the sum over j is one product: [batch, j in] [k, j in, out].
            flat = tf.reshape(tf.transpose(us, [1, 0, 2]), [-1, j * fan_in])
            us = tf.nn.relu(tf.matmul(flat[None], tf.reshape(routed, [k, j * fan_in, fan_out])) + b)
        shift = self.BETA * math.log(-self.GAMMA / self.ZETA)
        self.add_loss(tf.add_n([tf.reduce_sum(tf.sigmoid(a - shift)) for a in self.gates]))
        return tf.unstack(us, num=self.counts[-1])

    def openings(self, gate: tf.Tensor, training: bool) -> tf.Tensor:
        """How far every connection is open: z in [0, 1], drawn anew at every training step."""
        if training:
            u = tf.random.uniform(gate.shape, 1e-6, 1 - 1e-6)
            s = tf.sigmoid((tf.math.log(u) - tf.math.log1p(-u) + gate) / self.BETA)
        else:
            s = tf.sigmoid(gate)
        return tf.clip_by_value(s * (self.ZETA - self.GAMMA) + self.GAMMA, 0, 1)
