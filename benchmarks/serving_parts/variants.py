"""The dense part of a model, exported in every way that is compared."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from ncs4cvr.models.packed import asset, store
from ncs4cvr.models.packed.asset import Towers
from ncs4cvr.models.packed.slimming import slim
from ncs4cvr.models.packed.store import Packing

DENSE, SHARED, BLOCKS = "dense two-pass", "dense shared-bottom", "packed block"
PACKED = {
    "packed auto": Packing(),
    "packed sparse": Packing(compute="sparse"),
    "packed dense": Packing(compute="dense"),
    "packed bf16": Packing(weights="bf16"),
    BLOCKS: Packing(),  # of tickets in blocks
}
VARIANTS = (DENSE, SHARED, *PACKED)
PEAK_SIDE, PEAK_PRODUCTS = 1024, 4  # of the products that show the machine's peak


class DensePart(tf.Module):
    """x [batch, inputs] -> the hidden layer of every task."""

    def __init__(self, weights: tf.Module, towers: Callable, tasks: int):
        super().__init__()
        self.weights, self.towers, self.tasks = weights, towers, tasks

    def signature(self, inputs: int):
        """Its only signature."""

        @tf.function(input_signature=[tf.TensorSpec([None, inputs], name="x")], autograph=False)
        def hidden(x):
            return {f"task{t}": h for t, h in enumerate(self.towers([[x]] * self.tasks))}

        return hidden


def export(variant: str, towers: Towers, folder: Path) -> None:
    """Writes one variant's SavedModel, unless it is there."""
    if (folder / "saved_model.pb").exists():
        return
    inputs = len(towers[0][0].kernel)
    with tempfile.TemporaryDirectory() as kept:
        if variant in PACKED:
            made = store.packed(towers, [], PACKED[variant], kept, {})
        else:
            made = store.plain(_without_masks(towers) if variant == SHARED else towers, [])
        module = DensePart(*made, len(towers) if variant != SHARED else 1)
        new = folder.with_name(f".{folder.name}.new")
        tf.saved_model.save(module, str(new), signatures=module.signature(inputs))
        slim(str(new))
    new.rename(folder)


def _without_masks(towers: Towers) -> Towers:
    """The first task's network with all its connections: one dense pass."""
    full = [dataclasses.replace(layer, mask=np.ones_like(layer.mask)) for layer in towers[0]]
    return [full]


def export_peak(folder: Path) -> float:
    """A chain of square matrix products; returns its FLOPs for `PEAK_SIDE` rows."""
    module = tf.Module()
    draw = np.random.default_rng(0).normal(size=(PEAK_SIDE, PEAK_SIDE)) / PEAK_SIDE**0.5
    module.w = tf.Variable(draw.astype(np.float32))

    @tf.function(input_signature=[tf.TensorSpec([None, PEAK_SIDE], name="x")], autograph=False)
    def products(x):
        for _ in range(PEAK_PRODUCTS):
            x = tf.matmul(x, module.w)
        return {"y": x}

    if not folder.exists():
        tf.saved_model.save(module, str(folder), signatures=products)
    return 2.0 * PEAK_PRODUCTS * PEAK_SIDE**3


def flops(variant: str, towers: Towers) -> float:
    """Multiplications and additions of an example that the dense variants make."""
    once = 2.0 * sum(layer.kernel.size for layer in towers[0])
    return once if variant == SHARED else once * len(towers)


def size(folder: Path) -> dict:
    """Bytes of the whole folder, of the payload, and the payload's information limit."""
    found = {"bytes": sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())}
    found["graph"] = (folder / "saved_model.pb").stat().st_size
    packed = folder / "assets" / asset.NAME
    if packed.exists():
        layout = asset.read(packed.read_bytes())
        found["tickets"] = layout.bytes_of("gaps", "ticket")
        found["values"] = layout.bytes_of("value")
        found["limit"] = layout.limit
        found["compute"] = (layout.notes.get("compute") or {}).get("sparse_layers_from_batch")
    return found
