"""Sparse or dense? Asked of the machine that exports."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ncs4cvr.models.packed.towers import Towers

#: Requests that a timed call makes inside the graph, by batch size: one at a time, what Python adds
#: to a call would be more than a small request takes.
REQUESTS = {1: 128, 4: 64, 16: 32, 64: 8, 256: 2, 1024: 1}
ROUNDS = 12
CLEAR = 1.03
MOST_WAYS = 3


def timings(towers: Towers, widths: Sequence[Sequence[int]], shared: bool) -> dict[str, Any]:
    """Milliseconds of the towers by batch size and number of sparse layers.

    Processor time counts, of all threads: a server has other requests for them. All ways take turns
    at every batch size, and the fastest run of each counts: what else the machine does makes a run
    slower, never faster.

    Args:
      towers: with all layers both sparse and dense.
      widths: [task] -> widths of the parts of its inputs.
      shared: the tasks have the same inputs.

    Returns:
      {"batches": [...], "ms": [[one of each number of sparse layers from 0] a batch]}
    """
    given_widths = widths[:1] if shared else widths
    ways = range(len(towers.biases[0]) + 1)
    calls = [_call(towers, k, given_widths) for k in ways]
    rng = np.random.default_rng(0)
    table = []
    for batch, requests in REQUESTS.items():
        given = [
            tf.constant(rng.random((requests, batch, width), np.float32))
            for parts in given_widths
            for width in parts
        ]
        taken: list[list[float]] = [[] for _ in ways]
        for turn in range(ROUNDS + 1):
            for k, call in enumerate(calls):
                began = time.process_time()
                call(*given).numpy()
                if turn:  # the first warms up
                    taken[k].append((time.process_time() - began) / requests)
        table.append([round(min(t) * 1e3, 4) for t in taken])
    return {"batches": list(REQUESTS), "ms": table}


def _call(towers: Towers, sparse_layers: int, widths: Sequence[Sequence[int]]):
    """Makes requests one after the other: inputs [requests, batch, width] -> a number."""
    specs = [tf.TensorSpec([None, None, width]) for parts in widths for width in parts]

    @tf.function(input_signature=specs, autograph=False)
    def call(*given):
        way = towers.way(sparse_layers)

        def one_more(request, total):
            rest = [inputs[request] for inputs in given]
            inputs = [[rest.pop(0) for _ in parts] for parts in widths]
            hidden = way(inputs * (len(towers.biases) // len(inputs)))
            return request + 1, total + tf.add_n([h[0, 0] for h in hidden])

        requests = tf.shape(given[0])[0]
        return tf.while_loop(
            lambda request, _: request < requests, one_more, (0, 0.0), parallel_iterations=1
        )[1]

    return call


def chosen(measured: dict[str, Any]) -> dict[int, int]:
    """Smallest batch -> sparse layers, for `Towers`: as few ways as do.

    One way for all batches, else two, else three, each for a range of them: the fewest whose worst
    batch takes at most `CLEAR` times the best way's, as each costs bytes of graph; or else the best
    three. Ranges meet at the geometric mean of the batches that were measured.
    """
    batches, table = measured["batches"], np.array(measured["ms"])
    slower = table / table.min(axis=1, keepdims=True)  # [batch, way]
    best: tuple[float, list[tuple[int, int]]] = (np.inf, [])
    for count in range(min(MOST_WAYS, len(batches))):
        for cuts in itertools.combinations(range(1, len(batches)), count):
            edges = [0, *cuts, len(batches)]
            worst = [slower[a:b].max(axis=0) for a, b in itertools.pairwise(edges)]
            ways = [int(each.argmin()) for each in worst]
            cost = max(float(each.min()) for each in worst)
            if cost < best[0]:
                best = (cost, list(zip(edges[:-1], ways, strict=True)))
        if best[0] <= CLEAR:
            break
    return {
        round((batches[first - 1] * batches[first]) ** 0.5) if first else 0: way
        for first, way in best[1]
    }
