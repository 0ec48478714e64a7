"""What of a packed model lies in memory, and the stock ops that put it there once, at load.

TF Serving runs a SavedModel's initialisers before the first request, with the paths of its assets;
there the asset is checked, decompressed and decoded into resource variables. Signatures read these
like any other weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from ncs4cvr.models.packed import decoding
from ncs4cvr.models.packed.asset import Layout
from ncs4cvr.models.packed.kernels import Kernels
from ncs4cvr.models.packed.places import Places, places

KINDS = {"f32": tf.float32, "bf16": tf.bfloat16, "int8": tf.int8}
BROKEN = (
    "ncs4cvr: the packed weights in this model's assets are not those that it was exported with: "
    "the file is cut off or altered. Copy the model again, or export it again."
)


@dataclass(frozen=True)
class Slot:
    """A resource variable that is filled at load and not saved; a graph knows it by its name.

    Attributes:
      name: as no other variable in the process is called; a variable of that name is the same one.
      shape: static.
      dtype: of its elements.
    """

    name: str
    shape: Sequence[int]
    dtype: tf.DType

    def assign(self, value: tf.Tensor) -> None:
        """Fills it."""
        if value.shape.as_list() != list(self.shape):
            value = tf.reshape(value, self.shape)
        tf.raw_ops.AssignVariableOp(resource=self._handle(), value=value)

    def read(self) -> tf.Tensor:
        """Its value, not copied."""
        value = tf.raw_ops.ReadVariableOp(resource=self._handle(), dtype=self.dtype)
        value.set_shape(self.shape)
        return value

    def _handle(self) -> tf.Tensor:
        # Made where it is used: as a resource of the module's, it would take two KB of graph more.
        return tf.raw_ops.VarHandleOp(dtype=self.dtype, shape=self.shape, shared_name=self.name)


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
        held = _held(layout, self._places)
        self._slots = {name: Slot(f"{unique}/{name}", *what) for name, what in held.items()}
        self.kernels = Kernels(layout, self._places, self._slots)
        self.tasks, self.depth = len(layout.uses), len(layout.uses[0]) if layout.uses else 0
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
            kind = KINDS[self._layout.weights]
            for name, value in decoding.layers(blob, self._layout, self._places, kind).items():
                self._slots[name].assign(value)
        for name, slot in self._slots.items():
            if name.startswith(("table.", "scale.")):
                slot.assign(decoding.numbers(blob, self._layout, name, slot.dtype))

    def rows(self, table: int, ids: tf.Tensor) -> tf.Tensor:
        """Embedding rows of ids, as float32: [..., d]."""
        found = tf.cast(tf.gather(self._slots[f"table.{table}"].read(), ids), tf.float32)
        if f"scale.{table}" in self._slots:
            found *= tf.gather(self._slots[f"scale.{table}"].read(), ids)[..., None]
        return found


def _held(layout: Layout, at: Places) -> dict[str, tuple[Sequence[int], tf.DType]]:
    """Shape and type of all that is held, by its name."""
    kind, pieces = KINDS[layout.embeddings], layout.pieces
    held: dict[str, tuple[Sequence[int], tf.DType]] = {}
    held |= {f"table.{k}": (shape, kind) for k, shape in enumerate(layout.tables)}
    if layout.embeddings == "int8":
        held |= {f"scale.{k}": ([n], tf.float32) for k, (n, _) in enumerate(layout.tables)}
    held |= {f"bias.{first}": ([n], tf.float32) for first, n in at.biases.items()}
    for segment, groups in at.sparse.items():
        n = sum(groups)
        if n:  # else there is nothing to multiply with
            held[f"values.{segment}"] = ([n * layout.block], tf.float32)
            held[f"indices.{segment}"] = ([n, 2] if layout.block == 1 else [n], tf.int32)
    for (task, layer), segments in at.dense.items():
        rows = sum(pieces[s % len(pieces)].inputs for s in segments)
        shape = [rows, pieces[segments[0] % len(pieces)].outputs]
        # Where weights are kept in fewer bits, dense products are made in as few.
        held[f"matrix.{task}.{layer}"] = (shape, KINDS[layout.weights])
    return held


class _Loader(tf.saved_model.experimental.TrackableResource):
    """Its initialiser fills the slots of `weights`."""

    def __init__(self, name: str, weights: Weights):
        super().__init__()
        self._name, self._weights = name, weights

    def _create_resource(self):
        return tf.raw_ops.VarHandleOp(dtype=tf.float32, shape=[], shared_name=self._name)

    def _initialize(self):
        self._weights.load()
