"""Reads Parquet, CSV, JSON lines and TFRecord files block by block, whatever a row holds.

A row that cannot even be read (wrong number of fields, broken JSON, an undecodable tf.Example)
does not stop a file: it comes back under `Block.broken`. A file that is broken as a whole does.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tensorflow as tf
from apache_beam.io.filesystems import FileSystems

from ncs4cvr.components.log.columns import one_chunk
from ncs4cvr.components.log.records import (
    Block,
    LogError,
    as_text,
    csv_blocks,
    json_blocks,
    open_file,
    tfrecord_blocks,
)
from ncs4cvr.schemas.log import Log

BLOCK_ROWS = 65_536  # rows of Parquet held in memory at a time
TEXT_ROWS = 16_384  # the same elsewhere, where rows are Python objects for a moment
HASHED_BYTES = 64 << 20  # files up to this size are fingerprinted by content, larger ones by date

#: What a broken file raises in the libraries that read it.
READ_ERRORS = (OSError, EOFError, zlib.error, pa.ArrowException, tf.errors.DataLossError)


def files(pattern: str) -> list[str]:
    """The files that globs (separated by commas) match, sorted within each glob.

    Raises LogError where a glob matches nothing, or a file is empty or of no known format.
    """
    paths: list[str] = []
    for glob in filter(None, (part.strip() for part in pattern.split(","))):
        here = "" if "/" in glob else "./"  # without it Beam finds no *.csv of this directory
        matched = FileSystems.match([here + glob])[0].metadata_list
        found = sorted(m.path.removeprefix(here) for m in matched)
        if not found:
            raise LogError(
                f"no file matches {glob!r}; check the path (a relative one starts at the current "
                "directory) and quote globs in the shell"
            )
        paths += [path for path in found if path not in paths]
    for path in paths:
        format_of(path)
        if not FileSystems.match([path])[0].metadata_list[0].size_in_bytes:
            raise LogError(f"{path} is empty (0 bytes); remove it or write it again")
    return paths


def format_of(path: str) -> str:
    """parquet, csv, json or tfrecord, by the ending of the file's name."""
    name = path.rsplit("/", 1)[-1].lower()
    plain = name.removesuffix(".gz")
    for endings, kind in (
        ((".parquet", ".pq"), "parquet"),
        ((".csv",), "csv"),
        ((".jsonl", ".json", ".ndjson"), "json"),
        ((".tfrecord", ".tfrecords"), "tfrecord"),
    ):
        if plain.endswith(endings):
            return kind
    if "tfrecord" in plain or name != plain:
        return "tfrecord"
    raise LogError(
        f"{path}: unknown ending; use .parquet, .csv, .jsonl or .tfrecord (text and TFRecord also "
        "with .gz)"
    )


def fingerprint(log: Log) -> str:
    """Hex digest of the log's files: names, sizes and content (of large files: the date).

    A pipeline hands it to VideoLogExampleGen, so that a changed file is not served from the cache.
    """
    digest = hashlib.sha256()
    for pattern in (log.events, log.users, log.videos, log.history):
        for path in files(pattern):
            about = FileSystems.match([path])[0].metadata_list[0]
            digest.update(f"{path}\0{about.size_in_bytes}\0".encode())
            if about.size_in_bytes > HASHED_BYTES:
                digest.update(repr(about.last_updated_in_seconds).encode())
                continue
            with open_file(path) as stream:
                while piece := stream.read(1 << 20):
                    digest.update(piece)
        digest.update(b"\1")
    return digest.hexdigest()


@contextlib.contextmanager
def _naming(path: str) -> Iterator[None]:
    """Turns what the reading libraries raise into a LogError that names the file."""
    try:
        yield
    except READ_ERRORS as error:
        raise LogError(
            f"{path}: cannot be read to its end as {format_of(path)} ({error}); it may be cut off "
            "or of another format than its ending says: write it again or leave it out"
        ) from error


