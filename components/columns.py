"""Raw cells become int64, float, text and hashes, whole columns at a time; times.py has times.

Every function returns the converted column, null where a cell is missing or does not convert, and
a mask of the cells that do not convert.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

EXACT = 2.0**53  # beyond it a float no longer tells whole numbers apart
FLOAT32_MAX = float(np.finfo(np.float32).max)  # examples keep 32 bits

#: Text that stands for a missing number, trimmed and in lower case.
MISSING_WORDS = pa.array(["", "na", "nan", "n/a", "null", "none", "\\n"])

#: Numbers as text, as they are written by default.
WHOLE = r"^(0|-?[1-9][0-9]{0,17})$"
DECIMAL = r"^-?(0|[1-9][0-9]*)\.[0-9]+$"

Converted = tuple[pa.Array, np.ndarray]


def one_chunk(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The column as one array."""
    if isinstance(column, pa.Array):
        return column
    if not column.num_chunks:
        return pa.array([], column.type)
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def kind_of(kind: pa.DataType) -> str:
    """int, float, string, time, null or other: what a column of this type holds."""
    if pa.types.is_dictionary(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return kind_of(kind.value_type)
    tests = {
        "int": (pa.types.is_integer, pa.types.is_boolean),
        "float": (pa.types.is_floating, pa.types.is_decimal),
        "string": (
            pa.types.is_string,
            pa.types.is_large_string,
            pa.types.is_binary,
            pa.types.is_large_binary,
        ),
        "time": (pa.types.is_timestamp, pa.types.is_date),
        "null": (pa.types.is_null,),
    }
    return next((name for name, checks in tests.items() if any(c(kind) for c in checks)), "other")


def to_int(raw: pa.Array) -> Converted:
    """Whole numbers; a float or a text such as "12.0" counts where it is one."""
    if kind_of(raw.type) == "string":
        return _text_to_int(raw)
    if kind_of(raw.type) == "float":
        return _float_to_int(raw)
    none = np.zeros(len(raw), bool)
    if pa.types.is_uint64(raw.type):
        none = mask_of(pc.greater(raw, pa.scalar(2**63 - 1, pa.uint64())))
        raw = pc.if_else(pa.array(none), pa.scalar(None, raw.type), raw)
    return raw.cast(pa.int64()), none


def to_float(raw: pa.Array) -> Converted:
    """Finite numbers; NaN is missing. What a float of 32 bits cannot hold counts as infinite."""
    if kind_of(raw.type) == "string":
        text = _numeric_text(raw)
        try:
            number, bad = text.cast(pa.float64()), np.zeros(len(raw), bool)
        except pa.ArrowInvalid:
            number, bad = cell_by_cell(text, _parse_float, pa.float64())
    else:
        number, bad = raw.cast(pa.float64(), safe=False), np.zeros(len(raw), bool)
    values = number.to_numpy(zero_copy_only=False)
    infinite = np.abs(values) > FLOAT32_MAX
    return pa.array(values, pa.float64(), mask=np.isnan(values) | infinite), bad | infinite


def to_string(raw: pa.Array) -> Converted:
    """Text; an empty one is missing. A number that is whole is written as such: 5.0 as "5"."""
    bad = np.zeros(len(raw), bool)
    if kind_of(raw.type) == "float":
        return _float_to_string(raw), bad
    try:
        text = raw.cast(pa.string())
    except pa.ArrowInvalid:  # binary that is not UTF-8
        text, bad = cell_by_cell(raw, bytes.decode, pa.string())
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text), bad


def hashes(ids: pa.Array) -> np.ndarray:
    """A 64-bit hash of every cell (0 of a null), the same on every machine and in every version."""
    ids = one_chunk(ids)
    kind = kind_of(ids.type)
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
    whole, broken = _float_to_int(numbers)
    return np.where(broken, hashes(numbers), hashes(whole))


def mask_of(flags: pa.Array) -> np.ndarray:
    """Booleans, False where one is null."""
    return flags.fill_null(False).to_numpy(zero_copy_only=False)


def decoded(raw: pa.Array) -> pa.Array:
    """Cells as text; bytes that are no UTF-8 are written as \\xff."""
    try:
        return raw.cast(pa.string())
    except pa.ArrowInvalid:
        cells = raw.to_pylist()
        texts = [None if c is None else c.decode("utf-8", "backslashreplace") for c in cells]
        return pa.array(texts, pa.string())


def _numeric_text(raw: pa.Array) -> pa.Array:
    text = pc.utf8_trim_whitespace(decoded(raw))
    word = pc.is_in(pc.utf8_lower(text), value_set=MISSING_WORDS)
    return pc.if_else(word, pa.scalar(None, pa.string()), text)


def _text_to_int(raw: pa.Array) -> Converted:
    text = _numeric_text(raw)
    try:
        numbers = text.cast(pa.int64())
    except pa.ArrowInvalid:
        return cell_by_cell(text, _parse_int, pa.int64())
    # Arrow takes 0x10 for a number, and nobody else does.
    if mask_of(pc.match_substring(text, "x", ignore_case=True)).any():
        return cell_by_cell(text, _parse_int, pa.int64())
    return numbers, np.zeros(len(raw), bool)


def _float_to_int(raw: pa.Array) -> Converted:
    values = raw.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    missing = np.isnan(values)
    bad = ~missing & ~((np.floor(values) == values) & (np.abs(values) < EXACT))
    whole = np.where(missing | bad, 0, values).astype(np.int64)
    return pa.array(whole, mask=missing | bad), bad


def _float_to_string(raw: pa.Array) -> pa.Array:
    whole, broken = _float_to_int(raw)
    text = whole.cast(pa.string())
    if not broken.any():
        return text
    values = raw.cast(pa.float64(), safe=False).to_pylist()
    others = [repr(value) if b else None for value, b in zip(values, broken, strict=True)]
    return pc.if_else(pa.array(broken), pa.array(others, pa.string()), text)


def cell_by_cell(cells: pa.Array, parse: Callable[[Any], Any], kind: pa.DataType) -> Converted:
    """The slow way, taken by blocks that hold a cell which the fast way refuses."""
    values, bad = [], np.zeros(len(cells), bool)
    for i, cell in enumerate(cells.to_pylist()):
        try:
            values.append(None if cell is None else parse(cell))
        except (ValueError, OverflowError):
            values.append(None)
            bad[i] = True
    return pa.array(values, kind), bad


def _parse_int(cell: str) -> int:
    if "_" in cell:
        raise ValueError(cell)
    try:
        number = int(cell)
    except ValueError:
        real = float(cell)
        if not math.isfinite(real) or not real.is_integer() or abs(real) >= EXACT:
            raise
        number = int(real)
    if not -(2**63) < number < 2**63:
        raise ValueError(cell)
    return number


def _parse_float(cell: str) -> float:
    if "_" in cell:  # which Python allows
        raise ValueError(cell)
    return float(cell)
