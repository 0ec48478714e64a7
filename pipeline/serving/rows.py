"""Files of raw rows, and the dense inputs of a model that they become.

Cells become numbers and text as they do in VideoLogExampleGen (components/log/columns.py), so that
a model is asked in the words that it was trained on.
"""

from __future__ import annotations

import contextlib
import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf

from ncs4cvr.components.log.columns import (
    Converted,
    kind_of,
    one_chunk,
    to_float,
    to_int,
    to_string,
)
from ncs4cvr.components.log.readers import TEXT_ROWS, unlisted
from ncs4cvr.components.log.records import LogError, as_text, check_once, csv_blocks
from ncs4cvr.components.log.times import expected_time, to_time_ms
from ncs4cvr.schemas.log import MISSING

ENDINGS = (".parquet", ".csv", ".jsonl", ".json")
KINDS = {tf.int64: "int", tf.float32: "float", tf.string: "string"}
CONVERT: dict[str, Callable[[pa.Array], Converted]] = {
    "int": to_int,
    "float": to_float,
    "string": to_string,
}


class InputError(ValueError):
    """The file, or the model's folder, cannot be used; says where and what to do."""


@dataclass(frozen=True)
class Times:
    """The column of times, which the model takes in ms, and how the log writes them; see Log."""

    column: str
    unit: Literal["ms", "s"]
    utc_offset_hours: float

    def to_ms(self, cells: pa.Array) -> Converted:
        """As VideoLogExampleGen does."""
        return to_time_ms(cells, self.unit, self.utc_offset_hours)


def read(path: Path) -> pa.Table:
    """The rows of a Parquet, CSV or JSON-lines file; cells of the latter two are text.

    Lists in JSON lines are lists of text.

    Raises:
      InputError: no such file, or one that cannot be read to its end or has no row.
    """
    if path.suffix not in ENDINGS:
        raise InputError(f"{path}: expected a file that ends in {', '.join(ENDINGS)}")
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    try:
        if path.suffix == ".parquet":
            rows = pq.read_table(path)
        else:
            rows = _csv(path) if path.suffix == ".csv" else _json_lines(path)
    except LogError as error:
        raise InputError(str(error)) from error
    except (OSError, UnicodeError, pa.ArrowException) as error:
        raise InputError(
            f"{path} cannot be read as {path.suffix[1:]}: {error}; write it again, or give it the "
            "ending of what it holds"
        ) from error
    if not rows.num_rows:
        raise InputError(f"{path} holds no row, expected at least one; write it again")
    return rows


def _csv(path: Path) -> pa.Table:
    tables = []
    for block in csv_blocks(str(path), TEXT_ROWS):
        for broken in block.broken:
            raise _broken(path, broken.row, broken.expected, broken.came)
        tables.append(block.table)
    return pa.concat_tables(tables) if tables else pa.table({})


def _json_lines(path: Path) -> pa.Table:
    records = []
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                record = json.loads(line) if line.strip() else {}
            except (ValueError, RecursionError):
                record = None
            if not isinstance(record, dict):
                text = line.decode("utf-8", "backslashreplace").rstrip("\r\n")
                raise _broken(path, number, "one JSON object", text)
            if line.strip():
                records.append(record)
    names = dict.fromkeys(name for record in records for name in record)
    return pa.table({name: _text([r.get(name) for r in records]) for name in names})


def _broken(path: Path, line: int, expected: str, came: str) -> InputError:
    return InputError(
        f"{path}: line {line} must hold {expected}, it is {came[:200]!r}; correct it or take it out"
    )


def _text(cells: list[Any]) -> pa.Array:
    """JSON values as text; where one of them is a list, all as lists of text."""
    if not any(isinstance(cell, list) for cell in cells):
        return pa.array([as_text(cell, ",") for cell in cells], pa.string())
    lists = [cell if isinstance(cell, list) or cell is None else [cell] for cell in cells]
    return pa.array([None if c is None else _words(c) for c in lists], pa.list_(pa.string()))


def _words(values: list[Any]) -> list[str | None]:
    return [as_text(value, ",") for value in values]


