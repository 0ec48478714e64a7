"""The asset: one file with all tasks' tickets over one table of values, and the embeddings.

    b"NCS2" | length of the header, uint32 | header, zlib'd JSON | parts, each a zlib stream

parts    gaps            codes between the blocks that at least one task keeps
         ticket.<t>      a bit for each of these: does task t keep it? Of the last task for those
                         alone that another keeps: the others are its own
         value.<b>       byte b of every kept value, block by block: its bits one to the left
         bias.<b>        byte b of every bias
         table.<k>.<b>   byte b of embedding table k; with int8, scale.<k>.<b> of its rows' scales
A block is one input's connections to B neighbouring outputs, of which every ticket keeps all or
none; B = 1 where tickets keep single connections. Blocks are counted over all pieces of kernels:
block = first block of the piece + output // B * inputs + input.
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
from ncs4cvr.models.sparsity import block_of

MAGIC = b"NCS2"
NAME = "weights.ncs"


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
      first: its first block in the stream.
      kept: [task][output // B] -> blocks that it keeps; with B = 1 only their sum a task.
    """

    inputs: int
    outputs: int
    first: int
    kept: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Layout:
    """What the asset holds, and where.

    Attributes:
      weights, embeddings: how values are kept.
      block: B, outputs whose connections are kept together.
      pieces: of the kernels, in the stream's order.
      uses: [task][layer] -> numbers of its pieces.
      biases: [task][layer] -> its first number among all biases.
      tables: [rows, d] of each embedding table.
      parts: name -> (offset in the file, length).
      limit: bytes of the information limit of tickets and values.
      notes: what the exporter adds.
    """

    weights: str
    embeddings: str
    block: int
    pieces: tuple[Piece, ...]
    uses: tuple[tuple[tuple[int, ...], ...], ...]
    biases: tuple[tuple[int, ...], ...]
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
    block = block_of([layer.mask for tower in towers for layer in tower])
    pieces, uses, kernels, masks = _pieces(towers, block)
    which = np.concatenate(masks, axis=1) if masks else np.zeros((0, 0), bool)  # [task, block]
    kept = np.flatnonzero(which.any(axis=0))
    raw: dict[str, bytes] = {"gaps": coding.gap_codes(kept).tobytes()}
    for t, ticket in enumerate(which):
        told = which[:-1].any(axis=0) if t == len(which) - 1 else which.any(axis=0)
        raw[f"ticket.{t}"] = np.packbits(ticket[told]).tobytes()
    values = np.concatenate(kernels)[kept] if kernels else np.zeros(0)
    raw |= _planes("value", coding.exponents_apart(values.astype(coding.VALUES[weights])))
    biases, firsts = _biases(towers)
    raw |= _planes("bias", biases)
    for k, table in enumerate(tables):
        if embeddings == "int8":
            table, scales = coding.rowwise_int8(table)
            raw |= _planes(f"scale.{k}", scales)
        else:
            table = table.astype(coding.VALUES[embeddings])
        raw |= _planes(f"table.{k}", table)
    bits = 8 * block * coding.VALUES[weights].itemsize
    limit = sum(coding.information_limit(m, bits) for m in masks)
    shapes = tuple((int(r), int(d)) for r, d in (table.shape for table in tables))
    layout = Layout(weights, embeddings, block, pieces, uses, firsts, shapes, {}, limit, notes)
    return _written(layout, {name: coding.squeeze(part) for name, part in raw.items()})


def _pieces(towers: Towers, block: int):
    """Every kernel once, cut where a layer is split.

    Returns pieces, uses, and for each piece its weights [blocks, B] and its masks [task, blocks].
    """
    numbers: dict[int, tuple[int, ...]] = {}
    shapes: list[tuple[int, int]] = []
    kernels: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    uses = []
    for t, tower in enumerate(towers):
        used = []
        for layer in tower:
            cuts = [0, layer.split, len(layer.kernel)] if layer.split else [0, len(layer.kernel)]
            rows = [slice(*cut) for cut in itertools.pairwise(cuts)]
            if id(layer.kernel) not in numbers:
                numbers[id(layer.kernel)] = tuple(range(len(kernels), len(kernels) + len(rows)))
                shapes += [(cut.stop - cut.start, layer.kernel.shape[1]) for cut in rows]
                kernels += [_blocks(layer.kernel[cut], block) for cut in rows]
                masks += [np.zeros((len(towers), len(k)), bool) for k in kernels[-len(rows) :]]
            for number, cut in zip(numbers[id(layer.kernel)], rows, strict=True):
                masks[number][t] = _blocks(layer.mask[cut], block)[:, 0]
            used.append(numbers[id(layer.kernel)])
        uses.append(tuple(used))
    pieces, first = [], 0
    for (inputs, outputs), of_tasks in zip(shapes, masks, strict=True):
        groups = outputs // block if block > 1 else 1
        kept = of_tasks.reshape(len(towers), groups, -1).sum(axis=2)
        pieces.append(Piece(inputs, outputs, first, tuple(map(tuple, kept.tolist()))))
        first += of_tasks.shape[1]
    return tuple(pieces), tuple(uses), kernels, masks


def _biases(towers: Towers) -> tuple[np.ndarray, tuple[tuple[int, ...], ...]]:
    """All biases, those that tasks have in common once; [task][layer] -> the first of its own."""
    known = {id(layer.bias): layer.bias for tower in towers for layer in tower}
    flat = np.concatenate([np.zeros(0), *known.values()]).astype(np.float32)
    ends = itertools.accumulate((len(bias) for bias in known.values()), initial=0)
    firsts = dict(zip(known, ends, strict=False))
    return flat, tuple(tuple(firsts[id(layer.bias)] for layer in tower) for tower in towers)


def _blocks(piece: np.ndarray, block: int) -> np.ndarray:
    """[inputs, outputs] -> its blocks [outputs // block * inputs, block], in the stream's order."""
    cut = piece.reshape(len(piece), -1, block)
    return np.ascontiguousarray(cut.swapaxes(0, 1)).reshape(-1, block)


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
    pieces = tuple(
        Piece(**{**p, "kept": tuple(map(tuple, p["kept"]))}) for p in plain.pop("pieces")
    )
    uses = tuple(tuple(tuple(layer) for layer in tower) for tower in plain.pop("uses"))
    biases = tuple(tuple(tower) for tower in plain.pop("biases"))
    tables = tuple(tuple(shape) for shape in plain.pop("tables"))
    return Layout(pieces=pieces, uses=uses, biases=biases, tables=tables, parts=parts, **plain)


def tickets(blob: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Blocks that at least one task keeps, increasing, and which tasks do: [task, block].

    Raises:
      ValueError: this is no asset of packed weights, or its tickets are broken.
    """
    layout = read(blob)
    blocks = coding.positions(_part(blob, layout, "gaps"))
    keeps = np.zeros((len(layout.uses), len(blocks)), bool)
    for t in range(len(keeps)):
        told = keeps[:-1].any(axis=0) if t == len(keeps) - 1 else np.ones(len(blocks), bool)
        keeps[t] = ~told
        keeps[t, told] = np.unpackbits(_part(blob, layout, f"ticket.{t}"), count=told.sum())
    return blocks, keeps


def _part(blob: bytes, layout: Layout, name: str) -> np.ndarray:
    at, length = layout.parts[name]
    try:
        return np.frombuffer(zlib.decompress(blob[at : at + length]), np.uint8)
    except zlib.error as error:
        raise ValueError(
            f"{name} of the packed weights cannot be unpacked: {error}; export again"
        ) from error
