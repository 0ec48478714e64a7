"""Sparse or dense? Asked of the machine that exports."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ncs4cvr.models.packed.towers import Towers

BATCHES = (1, 4, 16, 64, 256, 1024)
ROUNDS = 15
CLEAR = 1.03


def timings(towers: Towers, widths: Sequence[Sequence[int]], shared: bool) -> dict[str, Any]:
    """Milliseconds of the towers by batch size and number of sparse layers.

    All ways take turns at every batch size, and the fastest run of each counts: what else the
    machine does makes a run slower, never faster.

    Args:
      towers: with all layers both sparse and dense.
      widths: [task] -> widths of the parts of its inputs.
      shared: the tasks have the same inputs.

    Returns:
      {"batches": [...], "ms": [[one of each number of sparse layers from 0] a batch]}
    """
    ways = range(len(towers.biases[0]) + 1)
    calls = [_call(towers, k, widths, shared) for k in ways]
    rng = np.random.default_rng(0)
    table = []
    for batch in BATCHES:
        given = [tf.constant(rng.random((batch, w), np.float32)) for w in _flat(widths, shared)]
        taken: list[list[float]] = [[] for _ in ways]
        for turn in range(ROUNDS + 1):
            for k, call in enumerate(calls):
                began = time.perf_counter()
                call(*given)[0].numpy()
                if turn:  # the first warms up
                    taken[k].append(time.perf_counter() - began)
        table.append([round(min(t) * 1e3, 4) for t in taken])
    return {"batches": list(BATCHES), "ms": table}


def _flat(widths: Sequence[Sequence[int]], shared: bool) -> list[int]:
    return [w for parts in (widths[:1] if shared else widths) for w in parts]


def _call(towers: Towers, sparse_layers: int, widths: Sequence[Sequence[int]], shared: bool):
    specs = [tf.TensorSpec([None, width]) for width in _flat(widths, shared)]

    @tf.function(input_signature=specs, autograph=False)
    def call(*given):
        rest = list(given)
        inputs = [[rest.pop(0) for _ in parts] for parts in (widths[:1] if shared else widths)]
        return towers.way(sparse_layers)(inputs * len(widths) if shared else inputs)

    return call


def chosen(measured: dict[str, Any]) -> dict[int, int]:
    """Smallest batch -> sparse layers, for `Towers`: one way for all, or two and where they change.

    The one way whose worst batch takes at most `CLEAR` times the best way's; else the two ways with
    the least worst batch. More would cost bytes of graph for little time. They change at the
    geometric mean of the batches that were measured.
    """
    batches, table = measured["batches"], np.array(measured["ms"])
    slower = table / table.min(axis=1, keepdims=True)  # [batch, way]
    one = int(slower.max(axis=0).argmin())
    if slower[:, one].max() <= CLEAR:
        return {0: one}
    ways = range(table.shape[1])
    worst = {
        (cut, small, large): max(slower[:cut, small].max(), slower[cut:, large].max())
        for cut in range(1, len(batches))
        for small, large in itertools.permutations(ways, 2)
    }
    cut, small, large = min(worst, key=worst.__getitem__)
    return {0: small, round((batches[cut - 1] * batches[cut]) ** 0.5): large}
