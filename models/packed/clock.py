"""What each way to compute takes on this machine: a process of its own, with one thread.

echo '{"path": ..., "widths": [[...]], "shared": true}' | python -m ncs4cvr.models.packed.clock
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ncs4cvr.models.packed import asset
from ncs4cvr.models.packed.resources import Weights
from ncs4cvr.models.packed.towers import Towers

#: Requests that a timed call makes inside the graph, by batch size: one at a time, what Python adds
#: to a call would be more than a small request takes.
REQUESTS = {1: 128, 4: 64, 16: 32, 64: 8, 256: 2, 1024: 1}
ROUNDS = 12
FIRST_TURNS, HOPELESS = 3, 1.5  # after so many turns, who takes so many times the fastest is out
NEVER = 2**30  # a batch that no request has


def measured(
    path: str, widths: Sequence[Sequence[int]], shared: bool, rounds: int = ROUNDS
) -> dict[str, Any]:
    """Milliseconds of an asset's towers by batch size and number of sparse layers.

    All ways take turns at every batch size, and the fastest run of each counts: what else the
    machine does makes a run slower, never faster.

    Args:
      path: of the asset.
      widths: [task] -> widths of the parts of its inputs.
      shared: the tasks have the same inputs.
      rounds: turns of every way.

    Returns:
      {"batches": [...], "ms": [[one of each number of sparse layers from 0] a batch],
      "switch_ms": what a choice between ways adds to a request}
    """
    with open(path, "rb") as blob:
        layout = asset.read(blob.read())
    layers = range(len(layout.uses[0]))
    weights = Weights(path, layout, layers, layers)
    weights.load()
    widths = widths[:1] if shared else widths
    ways = range(len(layers) + 1)
    calls = [_call(Towers(weights, {0: k}), widths) for k in ways]
    table = []
    for batch, requests in REQUESTS.items():
        seconds = _fastest(calls, _inputs(widths, batch, requests), rounds)
        table.append([round(1e3 * each / requests, 4) for each in seconds])
    # A switch shows best where a request takes least. Here the ways not taken are visited, too,
    # which a saved model does not do (see slimming.py): it costs a little less than this says.
    batch, requests = next(iter(REQUESTS.items()))
    switched = _call(Towers(weights, {0: 0, NEVER: len(layers)}), widths)
    alone, both = _fastest([calls[0], switched], _inputs(widths, batch, requests), rounds)
    switch_ms = round(1e3 * max(both - alone, 0.0) / requests, 4)
    return {"batches": list(REQUESTS), "ms": table, "switch_ms": switch_ms}


def _inputs(widths: Sequence[Sequence[int]], batch: int, requests: int) -> list[tf.Tensor]:
    rng = np.random.default_rng(0)
    flat = [width for parts in widths for width in parts]
    return [tf.constant(rng.random((requests, batch, width), np.float32)) for width in flat]


def _fastest(calls: Sequence[Callable], given: Sequence[tf.Tensor], rounds: int) -> list[float]:
    """Processor seconds of each call's fastest run."""
    taken: list[list[float]] = [[] for _ in calls]
    for turn in range(rounds + 1):
        best = min((min(t) for t in taken if t), default=0.0)
        for call, mine in zip(calls, taken, strict=True):
            if turn > FIRST_TURNS and min(mine) > HOPELESS * best:
                continue
            began = time.process_time()
            call(*given).numpy()
            if turn:  # the first warms up
                mine.append(time.process_time() - began)
    return [min(t) for t in taken]


def _call(towers: Towers, widths: Sequence[Sequence[int]]) -> Callable:
    """Makes requests one after the other: inputs [requests, batch, width] -> a number."""
    specs = [tf.TensorSpec([None, None, width]) for parts in widths for width in parts]

    @tf.function(input_signature=specs, autograph=False)
    def call(*given):
        def one_more(request, total):
            rest = [inputs[request] for inputs in given]
            inputs = [[rest.pop(0) for _ in parts] for parts in widths]
            hidden = towers(inputs * (len(towers.weights.depths) // len(inputs)))
            return request + 1, total + tf.add_n([h[0, 0] for h in hidden])

        requests = tf.shape(given[0])[0]
        return tf.while_loop(
            lambda request, _: request < requests, one_more, (0, 0.0), parallel_iterations=1
        )[1]

    return call


if __name__ == "__main__":
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    print(json.dumps(measured(**json.load(sys.stdin))))
