"""The asset's bytes -> tensors, in stock ops: what the model's initialiser does once, at load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ncs4cvr.models.packed.asset import Layout
from ncs4cvr.models.packed.coding import ESCAPE
from ncs4cvr.models.packed.places import Places

TILE = (64, 32)  # outputs x inputs whose connections lie together: what they read stays in cache


@dataclass(frozen=True)
class Connections:
    """Every connection that a task keeps, task by task and cell by cell.

    Attributes:
      piece: the number of its piece of a kernel.
      segment: task * pieces + piece.
      output, input: where in the piece.
      value: its weight.
    """

    piece: tf.Tensor
    segment: tf.Tensor
    output: tf.Tensor
    input: tf.Tensor
    value: tf.Tensor


def connections(blob: tf.Tensor, layout: Layout, kind: tf.DType) -> Connections:
    """All tasks' connections of an asset whose values are of that type."""
    tasks, pieces = len(layout.uses), layout.pieces
    codes = tf.cast(_part(blob, layout, "gaps"), tf.int32)
    names_one = codes < ESCAPE
    cells = tf.boolean_mask(tf.cumsum(codes + tf.cast(names_one, tf.int32)) - 1, names_one)
    values = tf.cast(numbers(blob, layout, "value", kind), tf.float32)
    # [task, kept cell] -> one entry for every connection of every task, task by task.
    bits = tf.stack([_bits(blob, layout, t, tf.size(cells)) for t in range(tasks)])
    task, kept = tf.unstack(tf.cast(tf.where(bits), tf.int32), num=2, axis=1)
    cell = tf.gather(cells, kept)
    # Which piece it lies in, and where there: all pieces at once, to keep the graph small.
    firsts = tf.constant([p.first for p in pieces], tf.int32)
    piece = tf.searchsorted(firsts, cell, side="right") - 1
    inputs = _looked_up([p.inputs for p in pieces], piece)
    cell -= tf.gather(firsts, piece)
    segment = task * len(pieces) + piece
    return Connections(piece, segment, cell // inputs, cell % inputs, tf.gather(values, kept))


def sparse(found: Connections, layout: Layout, at: Places) -> tuple[tf.Tensor, tf.Tensor]:
    """The flat variables of sparse layers: values [entries], (output, input) [entries, 2]."""
    chosen = tf.where(_looked_up(at.sparse, found.segment) >= 0)[:, 0]
    kept = (found.segment, found.output, found.input, found.value)
    s, o, i, v = (tf.gather(each, chosen) for each in kept)
    order = tf.argsort(_tile_key(s, o, i, layout))
    s, o, i, v = (tf.gather(each, order) for each in (s, o, i, v))
    rank = tf.range(tf.size(s)) - _looked_up(at.ranks, s)
    place = (_looked_up(at.sparse, s) + rank)[:, None]
    indices = tf.scatter_nd(place, tf.stack([o, i], axis=1), [at.entries, 2])
    return tf.scatter_nd(place, v, [at.entries]), indices


def dense(found: Connections, layout: Layout, at: Places) -> tf.Tensor:
    """The flat variable of dense layers, input by input: [cells], 0 where a task keeps nothing."""
    chosen = tf.where(_looked_up(at.dense, found.segment) >= 0)[:, 0]
    kept = (found.segment, found.output, found.input, found.piece, found.value)
    s, o, i, p, v = (tf.gather(each, chosen) for each in kept)
    place = _looked_up(at.dense, s) + i * _looked_up([p.outputs for p in layout.pieces], p) + o
    return tf.scatter_nd(place[:, None], v, [at.cells])


def numbers(blob: tf.Tensor, layout: Layout, name: str, dtype: tf.DType) -> tf.Tensor:
    """The numbers whose byte planes are parts of this name."""
    if dtype.size == 1:
        return _part(blob, layout, f"{name}.0", dtype)
    planes = [_part(blob, layout, f"{name}.{b}") for b in range(dtype.size)]
    return tf.bitcast(tf.stack(planes, axis=1), dtype)


def _part(blob: tf.Tensor, layout: Layout, name: str, dtype: tf.DType = tf.uint8) -> tf.Tensor:
    start, length = layout.parts[name]
    packed = tf.strings.substr(blob, start, length)
    return tf.io.decode_raw(tf.io.decode_compressed(packed, "ZLIB"), dtype)


def _bits(blob: tf.Tensor, layout: Layout, task: int, count: tf.Tensor) -> tf.Tensor:
    """The task's ticket over the kept cells, boolean."""
    packed = _part(blob, layout, f"ticket.{task}")[:, None]
    shifts = tf.constant([7, 6, 5, 4, 3, 2, 1, 0], tf.uint8)
    bits = tf.bitwise.bitwise_and(tf.bitwise.right_shift(packed, shifts), 1)
    return tf.cast(tf.reshape(bits, [-1])[:count], tf.bool)


def _looked_up(table: Sequence[int] | np.ndarray, which: tf.Tensor) -> tf.Tensor:
    return tf.gather(tf.constant(np.asarray(table, np.int32)), which)


def _tile_key(segment: tf.Tensor, out: tf.Tensor, in_: tf.Tensor, layout: Layout) -> tf.Tensor:
    """Orders entries by segment, then tile by tile."""
    high, wide = TILE
    down = max(-(-p.outputs // high) for p in layout.pieces)
    across = max(-(-p.inputs // wide) for p in layout.pieces)
    tile = (tf.cast(segment, tf.int64) * down + tf.cast(out // high, tf.int64)) * across
    tile += tf.cast(in_ // wide, tf.int64)
    return (tile * high + tf.cast(out % high, tf.int64)) * wide + tf.cast(in_ % wide, tf.int64)
