"""What of a packed model lies in memory, and the stock ops that put it there once, at load.

TF Serving runs a SavedModel's initialisers before the first request, with the paths of its assets;
there the asset is checked, decompressed and decoded into resource variables. Signatures read these
like any other weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from tensorflow.python.trackable.resource import TrackableResource

from ncs4cvr.models.packed.asset import Layout

ALIGNED = 16  # floats: slices that begin at such places of a flat variable are not copied
TILE = (64, 32)  # outputs x inputs whose connections lie together: what they read stays in cache
KINDS = {"f32": tf.float32, "bf16": tf.bfloat16, "int8": tf.int8}
BROKEN = (
    "ncs4cvr: the packed weights in this model's assets are not those that it was exported with: "
    "the file is cut off or altered. Copy the model again, or export it again."
)


class Slot(TrackableResource):
    """A resource variable that is filled at load and not saved.

    Args:
      name: as no other variable in the process is called; a variable of that name is the same one.
      shape: static.
      dtype: of its elements.
    """

    def __init__(self, name: str, shape: Sequence[int], dtype: tf.DType):
        super().__init__()
        self._name, self.shape, self.dtype = name, list(shape), dtype

    def _create_resource(self):
        return tf.raw_ops.VarHandleOp(dtype=self.dtype, shape=self.shape, shared_name=self._name)

    def _initialize(self):
        """The loader fills all slots at once."""

    def free(self) -> None:
        """Gives its memory back."""
        tf.raw_ops.DestroyResourceOp(resource=self.resource_handle)

    def assign(self, value: tf.Tensor) -> None:
        """Fills it."""
        tf.raw_ops.AssignVariableOp(
            resource=self.resource_handle, value=tf.reshape(value, self.shape)
        )

    def read(self) -> tf.Tensor:
        """Its value, not copied."""
        value = tf.raw_ops.ReadVariableOp(resource=self.resource_handle, dtype=self.dtype)
        value.set_shape(self.shape)
        return value


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
    if max(end, 2 * entries) > 2**31 - 1:
        raise ValueError(
            f"{max(end, 2 * entries):,} weights are more than a packed model can index (2^31)"
        )
    return Places(starts["s"], starts["r"], starts["d"], entries, end)


@dataclass(frozen=True)
class View:
    """What the flat variables hold, as kernels.

    Attributes:
      layout, places: how.
      values, indices, matrices: the variables' values; None where there is nothing of the kind.
    """

    layout: Layout
    places: Places
    values: tf.Tensor | None
    indices: tf.Tensor | None
    matrices: tf.Tensor | None

    def dense(self, task: int, layer: int, piece: int | None = None) -> tf.Tensor:
        """A layer's masked kernel [inputs, outputs], or a piece of it, typed as it is kept."""
        numbers = self.layout.uses[task][layer]
        numbers = numbers if piece is None else numbers[piece : piece + 1]
        pieces = [self.layout.pieces[p] for p in numbers]
        inputs, outputs = sum(p.inputs for p in pieces), pieces[0].outputs
        start = self.places.dense[task * len(self.layout.pieces) + numbers[0]]
        flat = tf.slice(self.matrices, [start], [inputs * outputs])
        return tf.reshape(flat, [inputs, outputs])

    def sparse_product(self, task: int, layer: int, piece: int, x: tf.Tensor) -> tf.Tensor:
        """W' x, W the piece's masked kernel: x [inputs, batch] -> [outputs, batch]."""
        number = self.layout.uses[task][layer][piece]
        shape = self.layout.pieces[number]
        count = shape.counts[task]
        if not count:  # an empty segment has no place
            return tf.zeros([shape.outputs, tf.shape(x)[1]])
        start = self.places.sparse[task * len(self.layout.pieces) + number]
        indices = tf.slice(self.indices, [2 * start], [2 * count])
        return tf.raw_ops.SparseTensorDenseMatMul(
            a_indices=tf.reshape(indices, [count, 2]),
            a_values=tf.slice(self.values, [start], [count]),
            a_shape=tf.constant([shape.outputs, shape.inputs], tf.int64),
            b=x,
        )


