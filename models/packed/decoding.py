"""The asset's bytes -> tensors, in stock ops: what the model's initialiser does once, at load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ncs4cvr.models.packed.asset import Layout
from ncs4cvr.models.packed.coding import ESCAPE
from ncs4cvr.models.packed.places import Places

TILE = (64, 32)  # outputs x inputs whose connections lie together: what they read stays in cache


@dataclass(frozen=True)
class Blocks:
    """Every block of connections that a task keeps, task by task in the stream's order.

    Attributes:
      piece: the number of its piece of a kernel.
      segment: task * pieces + piece.
      output, input: where in the piece; of its first connection. A bias has no input, it counts
        as a connection to a further one, which is always 1.
      values: its weights, [blocks, B].
    """

    piece: tf.Tensor
    segment: tf.Tensor
    output: tf.Tensor
    input: tf.Tensor
    values: tf.Tensor

    def chosen(self, which: tf.Tensor) -> Blocks:
        """Those of these numbers, in their order."""
        all_ = (self.piece, self.segment, self.output, self.input, self.values)
        return Blocks(*(tf.gather(each, which) for each in all_))


def layers(blob: tf.Tensor, layout: Layout, at: Places, kind: tf.DType) -> dict[str, tf.Tensor]:
    """All that is held of the layers, by name; what has no element is left out.

    Args:
      blob: the asset's bytes.
      layout, at: what it holds, and what of it is wanted.
      kind: of its values.
    """
    biases = numbers(blob, layout, "bias", tf.float32)
    parts = tf.split(biases, list(at.biases.values()))
    made = {f"bias.{first}": part for first, part in zip(at.biases, parts, strict=True)}
    found = blocks(blob, layout, kind)
    if at.sparse:
        entries = with_biases(found, layout, at, biases) if layout.block > 1 else found
        for segment, part in zip(at.sparse, sparse(entries, layout, at), strict=True):
            if sum(at.sparse[segment]):
                made[f"values.{segment}"], made[f"indices.{segment}"] = part
    if at.dense:
        for (task, layer), part in zip(at.dense, dense(found, layout, at), strict=True):
            made[f"matrix.{task}.{layer}"] = tf.cast(part, kind)
    return made


def blocks(blob: tf.Tensor, layout: Layout, kind: tf.DType) -> Blocks:
    """All tasks' blocks of an asset whose values are of that type."""
    tasks, pieces = len(layout.uses), layout.pieces
    codes = tf.cast(_part(blob, layout, "gaps"), tf.int32)
    names_one = codes < ESCAPE
    found = tf.boolean_mask(tf.cumsum(codes + tf.cast(names_one, tf.int32)) - 1, names_one)
    bits = numbers(blob, layout, "value", tf.uint32 if kind.size == 4 else tf.uint16)
    sign = tf.bitwise.left_shift(bits, tf.constant(8 * kind.size - 1, bits.dtype))
    bits = tf.bitwise.bitwise_or(tf.bitwise.right_shift(bits, tf.constant(1, bits.dtype)), sign)
    values = tf.cast(tf.bitcast(bits, kind), tf.float32)
    # [task, kept block] -> one entry for every block of every task, task by task.
    keeps = [_bits(blob, layout, t, tf.size(found)) for t in range(tasks - 1)]
    told = tf.reduce_any(tf.stack([tf.zeros_like(found, tf.bool), *keeps]), axis=0)
    where = tf.where(told)
    last = tf.cast(_bits(blob, layout, tasks - 1, tf.size(where)), tf.int32)
    last = tf.scatter_nd(where, last, tf.shape(found, tf.int64)) > 0
    keeps.append(last | ~told)
    task, kept = tf.unstack(tf.cast(tf.where(tf.stack(keeps)), tf.int32), num=2, axis=1)
    block = tf.gather(found, kept)
    # Which piece it lies in, and where there: all pieces at once, to keep the graph small.
    firsts = tf.constant([p.first for p in pieces], tf.int32)
    piece = tf.searchsorted(firsts, block, side="right") - 1
    inputs = _looked_up([p.inputs for p in pieces], piece)
    block -= tf.gather(firsts, piece)
    return Blocks(
        piece,
        task * len(pieces) + piece,
        block // inputs * layout.block,
        block % inputs,
        tf.gather(tf.reshape(values, [-1, layout.block]), kept),
    )