def check_columns(rows: pa.Table, wanted: Mapping[str, Any], path: Path) -> None:
    """Raises InputError for columns that the model needs and the file has not, or has twice."""
    try:
        check_once(str(path), rows.column_names, wanted)
    except LogError as error:
        raise InputError(str(error)) from error
    missing = sorted(set(wanted) - set(rows.column_names))
    if not missing:
        return
    hints = []
    for name in missing:
        near = difflib.get_close_matches(name, rows.column_names, n=1)
        hints.append(f"{name} (is it {near[0]}?)" if near else name)
    raise InputError(
        f"{path} lacks {len(missing)} of the model's {len(wanted)} columns: {', '.join(hints)}; "
        "add or rename them"
    )


def to_tensor(
    rows: pa.Table,
    name: str,
    spec: tf.TensorSpec,
    path: Path,
    first: int = 0,
    times: Times | None = None,
) -> tf.Tensor:
    """A column as the model's dense input; see MISSING for how gaps are written.

    Args:
      rows: some rows of the file.
      name: of the column.
      spec: what the model takes: [rows], or lists [rows, longest].
      path: of the file, for messages.
      first: rows of the file before these.
      times: how the column of times is written; None: as the model takes it.

    Raises:
      InputError: a cell that does not convert, is a list, or is none where lists are wanted.
    """
    where, kind = f"{path}: column {name!r} must hold", KINDS[spec.dtype]
    convert, expected = CONVERT[kind], kind
    if times and name == times.column:
        convert, expected = times.to_ms, expected_time(times.unit)
    cells = one_chunk(rows.column(name))
    if pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_decode()
    if spec.shape.rank == 1:
        places, cells = np.arange(len(cells)), _single(cells, where, first)
    else:
        lists = cells if _is_list(cells) else _parsed(cells, where, first)
        places, cells = np.repeat(np.arange(len(lists)), _lengths(lists)), lists.flatten()
    if convert is to_int and kind_of(cells.type) == "time":
        raise InputError(
            f"{where} int, it holds {cells.type}; convert it to milliseconds since 1970"
        )
    try:
        values, bad = convert(cells)
    except pa.ArrowException as error:
        raise InputError(
            f"{where} {expected}, it holds {cells.type} ({error}); convert it"
        ) from error
    for at in np.flatnonzero(bad):
        cure = "correct the cell, or leave it empty"
        raise _refused(f"{where} {expected}", first + places[at], _plain(cells[at]), cure)
    dtype = spec.dtype.as_numpy_dtype
    if spec.shape.rank == 1:
        dense = values.fill_null(MISSING[kind]).to_numpy(zero_copy_only=False)
        return tf.constant(dense.astype(dtype), spec.dtype)
    places = places[values.is_valid().to_numpy(zero_copy_only=False)]
    counts = np.bincount(places, minlength=rows.num_rows)
    padded = np.full((rows.num_rows, max(1, counts.max(initial=0))), MISSING[kind], dtype)
    within = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
    padded[places, within] = values.drop_null().to_numpy(zero_copy_only=False)
    return tf.constant(padded, spec.dtype)


def _refused(what: str, row: int, cell: Any, cure: str) -> InputError:
    return InputError(f"{what}; row {row + 1} holds {cell!r}; {cure}")


def _plain(cell: pa.Scalar) -> Any:
    """As a Python value; a moment that Python has no word for as a whole number."""
    try:
        return cell.as_py()
    except (OverflowError, ValueError):
        return cell.value


def _is_list(cells: pa.Array) -> bool:
    return pa.types.is_list(cells.type) or pa.types.is_large_list(cells.type)


def _lengths(lists: pa.Array) -> np.ndarray:
    return pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)


def _single(cells: pa.Array, where: str, first: int) -> pa.Array:
    """Lists of one value lose their brackets."""
    if not _is_list(cells):
        return cells
    for row in np.flatnonzero(_lengths(cells) > 1):
        cure = "join its values as the log has them, by the feature's separator"
        raise _refused(f"{where} one value a row", first + row, cells[row].as_py(), cure)
    return unlisted(cells, ",")


def _parsed(cells: pa.Array, where: str, first: int) -> pa.Array:
    """Text of JSON lists as lists of text."""
    lists: list[list[str | None] | None] = []
    for row, cell in enumerate(cells.to_pylist(), first):
        found = None if cell == "" else cell
        if isinstance(found, str):
            with contextlib.suppress(ValueError, RecursionError):  # then it is refused below
                found = json.loads(found)
        if found is not None and not isinstance(found, list):
            cure = "write such as [3, 5], or leave the cell empty"
            raise _refused(f"{where} lists", row, cell, cure)
        lists.append(None if found is None else _words(found))
    return pa.array(lists, pa.list_(pa.string()))
