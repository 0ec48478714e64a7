"""Where what a packed model holds lies in memory, in flat variables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ncs4cvr.models.packed.asset import Layout

ALIGNED = 16  # floats: slices that begin at such places of a flat variable are not copied


@dataclass(frozen=True)
class Places:
    """Where the segments of the flat variables begin: [task * pieces + piece], -1 for none.

    Attributes:
      sparse: a segment's first entry, an entry being a block of B connections; its values are
        values[B s:], its indices indices[s:], with B = 1 indices[2 s:].
      ranks: entries of all segments before it, gaps not counted.
      groups: its first group of outputs in `kept`.
      dense: a matrix's first cell in `matrices`.
      kept: entries of each group of outputs of sparse segments, one segment after another; with
        blocks, a layer's last piece has an entry more in each group, the bias.
      entries, cells: of all, gaps between segments included.
    """

    sparse: np.ndarray
    ranks: np.ndarray
    groups: np.ndarray
    dense: np.ndarray
    kept: list[int]
    entries: int
    cells: int


def places(layout: Layout, sparse: Sequence[int], dense: Sequence[int]) -> Places:
    """Lays out what is needed: the given layers as sparse entries, as dense matrices, or both."""
    count = len(layout.pieces)
    starts = {kind: np.full(len(layout.uses) * count, -1, np.int64) for kind in "srgd"}
    kept: list[int] = []
    end, rank = 0, 0
    for t, tower in enumerate(layout.uses):
        for layer in sparse:
            for p in tower[layer]:
                groups = list(layout.pieces[p].kept[t])
                if layout.block > 1 and p == tower[layer][-1]:
                    groups = [n + 1 for n in groups]
                for kind, start in (("s", end), ("r", rank), ("g", len(kept))):
                    starts[kind][t * count + p] = start
                kept += groups
                entries = sum(groups)
                end += -(-entries // ALIGNED) * ALIGNED
                rank += entries
    entries, end = end, 0
    for t, tower in enumerate(layout.uses):
        for layer in dense:
            for p in tower[layer]:  # pieces of one kernel side by side: together they are one
                starts["d"][t * count + p] = end
                end += layout.pieces[p].inputs * layout.pieces[p].outputs
            end += -end % ALIGNED
    numbers = entries * max(layout.block, 2)  # of values, of indices
    largest = max(end, numbers, sum(p.inputs * p.outputs for p in layout.pieces))
    if largest >= 2**31:
        raise ValueError(f"{largest:,} weights are more than a packed model can index (2^31)")
    return Places(starts["s"], starts["r"], starts["g"], starts["d"], kept, entries, end)
