"""What each way to compute takes on this machine: a process of its own.

echo '{"path": ..., "widths": [[...]], "shared": true}' | python -m ncs4cvr.models.packed.clock
"""

from __future__ import annotations

import itertools
import json
import os
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
ROUNDS = 8
#: A busy server's request has one, an idle one's several.
THREADS = (1, 2) if (os.cpu_count() or 1) > 1 else (1,)
FIRST_TURNS, HOPELESS = 3, 1.5  # after so many turns, who takes so many times the fastest is out
NEVER = 2**30  # a batch that no request has


def measured(
    path: str,
    widths: Sequence[Sequence[int]],
    shared: bool,
    rounds: int = ROUNDS,
    threads: Sequence[int] = THREADS,
) -> dict[str, Any]:
    """Milliseconds of an asset's towers by threads, batch size and number of sparse layers.

    They are computed from a SavedModel in a session, as TF Serving does: TensorFlow optimizes a
    graph there as it does nowhere else. All ways take turns at every batch size, and the fastest
    run of each counts: what else the machine does makes a run slower, never faster.

    Args:
      path: of the asset.
      widths: [task] -> widths of the parts of its inputs.
      shared: the tasks have the same inputs.
      rounds: turns of every way.
      threads: of each session, within and between operations.

    Returns:
      {"threads": [...], "batches": [...], "ms": [threads][batch][sparse layers, from 0],
      "switch_ms": [threads], what a choice between no and all sparse layers adds to a request}
    """
    with open(path, "rb") as blob:
        layout = asset.read(blob.read())
    layers = range(len(layout.uses[0]))
    weights = Weights(path, layout, layers, layers)
    widths = widths[:1] if shared else widths
    none, all_ = 0, len(layers)
    switched = [{0: none, NEVER: all_}, {0: all_, NEVER: none}]
    choices = [*({0: k} for k in range(all_ + 1)), *switched]
    tables, switches = [], []
    with tempfile.TemporaryDirectory() as folder:
        _save([Towers(weights, choice) for choice in choices], widths, folder)
        for count in threads:
            set_, (*ways, none_switched, all_switched) = _loaded(folder, count)
            table = []
            for batch, requests in REQUESTS.items():
                set_(*_inputs(widths, batch))
                seconds = _fastest(ways, requests, rounds)
                table.append([round(1e3 * each, 4) for each in seconds])
            tables.append(table)
            # A switch shows best where a request takes least: the nodes of all ways are visited.
            batch, requests = next(iter(REQUESTS.items()))
            set_(*_inputs(widths, batch))
            pairs = [ways[none], ways[all_], none_switched, all_switched]
            *alone, one, other = _fastest(pairs, requests, 2 * rounds)
            switches.append(round(1e3 * max(min(one, other) - min(alone), 0.0), 4))
    told = {"threads": list(threads), "batches": list(REQUESTS)}
    return {**told, "ms": tables, "switch_ms": switches}


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


def _save(towers: Sequence[Towers], widths: Sequence[Sequence[int]], folder: str) -> None:
    """A SavedModel: a signature "set" sets the inputs, "way00" and so on compute.

    The inputs are variables, so that a call brings nothing in.
    """
    module = tf.Module()
    module.towers = towers
    parts = [f"part{k:02}" for k in range(sum(map(len, widths)))]
    specs = [
        tf.TensorSpec([None, width], name=name)
        for width, name in zip(itertools.chain(*widths), parts, strict=True)
    ]
    module.inputs = [tf.Variable(tf.zeros([1, s.shape[1]]), shape=s.shape) for s in specs]

    def setting(*given):
        for variable, value in zip(module.inputs, given, strict=True):
            variable.assign(value)
        return {"rows": tf.shape(given[0])[0]}

    def way(computed: Towers):
        def hidden():
            rest = [variable.read_value() for variable in module.inputs]
            inputs = [[rest.pop(0) for _ in parts] for parts in widths]
            made = computed(inputs * (computed.weights.tasks // len(inputs)))
            return {f"task{t}": h for t, h in enumerate(made)}

        return tf.function(hidden, autograph=False).get_concrete_function()

    signatures = {f"way{k:02}": way(each) for k, each in enumerate(towers)}
    signatures["set"] = tf.function(setting, autograph=False).get_concrete_function(*specs)
    tf.saved_model.save(module, folder, signatures=signatures)
    slim(folder)


def _loaded(folder: str, threads: int) -> tuple[Callable, list[Callable]]:
    """What sets the inputs, and what computes each way, in a session that has loaded the model.

    No output is fetched: a call brings nothing out.
    """
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=threads,
        inter_op_parallelism_threads=threads,
        use_per_session_threads=True,
    )
    session = tf.compat.v1.Session(graph=tf.Graph(), config=config)
    with session.graph.as_default():
        found = tf.compat.v1.saved_model.load(session, ["serve"], folder).signature_def
    find = session.graph.get_tensor_by_name
    ways = [
        session.make_callable([find(o.name).op for o in found[name].outputs.values()])
        for name in sorted(found)
        if name.startswith("way")
    ]
    given = [find(each.name) for _, each in sorted(found["set"].inputs.items())]
    return session.make_callable(find(found["set"].outputs["rows"].name), given), ways


if __name__ == "__main__":
    # Every session has threads of its own, within operations, too.
    os.environ["TF_OVERRIDE_GLOBAL_THREADPOOL"] = "1"
    print(json.dumps(measured(**json.load(sys.stdin))))