def with_biases(found: Blocks, layout: Layout, at: Places, biases: tf.Tensor) -> Blocks:
    """Adds the sparse layers' biases, as far as Places has them among the entries."""
    where = [
        (p, t * len(layout.pieces) + p, output, layout.pieces[p].inputs, first + output)
        for t, tower in enumerate(layout.uses)
        for (*_, p), first in zip(tower, layout.biases[t], strict=True)
        for output in range(0, layout.pieces[p].outputs, layout.block)
        if t * len(layout.pieces) + p in at.sparse
    ]
    piece, segment, output, input_, first = tf.unstack(tf.constant(where, tf.int32), axis=1)
    values = tf.gather(biases, first[:, None] + tf.range(layout.block))
    more = (piece, segment, output, input_, values)
    all_ = (found.piece, found.segment, found.output, found.input, found.values)
    return Blocks(*(tf.concat(both, axis=0) for both in zip(all_, more, strict=True)))


def sparse(found: Blocks, layout: Layout, at: Places) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
    """The entries of every segment of `at.sparse`.

    Yields:
      Single connections: values [entries] and their (output, input), [entries, 2].
      Blocks: values [entries * B], each group of outputs as a matrix [B, its blocks]; and the
      blocks' inputs, [entries].
    """
    f = found.chosen(tf.where(_of_segment(dict.fromkeys(at.sparse, 1), layout, found) > 0)[:, 0])
    order = _tile_key if layout.block == 1 else _group_key
    f = f.chosen(tf.argsort(order(f.segment, f.output, f.input, layout)))
    counts = np.array([sum(groups) for groups in at.sparse.values()])
    if layout.block == 1:
        values, indices = f.values[:, 0], tf.stack([f.output, f.input], axis=1)
    else:
        # Groups of outputs, of all segments one after another: blocks in each, and before it.
        kept = [n for groups in at.sparse.values() for n in groups]
        groups = np.cumsum([0, *(len(groups) for groups in at.sparse.values())])
        first = dict(zip(at.sparse, groups.tolist(), strict=False))
        group = _of_segment(first, layout, f) + f.output // layout.block
        before = tf.gather(tf.cumsum(tf.constant(kept, tf.int32), exclusive=True), group)
        start = before * layout.block + tf.range(tf.size(group)) - before
        place = start[:, None] + tf.range(layout.block) * _looked_up(kept, group)[:, None]
        size = int(counts.sum()) * layout.block
        values, indices = tf.scatter_nd(place[..., None], f.values, [size]), f.input
    parts = tf.split(values, counts * layout.block), tf.split(indices, counts)
    yield from zip(*parts, strict=True)


def dense(found: Blocks, layout: Layout, at: Places) -> list[tf.Tensor]:
    """The cells of every matrix of `at.dense`, input by input; 0 where a task keeps nothing."""
    segments = [s for each in at.dense.values() for s in each]
    pieces = [layout.pieces[s % len(layout.pieces)] for s in segments]
    ends = np.cumsum([0, *(p.inputs * p.outputs for p in pieces)])
    starts = dict(zip(segments, ends.tolist(), strict=False))
    f = found.chosen(tf.where(_of_segment(starts, layout, found) >= 0)[:, 0])
    outputs = _looked_up([p.outputs for p in layout.pieces], f.piece)
    place = _of_segment(starts, layout, f) + f.input * outputs + f.output
    place = place[:, None] + tf.range(layout.block)
    cells = tf.scatter_nd(place[..., None], f.values, [int(ends[-1])])
    first = [starts[each[0]] for each in at.dense.values()]
    return tf.split(cells, np.diff([*first, ends[-1]]))


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


def _of_segment(numbers: Mapping[int, int], layout: Layout, blocks: Blocks) -> tf.Tensor:
    """The number of each block's segment; -1 where it has none."""
    count = len(layout.uses) * len(layout.pieces)
    return _looked_up([numbers.get(segment, -1) for segment in range(count)], blocks.segment)


def _looked_up(table: Sequence[int] | np.ndarray, which: tf.Tensor) -> tf.Tensor:
    return tf.gather(tf.constant(np.asarray(table, np.int32)), which)


def _group_key(segment: tf.Tensor, out: tf.Tensor, in_: tf.Tensor, layout: Layout) -> tf.Tensor:
    """Orders blocks by segment, then group by group."""
    outputs = max(p.outputs for p in layout.pieces)
    inputs = max(p.inputs for p in layout.pieces) + 1  # the bias's
    key = tf.cast(segment, tf.int64) * outputs + tf.cast(out, tf.int64)
    return key * inputs + tf.cast(in_, tf.int64)


def _tile_key(segment: tf.Tensor, out: tf.Tensor, in_: tf.Tensor, layout: Layout) -> tf.Tensor:
    """Orders entries by segment, then tile by tile."""
    high, wide = TILE
    down = max(-(-p.outputs // high) for p in layout.pieces)
    across = max(-(-p.inputs // wide) for p in layout.pieces)
    tile = (tf.cast(segment, tf.int64) * down + tf.cast(out // high, tf.int64)) * across
    tile += tf.cast(in_ // wide, tf.int64)
    return (tile * high + tf.cast(out % high, tf.int64)) * wide + tf.cast(in_ % wide, tf.int64)
