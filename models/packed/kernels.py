"""The tasks' kernels as they lie in memory, and products with them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tensorflow as tf

from ncs4cvr.models.packed.asset import Layout
from ncs4cvr.models.packed.places import Places

if TYPE_CHECKING:
    from ncs4cvr.models.packed.resources import Slot

GATHERED = 256  # rows of inputs that are brought together at once: they stay in cache


@dataclass(frozen=True)
class Kernels:
    """Reads what a request needs, where it needs it.

    Every segment has variables of its own: TensorFlow copies a slice of a variable with every
    request, unless it begins and ends at multiples of 64 bytes.

    Attributes:
      layout, at: what the asset holds, and what of it is in memory.
      slots: the variables, by name.
    """

    layout: Layout
    at: Places
    slots: Mapping[str, Slot]

    def dense(self, task: int, layer: int, piece: int | None = None) -> tf.Tensor:
        """A layer's masked kernel [inputs, outputs], or a piece of it, typed as it is kept."""
        kernel = self.slots[f"matrix.{task}.{layer}"].read()
        numbers = self.layout.uses[task][layer]
        if piece is None or len(numbers) == 1:
            return kernel
        split = self.layout.pieces[numbers[0]].inputs
        return kernel[split:] if piece else kernel[:split]

    def bias(self, task: int, layer: int) -> tf.Tensor:
        """A layer's bias, [outputs]."""
        return self.slots[f"bias.{self.layout.biases[task][layer]}"].read()

    def columns(self, rows: tf.Tensor) -> tf.Tensor:
        """[batch, inputs] -> what `sparse` takes: [inputs, batch]; with blocks, a row of ones more.

        There the biases are weights of this last input: adding them apart would take a pass over
        all hidden units, which is much where few connections are left.
        """
        turned = tf.transpose(rows)
        return tf.concat([turned, tf.ones([1, tf.shape(rows)[0]])], 0) if self._blocks else turned

    def turned_back(self, columns: tf.Tensor) -> tf.Tensor:
        """The reverse: [batch, outputs] of what `sparse` makes."""
        return tf.transpose(columns[:-1] if self._blocks else columns)

    def sparse(self, task: int, layer: int, columns: Sequence[tf.Tensor]) -> tf.Tensor:
        """relu(W' x + b): a hidden layer as columns; with blocks, a row of ones more.

        Args:
          task, layer: whose kernel.
          columns: [inputs, batch] of each of its pieces, from `columns` or from here.
        """
        numbers = self.layout.uses[task][layer]
        pieces = zip(numbers, columns, strict=True)
        if self._blocks:
            parts = [self._block_product(task, n, x, float(n == numbers[-1])) for n, x in pieces]
            return tf.nn.relu(functools.reduce(tf.add, parts))
        summed = functools.reduce(tf.add, [self._product(task, n, x) for n, x in pieces])
        # Outputs as channels: faster than adding [outputs, 1] by broadcasting.
        summed, bias = tf.expand_dims(summed, 0), self.bias(task, layer)
        return tf.nn.relu(tf.squeeze(tf.nn.bias_add(summed, bias, data_format="NCW"), [0]))

    @property
    def _blocks(self) -> bool:
        return self.layout.block > 1

    def _product(self, task: int, number: int, x: tf.Tensor) -> tf.Tensor:
        """W' x of a piece: x [inputs, batch] -> [outputs, batch]."""
        piece, segment = self.layout.pieces[number], task * len(self.layout.pieces) + number
        if not sum(self.at.sparse[segment]):
            return tf.zeros([piece.outputs, tf.shape(x)[1]])
        return tf.raw_ops.SparseTensorDenseMatMul(
            a_indices=self.slots[f"indices.{segment}"].read(),
            a_values=self.slots[f"values.{segment}"].read(),
            a_shape=tf.constant([piece.outputs, piece.inputs], tf.int64),
            b=x,
        )

    def _block_product(self, task: int, number: int, x: tf.Tensor, further: float) -> tf.Tensor:
        """W' x of a piece, as many small dense products as groups of outputs.

        Each is with the inputs that it keeps. `further` fills a row more of the result.
        """
        segment, block, start = task * len(self.layout.pieces) + number, self.layout.block, 0
        kept = self.at.sparse[segment]
        values, indices = (
            self.slots[f"{what}.{segment}"].read() if sum(kept) else None
            for what in ("values", "indices")
        )
        made = []
        for together in _joined(kept):
            count = sum(together)
            rows = tf.gather(x, tf.slice(indices, [start], [count])) if count else None
            at = 0
            for n in together:
                if not n:
                    made.append(tf.zeros([block, tf.shape(x)[1]]))
                    continue
                flat = tf.slice(values, [start * block], [n * block])
                mine = rows if n == count else tf.slice(rows, [at, 0], [n, -1])
                made.append(tf.matmul(tf.reshape(flat, [block, n]), mine))
                start, at = start + n, at + n
        made.append(tf.fill([1, tf.shape(x)[1]], further))
        return tf.concat(made, axis=0)


def _joined(kept: Sequence[int]) -> list[list[int]]:
    """Cuts groups into such as read their inputs by one gather: few operations, little memory."""
    cut: list[list[int]] = []
    for n in kept:
        if not cut or sum(cut[-1]) + n > GATHERED:
            cut.append([])
        cut[-1].append(n)
    return cut
