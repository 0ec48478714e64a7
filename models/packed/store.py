"""Where a served model's weights come from: a packed asset, or plain variables."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from ncs4cvr.models.packed import asset, plans
from ncs4cvr.models.packed.resources import Weights
from ncs4cvr.models.packed.towers import Towers


@dataclass(frozen=True)
class Packing:
    """How a model is packed.

    Attributes:
      weights: "f32" (loses nothing) or "bf16", for what the tickets keep.
      embeddings: "f32", "bf16" or "int8" (each row with its own scale).
      compute: "sparse", "dense", or "auto": what this machine does faster, by batch size.
      known: `compute_of` an earlier model, whose timings need not be made again for its tickets.
    """

    weights: str = "f32"
    embeddings: str = "f32"
    compute: str = "auto"
    known: Mapping[str, Any] | None = None


class PlainWeights(tf.Module):
    """Folded kernels W * M_t, biases and embeddings as float32 variables; the face of `Weights`.

    Args:
      towers: the tasks' layers.
      tables: embedding tables [rows, d].
    """

    def __init__(self, towers: asset.Towers, tables: Sequence[np.ndarray]):
        super().__init__(name="plain")
        self.tables = [tf.Variable(table) for table in tables]
        self.folded = [[tf.Variable(l_.kernel * l_.mask) for l_ in tower] for tower in towers]
        self.biases = _variables([[layer.bias for layer in tower] for tower in towers])
        self.tasks, self.depth = len(towers), len(towers[0]) if towers else 0
        self._splits = [[layer.split for layer in tower] for tower in towers]

    def rows(self, table: int, ids: tf.Tensor) -> tf.Tensor:
        """Embedding rows of ids: [..., d]."""
        return tf.gather(self.tables[table], ids)

    @property
    def kernels(self) -> PlainWeights:
        """Itself."""
        return self

    def bias(self, task: int, layer: int) -> tf.Tensor:
        """A layer's bias, [outputs]."""
        return tf.convert_to_tensor(self.biases[task][layer])

    def dense(self, task: int, layer: int, piece: int | None = None) -> tf.Tensor:
        """A layer's masked kernel [inputs, outputs], or a piece of it."""
        kernel, split = self.folded[task][layer], self._splits[task][layer]
        if piece is None:
            return kernel
        return kernel[:split] if split and not piece else kernel[split:]


def plain(towers: asset.Towers, tables: Sequence[np.ndarray]) -> tuple[PlainWeights, Towers | None]:
    """Variables, and the masked layers that read them; None where there are none."""
    weights = PlainWeights(towers, tables)
    return weights, Towers(weights, {0: 0}) if towers else None


def packed(
    towers: asset.Towers,
    tables: Sequence[np.ndarray],
    how: Packing,
    folder: str,
    notes: Mapping[str, Any],
) -> tuple[Weights, Towers | None]:
    """A packed asset in `folder`, decoded, and the masked layers that read it.

    Args:
      towers: the tasks' layers.
      tables: embedding tables [rows, d].
      how: to pack and to compute.
      folder: keeps the asset until the module is saved.
      notes: JSON for the header; the timings that decided come on top.
    """
    path = os.path.join(folder, asset.NAME)
    blob, layout = asset.pack(towers, tables, how.weights, how.embeddings, notes)
    choice = {0: 0}
    if towers:
        layers = range(len(towers[0]))
        compute: dict[str, Any] = {"asked": how.compute}
        if how.compute == "sparse":
            choice = {0: len(layers)}
        elif how.compute == "auto":
            _write(path, blob)
            compute |= _timed(towers, path, layout, how.known)
            choice = plans.chosen(compute)
        compute["sparse_layers_from_batch"] = sorted(choice.items())
        blob, layout = asset.noted(blob, {**notes, "compute": compute})
    _write(path, blob)
    sparse = range(max(choice.values()))
    dense = range(min(choice.values()), len(towers[0])) if towers else ()
    weights = Weights(path, layout, sparse, dense)
    weights.load()
    return weights, Towers(weights, choice) if towers else None


def _timed(
    towers: asset.Towers, path: str, layout: asset.Layout, known: Mapping[str, Any] | None
) -> dict[str, Any]:
    firsts = [tower[0] for tower in towers]
    widths = [[n for n in (first.split, len(first.kernel) - first.split) if n] for first in firsts]
    shared = all(first.kernel is firsts[0].kernel for first in firsts)
    return plans.timings(path, layout, widths, shared, known)


def compute_of(folder: str) -> dict[str, Any]:
    """What the asset of a SavedModel says of how it is computed, and why; {} without masked layers.

    Args:
      folder: of a packed SavedModel.
    """
    with tf.io.gfile.GFile(f"{folder}/assets/{asset.NAME}", "rb") as blob:
        return dict(asset.read(blob.read()).notes.get("compute", {}))


def _variables(arrays: Sequence[Sequence[np.ndarray]]) -> list[list[tf.Variable]]:
    """[task][layer]; what tasks have in common is one variable."""
    made = {id(array): tf.Variable(array) for tower in arrays for array in tower}
    return [[made[id(array)] for array in tower] for tower in arrays]


def _write(path: str, blob: bytes) -> None:
    with open(path, "wb") as out:
        out.write(blob)
