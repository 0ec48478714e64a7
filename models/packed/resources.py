"""What of a packed model lies in memory, and the stock ops that put it there once, at load.

TF Serving runs a SavedModel's initialisers before the first request, with the paths of its assets;
there the asset is checked, decompressed and decoded into resource variables. Signatures read these
like any other weights.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from ncs4cvr.models.packed import decoding
from ncs4cvr.models.packed.asset import Layout
from ncs4cvr.models.packed.places import Places, places

GATHERED = 256  # rows of inputs that are brought together at once: they stay in cache
KINDS = {"f32": tf.float32, "bf16": tf.bfloat16, "int8": tf.int8}
BROKEN = (
    "ncs4cvr: the packed weights in this model's assets are not those that it was exported with: "
    "the file is cut off or altered. Copy the model again, or export it again."
)


class Slot(tf.saved_model.experimental.TrackableResource):
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
class View:
    """What the flat variables hold, as kernels.

    Attributes:
      layout, places: how.
      biases, values, indices, matrices: the variables' values; None where there is nothing of the
        kind.
    """

    layout: Layout
    places: Places
    biases: tf.Tensor
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

    def bias(self, task: int, layer: int) -> tf.Tensor:
        """A layer's bias, [outputs]."""
        outputs = self.layout.pieces[self.layout.uses[task][layer][0]].outputs
        return tf.slice(self.biases, [self.layout.biases[task][layer]], [outputs])

    def columns(self, rows: tf.Tensor) -> tf.Tensor:
        """[batch, inputs] -> what `sparse` takes: [inputs, batch]; with blocks, a row of ones more.

        There the biases are weights of this last input: adding them apart would take a pass over
        all hidden units, which is much where few connections are left.
        """
        turned = tf.transpose(rows)
        return tf.concat([turned, tf.ones([1, tf.shape(rows)[0]])], 0) if self._blocks else turned

    def sparse(self, task: int, layer: int, columns: Sequence[tf.Tensor], last: bool) -> tf.Tensor:
        """relu(W' x + b): a hidden layer as columns.

        Args:
          task, layer: whose kernel.
          columns: [inputs, batch] of each of its pieces, from `columns` or from here.
          last: no sparse layer follows, so [outputs, batch] without a row of ones.
        """
        product = self._block_product if self._blocks else self._product
        numbers = self.layout.uses[task][layer]
        ones = self._blocks and not last
        parts = [
            product(task, number, x, (float(number == numbers[-1]) if ones else None))
            for number, x in zip(numbers, columns, strict=True)
        ]
        summed = functools.reduce(tf.add, parts)
        if not self._blocks:
            # Outputs as channels: faster than adding [outputs, 1] by broadcasting.
            bias = self.bias(task, layer)
            summed = tf.nn.bias_add(summed[None], bias, data_format="NCW")[0]
        return tf.nn.relu(summed)

    @property
    def _blocks(self) -> bool:
        return self.layout.block > 1

    def _product(self, task: int, number: int, x: tf.Tensor, _: float | None) -> tf.Tensor:
        """W' x of a piece: x [inputs, batch] -> [outputs, batch]."""
        piece = self.layout.pieces[number]
        count = sum(piece.kept[task])
        if not count:  # an empty segment has no place
            return tf.zeros([piece.outputs, tf.shape(x)[1]])
        start = self.places.sparse[task * len(self.layout.pieces) + number]
        indices = tf.slice(self.indices, [2 * start], [2 * count])
        return tf.raw_ops.SparseTensorDenseMatMul(
            a_indices=tf.reshape(indices, [count, 2]),
            a_values=tf.slice(self.values, [start], [count]),
            a_shape=tf.constant([piece.outputs, piece.inputs], tf.int64),
            b=x,
        )

    def _block_product(
        self, task: int, number: int, x: tf.Tensor, further: float | None
    ) -> tf.Tensor:
        """W' x of a piece, as many small dense products as groups of outputs.

        Each is with the inputs that it keeps. `further` fills a row more of the result.
        """
        segment, block = task * len(self.layout.pieces) + number, self.layout.block
        start, group = int(self.places.sparse[segment]), self.places.groups[segment]
        kept = self.places.kept[group : group + self.layout.pieces[number].outputs // block]
        made = []
        for together in _joined(kept):
            count = sum(together)
            rows = tf.gather(x, tf.slice(self.indices, [start], [count])) if count else None
            at = 0
            for n in together:
                if not n:
                    made.append(tf.zeros([block, tf.shape(x)[1]]))
                    continue
                flat = tf.slice(self.values, [start * block], [n * block])
                mine = rows if n == count else tf.slice(rows, [at, 0], [n, -1])
                made.append(tf.matmul(tf.reshape(flat, [block, n]), mine))
                start, at = start + n, at + n
        if further is not None:
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

        def slot(name: str, shape: Sequence[int], dtype: tf.DType) -> Slot:
            return Slot(f"{unique}/{name}", shape, dtype)

        if layout.bias_count:
            self.biases = slot("biases", [layout.bias_count], tf.float32)
        if self._places.entries:
            entries, block = self._places.entries, layout.block
            self.values = slot("values", [entries * block], tf.float32)
            self.indices = slot("indices", [entries * (2 if block == 1 else 1)], tf.int32)
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
        self.depths = [len(tower) for tower in layout.uses]
        self._loader = _Loader(f"{unique}/loader", self)

    def load(self) -> None:
        """Decodes the asset; a SavedModel does it by itself when it is loaded."""
        blob = tf.io.read_file(self.asset.asset_path)
        intact = tf.debugging.Assert(
            tf.reduce_all(tf.fingerprint(tf.reshape(blob, [1]))[0] == self._digest), [BROKEN]
        )
        with tf.control_dependencies([intact] if intact is not None else []):
            blob = tf.identity(blob)
        if self._layout.uses:
            biases = decoding.numbers(blob, self._layout, "bias", tf.float32)
            self.biases.assign(biases)
            found = decoding.blocks(blob, self._layout, KINDS[self._layout.weights])
            if self._places.entries:
                entries = found
                if self._layout.block > 1:
                    entries = decoding.with_biases(found, self._layout, self._places, biases)
                values, indices = decoding.sparse(entries, self._layout, self._places)
                self.values.assign(values)
                self.indices.assign(indices)
            if self._places.cells:
                matrices = decoding.dense(found, self._layout, self._places)
                self.matrices.assign(tf.cast(matrices, self.matrices.dtype))
        for k, table in enumerate(self.tables):
            table.assign(decoding.numbers(blob, self._layout, f"table.{k}", table.dtype))
            if self.scales:
                scales = decoding.numbers(blob, self._layout, f"scale.{k}", tf.float32)
                self.scales[k].assign(scales)

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
        return View(self._layout, self._places, self.biases.read(), values, indices, matrices)


class _Loader(tf.saved_model.experimental.TrackableResource):
    """Its initialiser fills the slots of `weights`."""

    def __init__(self, name: str, weights: Weights):
        super().__init__()
        self._name, self._weights = name, weights

    def _create_resource(self):
        return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[], shared_name=self._name)

    def _initialize(self):
        self._weights.load()