class Weights(tf.Module):
    """Tickets, values and embeddings of an asset, decoded.

    Args:
      path: of the asset.
      layout: as its header tells.
      sparse, dense: the layers that are wanted as sparse entries and as dense matrices.
    """

    def __init__(self, path: str, layout: Layout, sparse: Sequence[int], dense: Sequence[int]):
        super().__init__(name="packed")
        self._layout = layout
        self._places = places(layout, sparse, dense)
        # Held by this module, too: an asset that only a resource knows is not exported.
        self.asset = tf.saved_model.Asset(path)
        with open(path, "rb") as blob:
            self._digest = tf.fingerprint([blob.read()])[0].numpy()
        unique = f"ncs4cvr-{self._digest.tobytes().hex()}-{len(sparse)}-{len(dense)}"

        self._slots: list[Slot] = []

        def slot(name: str, shape: Sequence[int], dtype: tf.DType) -> Slot:
            self._slots.append(Slot(f"{unique}/{name}", shape, dtype))
            return self._slots[-1]

        if self._places.entries:
            self.values = slot("values", [self._places.entries], tf.float32)
            self.indices = slot("indices", [2 * self._places.entries], tf.int32)
        if self._places.cells:
            # Where weights are kept in fewer bits, dense products are made in as few.
            self.matrices = slot("matrices", [self._places.cells], KINDS[layout.weights])
        kind = KINDS[layout.embeddings]
        self.tables = [slot(f"table{k}", s, kind) for k, s in enumerate(layout.tables)]
        self.scales = [
            slot(f"scales{k}", [rows], tf.float32)
            for k, (rows, _) in enumerate(layout.tables)
            if layout.embeddings == "int8"
        ]
        self._loader = _Loader(f"{unique}/loader", self)

    def load(self) -> None:
        """Decodes the asset; a SavedModel does it by itself when it is loaded."""
        blob = tf.io.read_file(self.asset.asset_path)
        intact = tf.debugging.Assert(
            tf.reduce_all(tf.fingerprint(tf.reshape(blob, [1]))[0] == self._digest), [BROKEN]
        )
        with tf.control_dependencies([intact] if intact is not None else []):
            blob = tf.identity(blob)
        if self._places.entries or self._places.cells:
            self._load_towers(blob)
        for k, table in enumerate(self.tables):
            table.assign(self._numbers(blob, f"table.{k}", table.dtype))
            if self.scales:
                self.scales[k].assign(self._numbers(blob, f"scale.{k}", tf.float32))

    def free(self) -> None:
        """Gives the memory back that `load` took in this process."""
        for slot in self._slots:
            slot.free()

    def rows(self, table: int, ids: tf.Tensor) -> tf.Tensor:
        """Embedding rows of ids, as float32: [..., d]."""
        found = tf.cast(tf.gather(self.tables[table].read(), ids), tf.float32)
        if self.scales:
            found *= tf.gather(self.scales[table].read(), ids)[..., None]
        return found

    def opened(self) -> View:
        """The towers' kernels, read now: once a request, whichever way they are computed."""
        values = self.values.read() if self._places.entries else None
        indices = self.indices.read() if self._places.entries else None
        matrices = self.matrices.read() if self._places.cells else None
        return View(self._layout, self._places, values, indices, matrices)

    # -- decoding --------------------------------------------------------------------------

    def _load_towers(self, blob: tf.Tensor) -> None:
        layout, at = self._layout, self._places
        tasks, pieces = len(layout.uses), layout.pieces
        codes = tf.cast(self._part(blob, "gaps"), tf.int32)
        names_one = codes < 255
        cells = tf.boolean_mask(tf.cumsum(codes + tf.cast(names_one, tf.int32)) - 1, names_one)
        values = tf.cast(self._numbers(blob, "value", KINDS[layout.weights]), tf.float32)
        # [task, kept cell] -> one entry for every connection of every task, task by task.
        bits = tf.stack([self._bits(blob, t, tf.size(cells)) for t in range(tasks)])
        task, kept = tf.unstack(tf.cast(tf.where(bits), tf.int32), num=2, axis=1)
        cell, value = tf.gather(cells, kept), tf.gather(values, kept)
        # Which piece it lies in, and where there: all pieces at once, to keep the graph small.
        piece = tf.searchsorted(
            tf.constant([p.first for p in pieces], tf.int32), cell, side="right"
        )
        piece -= 1
        inputs = _looked_up([p.inputs for p in pieces], piece)
        cell -= _looked_up([p.first for p in pieces], piece)
        out, in_ = cell // inputs, cell % inputs
        segment = task * len(pieces) + piece
        if at.entries:
            chosen = tf.where(_looked_up(at.sparse, segment) >= 0)[:, 0]
            s, o, i = (tf.gather(each, chosen) for each in (segment, out, in_))
            order = tf.argsort(_tile_key(s, o, i, layout))
            s, o, i = (tf.gather(each, order) for each in (s, o, i))
            rank = tf.range(tf.size(s)) - _looked_up(at.ranks, s)
            place = (_looked_up(at.sparse, s) + rank)[:, None]
            self.indices.assign(tf.scatter_nd(place, tf.stack([o, i], axis=1), [at.entries, 2]))
            ordered = tf.gather(tf.gather(value, chosen), order)
            self.values.assign(tf.scatter_nd(place, ordered, [at.entries]))
        if at.cells:
            chosen = tf.where(_looked_up(at.dense, segment) >= 0)[:, 0]
            s, o, i, p = (tf.gather(each, chosen) for each in (segment, out, in_, piece))
            place = _looked_up(at.dense, s) + i * _looked_up([p.outputs for p in pieces], p) + o
            flat = tf.scatter_nd(place[:, None], tf.gather(value, chosen), [at.cells])
            self.matrices.assign(tf.cast(flat, self.matrices.dtype))

    def _part(self, blob: tf.Tensor, name: str, dtype: tf.DType = tf.uint8) -> tf.Tensor:
        start, length = self._layout.parts[name]
        packed = tf.strings.substr(blob, start, length)
        return tf.io.decode_raw(tf.io.decode_compressed(packed, "ZLIB"), dtype)

    def _numbers(self, blob: tf.Tensor, name: str, dtype: tf.DType) -> tf.Tensor:
        """The numbers whose byte planes are parts of this name."""
        if dtype.size == 1:
            return self._part(blob, f"{name}.0", dtype)
        planes = [self._part(blob, f"{name}.{b}") for b in range(dtype.size)]
        return tf.bitcast(tf.stack(planes, axis=1), dtype)

    def _bits(self, blob: tf.Tensor, task: int, count: tf.Tensor) -> tf.Tensor:
        """The task's ticket over the kept cells, boolean."""
        packed = self._part(blob, f"ticket.{task}")[:, None]
        shifts = tf.constant([7, 6, 5, 4, 3, 2, 1, 0], tf.uint8)
        bits = tf.bitwise.bitwise_and(tf.bitwise.right_shift(packed, shifts), 1)
        return tf.cast(tf.reshape(bits, [-1])[:count], tf.bool)


class _Loader(TrackableResource):
    """Its initialiser fills the slots of `weights`."""

    def __init__(self, name: str, weights: Weights):
        super().__init__()
        self._name, self._weights = name, weights

    def _create_resource(self):
        return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[], shared_name=self._name)

    def _initialize(self):
        self._weights.load()


def _looked_up(table: Sequence[int] | np.ndarray, which: tf.Tensor) -> tf.Tensor:
    return tf.gather(tf.constant(np.asarray(table, np.int32)), which)


def _tile_key(segment: tf.Tensor, out: tf.Tensor, in_: tf.Tensor, layout: Layout) -> tf.Tensor:
    """Orders entries by segment, then tile by tile: a fifth faster at batches of 256."""
    high, wide = TILE
    down = max(-(-p.outputs // high) for p in layout.pieces)
    across = max(-(-p.inputs // wide) for p in layout.pieces)
    tile = (tf.cast(segment, tf.int64) * down + tf.cast(out // high, tf.int64)) * across
    tile += tf.cast(in_ // wide, tf.int64)
    return (tile * high + tf.cast(out % high, tf.int64)) * wide + tf.cast(in_ % wide, tf.int64)
