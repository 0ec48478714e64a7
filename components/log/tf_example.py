"""Columns become serialized tf.Examples, whole columns at a time, byte for byte reproducible.

tfx_bsl's RecordBatchToExamples writes the features of each record in another, random order: the
same input would give other files every time, and they would compress worse.

    Example  { Features features = 1; }           Features { map<string, Feature> feature = 1; }
    Feature  { BytesList = 1 | FloatList = 2 | Int64List = 3; }, each { repeated value = 1; }
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

#: Tag of the field that holds other messages or bytes: number, wire type 2.
FIELD_1, FIELD_2, FIELD_3 = b"\x0a", b"\x12", b"\x1a"


def encode(columns: Mapping[str, pa.Array]) -> pa.Array:
    """One serialized tf.Example a row, as a binary array.

    columns: name -> int64, float32 or string, or a list<int64> or list<string> array. A null is a
    feature that is absent; an empty list is one that is present without values.
    """
    parts: list[pa.Array] = []
    for name in sorted(columns):
        values = columns[name]
        if pa.types.is_list(values.type):
            parts += _entries(name, values)
        else:  # most columns have few different values: one entry each serves all rows
            codes = values.dictionary_encode()
            parts.append(_joined(_entries(name, codes.dictionary)).take(codes.indices))
    size = np.sum([_lengths(part) for part in parts], axis=0)
    return _joined([_prefix(b"", FIELD_1, size), *parts])


def _entries(name: str, values: pa.Array) -> list[pa.Array]:
    """The column's map entries, cut in two: what depends on the length only, and the values."""
    if pa.types.is_list(values.type):
        flat, offsets = values.flatten(), values.offsets.to_numpy()
        offsets = offsets - offsets[0]
    else:
        flat, offsets = values, np.arange(len(values) + 1)
    if pa.types.is_string(flat.type):
        payload = flat.cast(pa.binary())
        payload = _joined([_prefix(b"", FIELD_1, _lengths(payload)), payload])
        if pa.types.is_list(values.type):
            listed = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), payload)
            payload = pc.binary_join(listed, b"")
        kind = b"bytes"
    elif pa.types.is_floating(flat.type):
        data = flat.to_numpy(zero_copy_only=False).astype("<f4")
        kind, payload = b"float", _cut(data.view(np.uint8), offsets * 4)
    else:
        data, widths = varints(flat.to_numpy(zero_copy_only=False))
        ends = np.concatenate([[0], np.cumsum(widths)])
        kind, payload = b"int64", _cut(data, ends[offsets])
    return [_prefix(name.encode(), kind, _lengths(payload)), payload]


def varints(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All values as protobuf varints, one after another, and how many bytes each has.

    >>> varints(np.array([1, 300]))[0].tobytes()
    b'\\x01\\xac\\x02'
    """
    rest = values.astype(np.int64, copy=False).view(np.uint64)
    widths = np.ones(len(rest), np.int64)
    longest = 1
    while longest < 10 and (longer := rest >> np.uint64(7 * longest) > 0).any():
        widths += longer
        longest += 1
    cells = np.empty((len(rest), longest), np.uint8)
    for i in range(longest):
        cells[:, i] = (rest >> np.uint64(7 * i)).astype(np.uint8) | np.uint8(0x80)
    cells[np.arange(len(rest)), widths - 1] &= 0x7F
    return cells[np.arange(longest) < widths[:, None]], widths


def _cut(data: np.ndarray, offsets: np.ndarray) -> pa.Array:
    """Bytes cut at the offsets."""
    buffers = [pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(np.ascontiguousarray(data))]
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, [None, *buffers])


def _lengths(values: pa.Array) -> np.ndarray:
    return pc.binary_length(values).fill_null(0).to_numpy(zero_copy_only=False)


def _joined(parts: list[pa.Array]) -> pa.Array:
    """Element by element; a null adds nothing."""
    nothing = pa.scalar(b"", pa.binary())
    return pc.binary_join_element_wise(
        *parts, nothing, null_handling="replace", null_replacement=""
    )


def _prefix(name: bytes, kind: bytes, sizes: np.ndarray) -> pa.Array:
    """Per row what stands before `size` bytes of values; there are few different sizes."""
    unique = np.flatnonzero(np.bincount(sizes)) if len(sizes) else np.array([], np.int64)
    index = np.zeros(int(unique.max(initial=0)) + 1, np.int32)
    index[unique] = np.arange(len(unique))
    heads = pa.array([_head(name, kind, int(size)) for size in unique], pa.binary())
    return heads.take(pa.array(index[sizes]))


@functools.lru_cache(maxsize=1 << 16)
def _head(name: bytes, kind: bytes, size: int) -> bytes:
    if kind == FIELD_1:
        return FIELD_1 + _varint(size)
    # Repeated bytes come with their own tags, packed numbers share one.
    inner = b"" if kind == b"bytes" else FIELD_1 + _varint(size)
    tag = {b"bytes": FIELD_1, b"float": FIELD_2, b"int64": FIELD_3}[kind]
    listed = tag + _varint(len(inner) + size) + inner
    key = FIELD_1 + _varint(len(name)) + name
    entry = key + FIELD_2 + _varint(len(listed) + size) + listed
    return FIELD_1 + _varint(len(entry) + size) + entry


def _varint(number: int) -> bytes:
    return varints(np.array([number]))[0].tobytes()
