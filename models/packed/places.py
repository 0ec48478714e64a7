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
      sparse: a segment's first entry; its values are values[s:], its indices indices[2 s:].
      ranks: entries of all segments before it, gaps not counted.
      dense: a matrix's first cell in `matrices`.
      entries, cells: lengths of `values` and `matrices`, gaps between segments included.
    """

    sparse: np.ndarray
    ranks: np.ndarray
    dense: np.ndarray
    entries: int
    cells: int


def places(layout: Layout, sparse: Sequence[int], dense: Sequence[int]) -> Places:
    """Lays out what is needed: the given layers as sparse entries, as dense matrices, or both."""
    count = len(layout.pieces)
    starts = {kind: np.full(len(layout.uses) * count, -1, np.int64) for kind in "srd"}
    end, rank = 0, 0
    for t, tower in enumerate(layout.uses):
        for layer in sparse:
            for p in tower[layer]:
                entries = layout.pieces[p].counts[t]
                starts["s"][t * count + p], starts["r"][t * count + p] = end, rank
                end += -(-entries // ALIGNED) * ALIGNED
                rank += entries
    entries, end = end, 0
    for t, tower in enumerate(layout.uses):
        for layer in dense:
            for p in tower[layer]:  # pieces of one kernel side by side: together they are one
                starts["d"][t * count + p] = end
                end += layout.pieces[p].inputs * layout.pieces[p].outputs
            end += -end % ALIGNED
    largest = max(end, 2 * entries, sum(p.inputs * p.outputs for p in layout.pieces))
    if largest >= 2**31:
        raise ValueError(f"{largest:,} weights are more than a packed model can index (2^31)")
    return Places(starts["s"], starts["r"], starts["d"], entries, end)
