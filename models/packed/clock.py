"""What each way to compute takes on this machine: a process of its own, with one thread.

echo '{"path": ..., "widths": [[...]], "shared": true}' | python -m ncs4cvr.models.packed.clock
"""

from __future__ import annotations

import itertools
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ncs4cvr.models.packed import asset
from ncs4cvr.models.packed.resources import Weights
from ncs4cvr.models.packed.slimming import slim
from ncs4cvr.models.packed.towers import Towers

#: Requests one after the other that are timed together, by batch size.
REQUESTS = {1: 64, 4: 48, 16: 32, 64: 8, 256: 2, 1024: 1}
ROUNDS = 12
FIRST_TURNS, HOPELESS = 3, 1.5  # after so many turns, who takes so many times the fastest is out
NEVER = 2**30  # a batch that no request has


def measured(
    path: str, widths: Sequence[Sequence[int]], shared: bool, rounds: int = ROUNDS
) -> dict[str, Any]:
    """Milliseconds of an asset's towers by batch size and number of sparse layers.

    They are computed from a SavedModel in a session, as TF Serving does: TensorFlow optimizes a
    graph there as it does nowhere else. All ways take turns at every batch size, and the fastest
    run of each counts: what else the machine does makes a run slower, never faster.

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
    widths = widths[:1] if shared else widths
    choices = [{0: k} for k in range(len(layers) + 1)] + [{0: 0, NEVER: len(layers)}]
    set_, (*ways, switched) = _calls([Towers(weights, choice) for choice in choices], widths)
    table = []
    for batch, requests in REQUESTS.items():
        set_(*_inputs(widths, batch))
        seconds = _fastest(ways, requests, rounds)
        table.append([round(1e3 * each, 4) for each in seconds])
    # A switch shows best where a request takes least: the nodes of all ways are visited.
    batch, requests = next(iter(REQUESTS.items()))
    set_(*_inputs(widths, batch))
    alone, both = _fastest([ways[0], switched], requests, rounds)
    switch_ms = round(1e3 * max(both - alone, 0.0), 4)
    return {"batches": list(REQUESTS), "ms": table, "switch_ms": switch_ms}


def _inputs(widths: Sequence[Sequence[int]], batch: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.random((batch, width), np.float32) for width in itertools.chain(*widths)]


def _fastest(calls: Sequence[Callable], requests: int, rounds: int) -> list[float]:
    """Seconds that a request takes in each call's fastest run."""
    taken: list[list[float]] = [[] for _ in calls]
    for turn in range(rounds + 1):
        best = min((min(t) for t in taken if t), default=0.0)
        for call, mine in zip(calls, taken, strict=True):
            if turn > FIRST_TURNS and min(mine) > HOPELESS * best:
                continue
            began = time.perf_counter()
            for _ in range(requests):
                call()
            if turn:  # the first warms up
                mine.append((time.perf_counter() - began) / requests)
    return [min(t) for t in taken]


def _calls(
    towers: Sequence[Towers], widths: Sequence[Sequence[int]]
) -> tuple[Callable, list[Callable]]:
    """A SavedModel that a session has loaded: what sets the inputs, what computes each.

    The inputs are variables, and no output is fetched: a call brings nothing in and nothing out.
    """
    module = tf.Module()
    module.towers = towers
    shapes = [[None, width] for parts in widths for width in parts]
    module.inputs = [tf.Variable(tf.zeros([1, width]), shape=[None, width]) for _, width in shapes]

    def setting(*given):
        for variable, value in zip(module.inputs, given, strict=True):
            variable.assign(value)
        return {"rows": tf.shape(given[0])[0]}

    def way(computed: Towers):
        def hidden():
            rest = [variable.read_value() for variable in module.inputs]
            inputs = [[rest.pop(0) for _ in parts] for parts in widths]
            made = computed(inputs * (len(computed.weights.depths) // len(inputs)))
            return {f"task{t}": h for t, h in enumerate(made)}

        return tf.function(hidden, autograph=False).get_concrete_function()

    names = [f"part{k}" for k in range(len(shapes))]
    specs = [tf.TensorSpec(s, name=n) for s, n in zip(shapes, names, strict=True)]
    signatures = {f"way{k}": way(each) for k, each in enumerate(towers)}
    set_ = tf.function(setting, autograph=False).get_concrete_function(*specs)
    session = tf.compat.v1.Session(graph=tf.Graph())
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures={**signatures, "set": set_})
        slim(folder)
        with session.graph.as_default():
            loaded = tf.compat.v1.saved_model.load(session, ["serve"], folder).signature_def
    find = session.graph.get_tensor_by_name
    ops = [[find(o.name).op for o in loaded[name].outputs.values()] for name in signatures]
    given, rows = loaded["set"].inputs, loaded["set"].outputs["rows"]
    setter = session.make_callable(find(rows.name), [find(given[name].name) for name in names])
    return setter, [session.make_callable(op) for op in ops]


if __name__ == "__main__":
    # Sessions take what the process has.
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    print(json.dumps(measured(**json.load(sys.stdin))))
