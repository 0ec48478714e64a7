"""A packed asset read in NumPy, bit by bit."""

import zlib

import numpy as np

from ncs4cvr.models.packed import asset, coding


def unpacked(blob: bytes) -> tuple[list[list[np.ndarray]], list[np.ndarray]]:
    layout = asset.read(blob)
    kinds = {"int8": np.dtype(np.int8), **coding.VALUES}

    def numbers(name: str, kind: str, turned: bool = False) -> np.ndarray:
        spans = [layout.parts[f"{name}.{b}"] for b in range(kinds[kind].itemsize)]
        planes = [np.frombuffer(zlib.decompress(blob[at : at + n]), np.uint8) for at, n in spans]
        flat = np.ascontiguousarray(np.stack(planes, axis=1)).reshape(-1)
        if turned:  # bits one to the left
            bits = flat.view(f"u{kinds[kind].itemsize}")
            flat = (bits >> 1) | (bits << (8 * bits.itemsize - 1))
        return flat.view(kinds[kind]).astype(np.float32)

    blocks, keeps = asset.tickets(blob)
    width = layout.block
    values = numbers("value", layout.weights, turned=True) if len(blocks) else np.zeros(0)
    dense = []
    for kept in keeps:
        cells = sum(p.inputs * p.outputs for p in layout.pieces)
        every = np.zeros((cells // width, width), np.float32)
        every[blocks[kept]] = values.reshape(-1, width)[kept]
        cuts = np.split(every, [p.first for p in layout.pieces][1:])
        shapes = [(p.outputs // width, p.inputs, width) for p in layout.pieces]
        dense.append(
            [
                c.reshape(s).swapaxes(0, 1).reshape(s[1], -1)
                for c, s in zip(cuts, shapes, strict=True)
            ]
        )
    tables = []
    for k, shape in enumerate(layout.tables):
        table = numbers(f"table.{k}", layout.embeddings).reshape(shape)
        scales = numbers(f"scale.{k}", "f32")[:, None] if layout.embeddings == "int8" else 1
        tables.append(table * scales)
    return dense, tables
