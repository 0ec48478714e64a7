"""Hashes of cells and of rows, the same on every machine and in every version."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ncs4cvr.components.log.columns import inexact, kind_of, mask_of, one_chunk, to_int, to_string

#: Numbers as text, as they are written by default.
WHOLE = r"^(0|-?[1-9][0-9]{0,17})$"
DECIMAL = r"^-?(0|[1-9][0-9]*)\.[0-9]+$"


def hashes(ids: pa.Array) -> np.ndarray:
    """A 64-bit hash of every cell (0 of a null), the same on every machine and in every version."""
    ids = one_chunk(ids)
    kind = kind_of(ids.type)
    if kind == "other":
        ids, kind = _other_as_text(ids), "string"
    if kind in ("int", "time"):
        rest = np.uint64(0)
        if kind == "time":
            if pa.types.is_timestamp(ids.type) and ids.type.unit == "ns":
                ns = ids.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
                rest = (ns % 1000).astype(np.uint64)
            # Not safe: moments of no calendar overflow; they are dead letters anyway.
            ids = ids.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
        ids = ids.cast(pa.int64(), safe=False).fill_null(0)
        hashed = mix(ids.to_numpy(zero_copy_only=False)) + rest
    elif kind == "float":
        values = ids.cast(pa.float64(), safe=False).fill_null(0).to_numpy(zero_copy_only=False)
        hashed = mix((values + 0.0).view(np.int64))
    else:
        hashed = np.zeros(len(ids), np.uint64)
        if kind != "null":
            cells = ids.fill_null(b"" if "binary" in str(ids.type) else "")
            hashed = pd.util.hash_array(np.asarray(cells.to_numpy(zero_copy_only=False), object))
    return np.where(mask_of(ids.is_null()), np.uint64(0), hashed)


def _other_as_text(cells: pa.Array) -> pa.Array:
    """Structures, maps, times of day and what else nobody asks for, as JSON."""
    if isinstance(cells, pa.ExtensionArray):
        cells = cells.storage
    if pa.types.is_temporal(cells.type):  # Python has no word for every nanosecond
        cells = cells.view(pa.int32() if cells.type.bit_width == 32 else pa.int64())
    texts = [None if c is None else json.dumps(c, default=str) for c in cells.to_pylist()]
    return pa.array(texts, pa.string())


def mix(numbers: np.ndarray) -> np.ndarray:
    """splitmix64: spreads 64-bit integers over 64 bits."""
    z = numbers.astype(np.int64, copy=False).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def row_hashes(table: pa.Table) -> np.ndarray:
    """One hash a row over all its cells.

    Neither the order of the columns matters nor their types, which in some formats depend on the
    other rows of a block: 5, 5.0 and "5" are the same.
    """
    total = np.zeros(table.num_rows, np.uint64)
    for name, column in zip(table.column_names, table.columns, strict=True):
        salt = pd.util.hash_array(np.array([name], object))[0]
        array = one_chunk(column)
        missing = mask_of(array.is_null())
        hashed = _hashes_of_values(array)
        total += np.where(missing, np.uint64(0), mix((hashed ^ salt).view(np.int64)))
    return total


def _hashes_of_values(cells: pa.Array) -> np.ndarray:
    """As `hashes`; a number has the same as integer, float, or text if it is written plainly."""
    if pa.types.is_decimal(cells.type):
        return _hashes_of_decimals(cells)
    if kind_of(cells.type) == "float":
        return _hashes_of_floats(cells.cast(pa.float64(), safe=False))
    if kind_of(cells.type) != "string":
        return hashes(cells)
    try:
        cells = cells.cast(pa.string())
    except pa.ArrowInvalid:  # binary that is not UTF-8
        return hashes(cells)
    hashed = hashes(cells)
    whole = mask_of(pc.match_substring_regex(cells, WHOLE))
    hashed[whole] = hashes(cells.filter(pa.array(whole)).cast(pa.int64()))
    rest = np.flatnonzero(mask_of(pc.match_substring_regex(cells, DECIMAL)))
    if len(rest):
        texts = cells.take(pa.array(rest))
        numbers = texts.cast(pa.float64())
        plain = pc.equal(numbers.cast(pa.string()), texts)  # no 0.50, which may be another word
        hashed[rest[mask_of(plain)]] = _hashes_of_floats(numbers.filter(plain))
    return hashed


def _hashes_of_floats(numbers: pa.Array) -> np.ndarray:
    whole, broken = to_int(numbers)
    return np.where(broken, hashes(numbers), hashes(whole))


def _hashes_of_decimals(cells: pa.Array) -> np.ndarray:
    """As of a float where that says as much, else of all digits."""
    hashed = _hashes_of_floats(cells.cast(pa.float64(), safe=False))
    large = np.flatnonzero(inexact(cells.cast(pa.float64(), safe=False)))
    if len(large):
        hashed[large] = _hashes_of_values(to_string(cells.take(pa.array(large)))[0])
    return hashed
