"""Raw cells become int64, float and text, whole columns at a time; times.py has times.

Every function returns the converted column, null where a cell is missing or does not convert, and
a mask of the cells that do not convert.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

EXACT = 2.0**53  # beyond it a float no longer tells whole numbers apart
FLOAT32_MAX = float(np.finfo(np.float32).max)  # examples keep 32 bits

#: Text that stands for a missing number, trimmed and in lower case.
MISSING_WORDS = pa.array(["", "na", "nan", "n/a", "null", "none", "\\n"])

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
    if pa.types.is_decimal(raw.type):
        return _decimal_to_int(raw)
    if kind_of(raw.type) == "float":
        return _float_to_int(raw)
    none = np.zeros(len(raw), bool)
    if pa.types.is_uint64(raw.type):
        none = mask_of(pc.greater(raw, pa.scalar(2**63 - 1, pa.uint64())))
        raw = pc.if_else(pa.array(none), pa.scalar(None, raw.type), raw)
    return raw.cast(pa.int64()), none


def to_flag(raw: pa.Array) -> Converted:
    """Whole numbers; the words true and false count as 1 and 0, as labels may be written."""
    if kind_of(raw.type) == "string":
        raw = decoded(raw)
        word = pc.utf8_lower(pc.utf8_trim_whitespace(raw))
        for name, number in (("true", "1"), ("false", "0")):
            raw = pc.if_else(pc.equal(word, name), pa.scalar(number, raw.type), raw)
    return to_int(raw)


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
    if pa.types.is_decimal(raw.type):
        return cell_by_cell(raw, _decimal_text, pa.string())
    if kind_of(raw.type) == "float":
        return _float_to_string(raw), bad
    try:
        text = raw.cast(pa.string())
    except pa.ArrowInvalid:  # binary that is not UTF-8
        text, bad = cell_by_cell(raw, bytes.decode, pa.string())
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text), bad


def inexact(raw: pa.Array) -> np.ndarray:
    """Where a float is so large that its type no longer tells whole numbers apart: no id."""
    limits = ((pa.types.is_float32, 2.0**24), (pa.types.is_float64, EXACT))
    limit = next((limit for check, limit in limits if check(raw.type)), math.inf)
    if limit == math.inf:
        return np.zeros(len(raw), bool)
    return np.abs(raw.to_numpy(zero_copy_only=False)) >= limit


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


def _decimal_to_int(raw: pa.Array) -> Converted:
    try:
        return raw.cast(pa.int64()), np.zeros(len(raw), bool)
    except pa.ArrowInvalid:
        return cell_by_cell(raw, _whole_decimal, pa.int64())


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


def _whole_decimal(cell: Decimal) -> int:
    number = int(cell)
    if number != cell or not -(2**63) < number < 2**63:
        raise ValueError(cell)
    return number


def _decimal_text(cell: Decimal) -> str:
    """All digits; none after the point that says nothing."""
    text = format(cell, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _parse_float(cell: str) -> float:
    if "_" in cell:  # which Python allows
        raise ValueError(cell)
    return float(cell)
