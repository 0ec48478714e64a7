"""What a packed model holds in memory of its tasks' layers: sparse entries, dense matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ncs4cvr.models.packed.asset import Layout


@dataclass(frozen=True)
class Places:
    """What is held, one after another; decoding and products go by it.

    A segment is what a task keeps of a piece of a kernel: number task * pieces + piece.

    Attributes:
      sparse: segment -> blocks of B connections in each of its groups of outputs; with blocks, a
        layer's last piece has one more in each group, the bias.
      dense: (task, layer) -> segments of its matrix, one above the other.
      biases: first number of a layer's biases -> how many there are.
    """

    sparse: dict[int, tuple[int, ...]]
    dense: dict[tuple[int, int], tuple[int, ...]]
    biases: dict[int, int]


def places(layout: Layout, sparse: Sequence[int], dense: Sequence[int]) -> Places:
    """Lays out what is needed: the given layers as sparse entries, as dense matrices, or both.

    Raises:
      ValueError: they are more than 32-bit indices can tell apart.
    """
    entries: dict[int, tuple[int, ...]] = {}
    matrices: dict[tuple[int, int], tuple[int, ...]] = {}
    biases: dict[int, int] = {}
    for task, tower in enumerate(layout.uses):
        first = task * len(layout.pieces)
        for layer, numbers in enumerate(tower):
            biases[layout.biases[task][layer]] = layout.pieces[numbers[0]].outputs
            if layer in dense:
                matrices[task, layer] = tuple(first + p for p in numbers)
            if layer in sparse:
                for p in numbers:
                    more = layout.block > 1 and p == numbers[-1]
                    entries[first + p] = tuple(n + more for n in layout.pieces[p].kept[task])
    pieces = layout.pieces
    cells = [pieces[s % len(pieces)] for segments in matrices.values() for s in segments]
    largest = max(
        sum(map(sum, entries.values())) * max(layout.block, 2),
        sum(p.inputs * p.outputs for p in cells),
        sum(p.inputs * p.outputs for p in pieces),
        *(rows * width for rows, width in layout.tables),  # decompressed at once, a byte of each
    )
    if largest >= 2**31:
        raise ValueError(f"{largest:,} weights are more than a packed model can index (2^31)")
    return Places(entries, matrices, dict(sorted(biases.items())))
