"""Sparse or dense? Asked of the machine that exports."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ncs4cvr.models.packed.asset import Layout

CLOCK = "ncs4cvr.models.packed.clock"
#: The code that computes; timings of another are not taken.
COMPUTING = [Path(__file__).with_name(name) for name in ("kernels.py", "towers.py")]
CLEAR = 1.03
MOST_WAYS = 3


def timings(
    path: str,
    layout: Layout,
    widths: Sequence[Sequence[int]],
    shared: bool,
    known: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What the ways to compute an asset take, from a process of one thread: see clock.py.

    A server's threads are busy with other requests, while here TensorFlow would spread a small
    product over all cores, which would look faster than it is there.

    Args:
      path: of the asset.
      layout: its.
      widths: [task] -> widths of the parts of its inputs.
      shared: the tasks have the same inputs.
      known: timings of an earlier model; taken where they are of as many connections in the same
        places, on the same kind of machine.

    Raises:
      RuntimeError: the process failed; the message is its own.
    """
    told = [layout.weights, layout.block, layout.pieces, layout.uses, widths, shared]
    told += [tf.__version__, _processor(), *(each.read_text() for each in COMPUTING)]
    of = hashlib.sha256(json.dumps(told, default=dataclasses.asdict).encode()).hexdigest()[:16]
    if known and known.get("of") == of:
        return {key: known[key] for key in ("of", "batches", "ms", "switch_ms")}
    asked = json.dumps({"path": path, "widths": widths, "shared": shared})
    done = subprocess.run(  # noqa: S603  # nosec B603
        [sys.executable, "-m", CLOCK],
        input=asked,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(
            f"cannot time the export's ways to compute ({CLOCK} ended with {done.returncode}; "
            f"compute=sparse or compute=dense does without):\n{done.stderr[-2000:]}"
        )
    return {"of": of, **json.loads(done.stdout.splitlines()[-1])}


def _processor() -> str:
    """Its model, where the system tells."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next((line for line in lines if line.startswith("model name")), "")
    except OSError:
        return platform.machine()


def chosen(measured: dict[str, Any]) -> dict[int, int]:
    """Smallest batch -> sparse layers, for `Towers`: as few ways as do.

    One way for all batches, or two or three, each for a range of them. What counts is how many
    times longer than by the fastest way requests take, as a geometric mean over the batches that
    were measured; two and three pay for the switch between them with every request. Taken are the
    fewest whose mean is at most `CLEAR` times the best: each costs bytes of graph. Ranges meet at
    the geometric mean of two batches that were measured.
    """
    batches, table = measured["batches"], np.array(measured["ms"])
    fastest = table.min(axis=1, keepdims=True)  # [batch, way]
    best: list[tuple[float, list[tuple[int, int]]]] = []  # of one way, of two, ...
    for count in range(min(MOST_WAYS, len(batches))):
        longer = np.log((table + (measured["switch_ms"] if count else 0)) / fastest)
        tried = []
        for cuts in itertools.combinations(range(1, len(batches)), count):
            edges = [0, *cuts, len(batches)]
            sums = [longer[a:b].sum(axis=0) for a, b in itertools.pairwise(edges)]
            ways = [int(each.argmin()) for each in sums]
            cost = sum(float(each.min()) for each in sums) / len(batches)
            tried.append((cost, list(zip(edges[:-1], ways, strict=True))))
        best.append(min(tried))
    bound = min(cost for cost, _ in best) + np.log(CLEAR)
    ranges = next(ranges for cost, ranges in best if cost <= bound)
    return {
        round((batches[first - 1] * batches[first]) ** 0.5) if first else 0: way
        for first, way in ranges
    }
