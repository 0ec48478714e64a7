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
ALIKE, GUARD, CLEAR = 1.03, 10, 0.01
MOST_WAYS = 3


def timings(
    path: str,
    layout: Layout,
    widths: Sequence[Sequence[int]],
    shared: bool,
    known: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What the ways to compute an asset take, as a process of its own tells: see clock.py.

    A busy server's threads have other requests to do, an idle one's share one: both are timed, as
    two threads split a dense product, while of sparse ones only the tasks' go side by side.

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
        return {key: known[key] for key in ("of", "threads", "batches", "ms", "switch_ms")}
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


def chosen(measured: Mapping[str, Any]) -> dict[int, int]:
    """Smallest batch -> sparse layers, for `Towers`: as few ways as do.

    One way for all batches, or two or three, each for a range of them; ranges meet at the geometric
    mean of two batches that were measured, and with every request pay for the switch. A choice
    costs, on average over batches and numbers of threads,

        log(ms / fastest way's) + 10 max(0, log(ms / (1.03 min(all dense, all sparse)'s)))

    so that it is hardly ever slower than what could have been asked for by hand. Taken are the
    fewest ways that cost at most `CLEAR` more than the best: each costs bytes of graph.
    """
    batches, table = measured["batches"], np.array(measured["ms"])  # [thread, batch, way]
    fastest, by_hand = table.min(axis=2), table[:, :, [0, -1]].min(axis=2)
    found: list[tuple[float, dict[int, int]]] = []  # of one way, of two, ...
    for count in range(1, min(MOST_WAYS, *table.shape[1:]) + 1):
        switch = np.array(measured["switch_ms"])[:, None] * (count > 1)
        tried = []
        for starts in itertools.combinations(range(1, len(batches)), count - 1):
            lengths = np.diff([0, *starts, len(batches)])
            for ways in itertools.permutations(range(table.shape[2]), count):
                ms = table[:, range(len(batches)), np.repeat(ways, lengths)] + switch
                slower = np.maximum(np.log(ms / (ALIKE * by_hand)), 0)
                cost = float((np.log(ms / fastest) + GUARD * slower).mean())
                tried.append((cost, dict(zip((0, *starts), ways, strict=True))))
        found.append(min(tried, key=lambda each: each[0]))
    bound = min(cost for cost, _ in found) + CLEAR
    ranges = next(ranges for cost, ranges in found if cost <= bound)
    return {
        round((batches[start - 1] * batches[start]) ** 0.5) if start else 0: way
        for start, way in ranges.items()
    }