def schema_of(path: str) -> tuple[pa.Schema, int]:
    """Columns of a file and how many rows it holds: exact for Parquet, else guessed from its head.

    Columns of CSV and JSON lines are text; those of the latter and TFRecord what 1000 rows hold.
    Rows that cannot be read count, too; JSON lines and TFRecord of no other have no column.
    """
    with _naming(path):
        if format_of(path) == "parquet":
            with open_file(path) as stream:
                parquet = pq.ParquetFile(stream)
                return parquet.schema_arrow, parquet.metadata.num_rows
        head, broken = head_of(path)
        if head is None or not len(head.rows):
            return (pa.schema([]) if head is None else head.table.schema), broken
        size = FileSystems.match([path])[0].metadata_list[0].size_in_bytes
        packed = 6 if path.lower().endswith(".gz") else 1
        row_bytes = max(head.table.nbytes / len(head.rows), 1)
        return head.table.schema, max(int(size * packed / row_bytes), len(head.rows) + broken)


def head_of(path: str) -> tuple[Block | None, int]:
    """The first block of a file that holds a row (else its last), and how many rows broke so far.

    A file may begin with any number of rows that cannot be read.
    """
    block, broken = None, 0
    for block in blocks(path, limit=1000):
        broken += len(block.broken)
        if len(block.rows):
            break
    return block, broken


def row_groups(path: str) -> list[tuple[int, int]]:
    """(row group, rows before it) of a Parquet file: the pieces that workers share."""
    with _naming(path), open_file(path) as stream:
        about = pq.ParquetFile(stream).metadata
        sizes = [about.row_group(i).num_rows for i in range(about.num_row_groups)]
    return list(enumerate(itertools.accumulate(sizes, initial=0)))[: len(sizes)]


def blocks(
    path: str,
    row_group: int = -1,
    first_row: int = 0,
    separators: Mapping[str, str] | None = None,
    limit: int = 0,
) -> Iterator[Block]:
    """The rows of a file (of one row group of it), a bounded number at a time.

    separators: column -> what joins the values of a cell that holds several.
    limit: make the first block about this many rows, for a look at the file's head.
    """
    kind = format_of(path)
    with _naming(path):
        if kind == "parquet":
            found = _parquet(path, row_group, first_row, limit or BLOCK_ROWS)
        elif kind == "csv":
            found = csv_blocks(path, limit or TEXT_ROWS)
        elif kind == "json":
            found = json_blocks(path, separators or {}, limit or TEXT_ROWS)
        else:
            found = tfrecord_blocks(path, separators or {}, limit or TEXT_ROWS)
        for block in found:
            yield Block(_flat(block.table, separators or {}), block.rows, block.broken)


def _parquet(path: str, row_group: int, first_row: int, size: int) -> Iterator[Block]:
    with open_file(path) as stream:
        parquet = pq.ParquetFile(stream)
        groups = None if row_group < 0 else [row_group]
        for batch in parquet.iter_batches(batch_size=size, row_groups=groups, use_threads=False):
            rows = np.arange(first_row + 1, first_row + 1 + batch.num_rows)
            first_row += batch.num_rows
            yield Block(pa.Table.from_batches([batch]), rows)


def _flat(table: pa.Table, separators: Mapping[str, str]) -> pa.Table:
    """One value a cell: lists of one lose their brackets, longer ones become joined text."""
    for i, name in enumerate(table.column_names):
        column = table.column(i)
        flat = _flat_column(column, separators.get(name, ","))
        if flat is not column:
            table = table.set_column(i, name, flat)
    return table


def _flat_column(column: pa.ChunkedArray | pa.Array, separator: str) -> pa.ChunkedArray | pa.Array:
    """The column without dictionary or lists, also of lists of lists."""
    while True:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        elif pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
            column = unlisted(column, separator)
        else:
            return column


def unlisted(column: pa.ChunkedArray | pa.Array, separator: str) -> pa.Array:
    """Lists of one value at most become values; where one is longer, all become joined text."""
    lists = one_chunk(column)
    counts = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    if counts.max(initial=0) > 1:
        words = [
            None if not value else as_text([_decoded(v) for v in value], separator)
            for value in lists.to_pylist()
        ]
        return pa.array(words, pa.string())
    index = np.cumsum(counts) - 1
    return lists.flatten().take(pa.array(index, mask=counts == 0))


def _decoded(value: Any) -> Any:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value
