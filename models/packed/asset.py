"""The asset: one file with all tasks' tickets over one table of values, and the embeddings.

    b"NCS1" | length of the header, uint32 | header, zlib'd JSON | parts, each a zlib stream

parts    gaps            codes between the connections that at least one task keeps
         ticket.<t>      a bit for each of these: does task t keep it?
         value.<b>       byte b of every kept value
         table.<k>.<b>   byte b of embedding table k; with int8, scale.<k>.<b> of its rows' scales
Cells are counted output by output over all pieces of kernels: cell = first cell of the piece
+ output * inputs + input.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ncs4cvr.models.packed import coding

MAGIC = b"NCS1"
NAME = "weights.ncs"
EMBEDDINGS = ("f32", "bf16", "int8")


@dataclass(frozen=True)
class Layer:
    """One masked layer of one task.

    Attributes:
      kernel: [inputs, outputs]; layers of tasks that share it hold the same array.
      mask: boolean, of its shape: the task's ticket.
      bias: [outputs].
      split: the first `split` inputs do not change within a ranking request; they are a piece of
        their own. 0: no such inputs.
    """

    kernel: np.ndarray
    mask: np.ndarray
    bias: np.ndarray
    split: int = 0


Towers = Sequence[Sequence[Layer]]  # [task][layer]


@dataclass(frozen=True)
class Piece:
    """Rows of a kernel: all of it, or one of its two parts.

    Attributes:
      inputs, outputs: its shape.
      first: its first cell in the stream.
      counts: connections that each task keeps of it.
    """

    inputs: int
    outputs: int
    first: int
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """What the asset holds, and where.

    Attributes:
      weights, embeddings: how values are kept.
      pieces: of the kernels, in the stream's order.
      uses: [task][layer] -> numbers of its pieces.
      tables: [rows, d] of each embedding table.
      parts: name -> (offset in the file, length).
      limit: bytes of the information limit of tickets and values.
      notes: what the exporter adds.
    """

    weights: str
    embeddings: str
    pieces: tuple[Piece, ...]
    uses: tuple[tuple[tuple[int, ...], ...], ...]
    tables: tuple[tuple[int, int], ...]
    parts: Mapping[str, tuple[int, int]]
    limit: float
    notes: Mapping[str, Any]

    def bytes_of(self, *prefixes: str) -> int:
        """What the parts whose names begin so weigh together."""
        return sum(n for name, (_, n) in self.parts.items() if name.startswith(prefixes))


def pack(
    towers: Towers,
    tables: Sequence[np.ndarray],
    weights: str,
    embeddings: str,
    notes: Mapping[str, Any],
) -> tuple[bytes, Layout]:
    """The asset's bytes, and what is where in them.

    Args:
      towers: the tasks' layers.
      tables: embedding tables [rows, d].
      weights: "f32" (lossless) or "bf16".
      embeddings: "f32", "bf16" or "int8" (row by row).
      notes: for the header: JSON.
    """
    pieces, uses, kernels, masks = _pieces(towers)
    union = np.concatenate([_cells(np.any(m, axis=0)) for m in masks]) if masks else np.zeros(0)
    kept = np.flatnonzero(union)
    raw: dict[str, bytes] = {"gaps": coding.gap_codes(kept).tobytes()}
    for t in range(len(towers)):
        bits = np.concatenate([_cells(m[t]) for m in masks]) if masks else union
        raw[f"ticket.{t}"] = np.packbits(bits[kept].astype(bool)).tobytes()
    values = np.concatenate([_cells(k) for k in kernels])[kept] if kernels else np.zeros(0)
    raw |= _planes("value", values.astype(coding.VALUES[weights]))
    for k, table in enumerate(tables):
        if embeddings == "int8":
            table, scales = coding.rowwise_int8(table)
            raw |= _planes(f"scale.{k}", scales)
        else:
            table = table.astype(coding.VALUES[embeddings])
        raw |= _planes(f"table.{k}", table)
    bits_per_value = 8 * coding.VALUES[weights].itemsize
    limit = sum(coding.information_limit(m, bits_per_value) for m in masks)
    shapes = tuple((int(r), int(d)) for r, d in (table.shape for table in tables))
    layout = Layout(weights, embeddings, pieces, uses, shapes, {}, limit, notes)
    return _written(layout, {name: coding.squeeze(part) for name, part in raw.items()})


def _pieces(towers: Towers):
    """Every kernel once, cut where a layer is split: pieces, uses, arrays and masks [task]."""
    numbers: dict[int, tuple[int, ...]] = {}
    kernels: list[np.ndarray] = []
    masks: list[list[np.ndarray]] = []
    uses = []
    for t, tower in enumerate(towers):
        used = []
        for layer in tower:
            cuts = [0, layer.split, len(layer.kernel)] if layer.split else [0, len(layer.kernel)]
            rows = [slice(*cut) for cut in itertools.pairwise(cuts)]
            if id(layer.kernel) not in numbers:
                numbers[id(layer.kernel)] = tuple(range(len(kernels), len(kernels) + len(rows)))
                kernels += [layer.kernel[cut] for cut in rows]
                none = [np.zeros(layer.kernel[cut].shape, bool) for cut in rows]
                masks += [[zeros] * len(towers) for zeros in none]
            for number, cut in zip(numbers[id(layer.kernel)], rows, strict=True):
                masks[number][t] = layer.mask[cut]
            used.append(numbers[id(layer.kernel)])
        uses.append(tuple(used))
    pieces, first = [], 0
    for kernel, of_tasks in zip(kernels, masks, strict=True):
        inputs, outputs = kernel.shape
        pieces.append(Piece(inputs, outputs, first, tuple(int(m.sum()) for m in of_tasks)))
        first += kernel.size
    return tuple(pieces), tuple(uses), kernels, masks


def _cells(piece: np.ndarray) -> np.ndarray:
    """[inputs, outputs] -> its cells, output by output."""
    return np.ascontiguousarray(piece.T).reshape(-1)


def _planes(name: str, values: np.ndarray) -> dict[str, bytes]:
    return {f"{name}.{b}": plane.tobytes() for b, plane in enumerate(coding.planes(values))}


def _written(layout: Layout, parts: Mapping[str, bytes]) -> tuple[bytes, Layout]:
    # Offsets are counted from the end of the header, whose length is known only when it is written.
    at, places = 0, {}
    for name, part in parts.items():
        places[name] = (at, len(part))
        at += len(part)
    plain = dataclasses.asdict(dataclasses.replace(layout, parts=places))
    header = zlib.compress(json.dumps(plain).encode(), 9)
    start = len(MAGIC) + 4 + len(header)
    placed = {name: (start + at, length) for name, (at, length) in places.items()}
    blob = b"".join([MAGIC, struct.pack("<I", len(header)), header, *parts.values()])
    return blob, dataclasses.replace(layout, parts=placed)


def noted(blob: bytes, notes: Mapping[str, Any]) -> tuple[bytes, Layout]:
    """The same asset under a header with other notes."""
    layout = read(blob)
    parts = {name: blob[at : at + length] for name, (at, length) in layout.parts.items()}
    return _written(dataclasses.replace(layout, notes=notes), parts)


def read(blob: bytes) -> Layout:
    """The layout that an asset's header tells.

    Raises:
      ValueError: this is no asset of packed weights, or it is cut off.
    """
    if blob[: len(MAGIC)] != MAGIC:
        raise ValueError(
            f"no packed weights: it begins with {blob[:4]!r}, not with {MAGIC!r}; export again"
        )
    try:
        (length,) = struct.unpack_from("<I", blob, len(MAGIC))
        start = len(MAGIC) + 4 + length
        plain = json.loads(zlib.decompress(blob[len(MAGIC) + 4 : start]))
    except (struct.error, zlib.error, ValueError) as error:
        raise ValueError(
            f"the header of the packed weights is broken: {error}; export again"
        ) from error
    parts = {name: (start + at, n) for name, (at, n) in plain.pop("parts").items()}
    end = max((at + n for at, n in parts.values()), default=start)
    if end != len(blob):
        raise ValueError(
            f"the packed weights are {len(blob)} bytes, their header tells {end}; export again"
        )
    pieces = tuple(Piece(**{**p, "counts": tuple(p["counts"])}) for p in plain.pop("pieces"))
    uses = tuple(tuple(tuple(layer) for layer in tower) for tower in plain.pop("uses"))
    tables = tuple(tuple(shape) for shape in plain.pop("tables"))
    return Layout(pieces=pieces, uses=uses, tables=tables, parts=parts, **plain)


def tickets(blob: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Cells that at least one task keeps, increasing, and which tasks do: booleans [task, cell]."""
    layout = read(blob)
    cells = coding.positions(_part(blob, layout, "gaps"))
    bits = [
        np.unpackbits(_part(blob, layout, f"ticket.{t}"), count=len(cells))
        for t in range(len(layout.uses))
    ]
    return cells, np.array(bits, bool).reshape(len(bits), len(cells))


def _part(blob: bytes, layout: Layout, name: str) -> np.ndarray:
    at, length = layout.parts[name]
    return np.frombuffer(zlib.decompress(blob[at : at + length]), np.uint8)
