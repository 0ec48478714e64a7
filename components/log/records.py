"""Rows out of CSV, JSON lines and TFRecord files; one that cannot be read never stops the rest."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import tensorflow as tf
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

# Python's own limit is 128 kB: a longer text would count as a line with too few fields. So much a
# quote that is never closed swallows at most, before its lines are read one by one.
csv.field_size_limit(4 << 20)


class LogError(ValueError):
    """The log, or its description, cannot be used; the message says where and what to do."""


@dataclass(frozen=True)
class Broken:
    """A row that could not be read: its number in the file, why, and what stood there."""

    row: int
    expected: str
    came: str


@dataclass(frozen=True)
class Block:
    """Some rows of a file: `table` under the file's own names, and their numbers in the file.

    Numbers are lines in text files, as editors count them, and rows from 1 elsewhere.
    """

    table: pa.Table
    rows: np.ndarray
    broken: tuple[Broken, ...] = ()


def open_file(path: str) -> BinaryIO:
    """The bytes of a file on any file system that Beam knows, as they are stored."""
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def check_once(path: str, names: Sequence[str], used: Iterable[str]) -> None:
    """Raises LogError where a file, whose columns are `names`, has one of the used ones twice."""
    for name in used:
        if names.count(name) > 1:
            raise LogError(
                f"{path}: {names.count(name)} columns are called {name!r}, expected one; rename "
                "the others, or leave them out"
            )


def _text_stream(path: str) -> Any:
    stream = open_file(path)
    return gzip.GzipFile(fileobj=stream) if path.lower().endswith(".gz") else stream


def csv_blocks(path: str, size: int) -> Iterator[Block]:
    """Every cell as text: a cell that does not convert is then one broken row, not a lost file."""
    with _text_stream(path) as stream:
        # What is not UTF-8 survives as lone surrogates, so that _text_block can name its row.
        lines = io.TextIOWrapper(stream, "utf-8-sig", errors="surrogateescape", newline="")
        line = lines.readline()
        names = next(csv.reader([line]), [])
        if (safe := line.encode("utf-8", "backslashreplace").decode()) != line:
            raise LogError(
                f"{path}: line 1 is no UTF-8 text, it is {safe.strip()[:200]!r}; write the file as "
                "UTF-8"
            )
        if not line.strip() or len(set(names)) < len(names) or "" in names:
            raise LogError(
                f"{path}: the first line must name every column once, "
                f"it is {line.strip()[:200]!r}; add a header or rename the columns"
            )
        records = _csv_records(lines, len(names))
        while chunk := list(itertools.islice(records, size)):
            good = [(row, cells) for row, cells in chunk if not isinstance(cells, str)]
            broken = [
                Broken(row, f"{len(names)} fields in a line", text)
                for row, text in chunk
                if isinstance(text, str)
            ]
            yield _text_block(names, [r for r, _ in good], [c for _, c in good], broken)


def _csv_records(lines: Iterator[str], width: int) -> Iterator[tuple[int, list[str] | str]]:
    """(line number, cells), or the raw line where it has not `width` cells.

    A quoted cell may hold line breaks. A quote that is never closed would swallow what follows:
    such a record is read again line by line, so that only its own line is lost. (Unless strict, the
    reader takes the rest of a file for the last cell of a line, and drops quotes within a cell.)
    """
    pulled: list[str] = []

    def tapped() -> Iterator[str]:
        for line in lines:
            pulled.append(line)
            yield line

    reader, number = csv.reader(tapped(), strict=True), 1
    while True:
        first = number + 1
        pulled.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            cells = [""] * (width + 1)
        number += len(pulled)
        if len(cells) == width:
            yield first, cells
        elif len(pulled) > 1:
            for row, line in enumerate(pulled, first):
                cells = _one_line(line)
                yield row, cells if len(cells) == width else line.rstrip("\r\n")
        elif cells:
            yield first, pulled[0].rstrip("\r\n")


def _one_line(line: str) -> list[str]:
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error:
        return []


def json_blocks(path: str, separators: Mapping[str, str], size: int) -> Iterator[Block]:
    """Every value as a CSV cell would hold it; `separators`: column -> what joins a list's."""
    with _text_stream(path) as stream:
        lines = ((row, line) for row, line in enumerate(stream, 1) if line.strip())
        while chunk := list(itertools.islice(lines, size)):
            rows, records, broken = [], [], []
            for row, line in chunk:
                try:
                    record = json.loads(line, object_pairs_hook=_once)
                except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
                    record = None
                if isinstance(record, dict):
                    rows.append(row)
                    records.append(record)
                else:
                    text = line.decode("utf-8", "backslashreplace").rstrip("\r\n")
                    broken.append(Broken(row, "one JSON object a line, no name twice", text))
            yield _records_block(rows, records, broken, separators)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object; a name that stands there twice is not resolved by chance."""
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError("a name twice")
    return record


def tfrecord_blocks(path: str, separators: Mapping[str, str], size: int) -> Iterator[Block]:
    """Columns of lists; as text, as in `json_blocks`, where a record cannot be decoded."""
    packed = "GZIP" if path.lower().endswith(".gz") else ""
    decoder, first = ExamplesToRecordBatchDecoder(), 1
    for batch in tf.data.TFRecordDataset(path, compression_type=packed).batch(size):
        serialized = batch.numpy().tolist()
        rows = np.arange(first, first + len(serialized))
        first += len(serialized)
        try:
            table = pa.Table.from_batches([decoder.DecodeBatch(serialized)])
        except Exception:  # the C++ decoder raises several kinds; a closer look says which record
            yield _examples_one_by_one(rows, serialized, separators)
        else:
            yield Block(table, rows)


def _examples_one_by_one(
    rows: np.ndarray, serialized: Sequence[bytes], separators: Mapping[str, str]
) -> Block:
    good, records, broken = [], [], []
    for row, data in zip(rows.tolist(), serialized, strict=True):
        try:
            example = tf.train.Example.FromString(data)
        except Exception:  # google.protobuf's DecodeError, whose module differs between versions
            broken.append(Broken(row, "a serialized tf.Example", repr(data[:200])))
            continue
        good.append(row)
        records.append({name: _values(f) for name, f in example.features.feature.items()})
    return _records_block(good, records, broken, separators)


def _values(feature: tf.train.Feature) -> list[Any]:
    kind = feature.WhichOneof("kind")
    values = list(getattr(feature, kind).value) if kind else []
    if kind == "bytes_list":
        values = [value.decode("utf-8", "surrogateescape") for value in values]
    return values


def _records_block(
    rows: list[int],
    records: list[dict[str, Any]],
    broken: list[Broken],
    separators: Mapping[str, str],
) -> Block:
    names = sorted({name for record in records for name in record})
    if not names:  # a table without columns has no rows
        empty = [Broken(row, "at least one value in a row", "none") for row in rows]
        rows, records, broken = [], [], sorted([*broken, *empty], key=lambda each: each.row)
    cells = [[as_text(record.get(n), separators.get(n, ",")) for n in names] for record in records]
    return _text_block(names, rows, cells, broken)


def as_text(value: Any, separator: str) -> str | None:
    """A JSON value as a CSV cell would hold it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))  # as columns.to_string writes it
    if isinstance(value, list):
        parts = [as_text(part, separator) for part in value]
        return separator.join(part for part in parts if part is not None) if parts else None
    return json.dumps(value, default=str)


def _text_block(
    names: Sequence[str], rows: list[int], cells: list[Any], broken: list[Broken]
) -> Block:
    """A block of text columns; rows that are no UTF-8 join the broken ones."""
    try:
        columns = [pa.array(column, pa.string()) for column in zip(*cells, strict=True)]
    except UnicodeEncodeError:
        good = []
        for row, line in zip(rows, cells, strict=True):
            text = ",".join(cell or "" for cell in line)
            safe = text.encode("utf-8", "backslashreplace").decode()
            if safe == text:
                good.append((row, line))
            else:
                broken.append(Broken(row, "UTF-8 text", safe))
        return _text_block(names, [r for r, _ in good], [c for _, c in good], broken)
    columns = columns or [pa.array([], pa.string()) for _ in names]
    return Block(pa.table(columns, list(names)), np.array(rows, np.int64), tuple(broken))
