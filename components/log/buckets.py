"""Columnar files that carry rows between the pipeline's stages, cut into buckets.

Beam then only moves `Ref`s, a path and a number, so its memory does not grow with the log.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems

from ncs4cvr.components.log.hashing import hashes, mix
from ncs4cvr.components.log.records import open_file


class Ref(NamedTuple):
    """A record batch in an Arrow file; what it holds, and its place among all of its kind."""

    kind: str
    path: str
    unit: int
    batch: int


def bucket_of(ids: pa.Array, buckets: int) -> np.ndarray:
    """The bucket (0 to buckets - 1) of every user or video."""
    return (mix(hashes(ids).view(np.int64)) % np.uint64(buckets)).astype(np.int64)


@contextlib.contextmanager
def writing(path: str) -> Iterator[str]:
    """A name to write to that becomes `path` when all went well: no file is ever half there."""
    unfinished = path + ".unfinished"
    try:
        yield unfinished
    except BaseException:
        remove(unfinished)
        raise
    if FileSystems.exists(path):
        FileSystems.delete([path])
    FileSystems.rename([unfinished], [path])


def create(path: str):
    """A new file, written as it is, on any file system that Beam knows."""
    return FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED)


def make_folder(path: str) -> None:
    """Makes a folder and those above it unless they are there."""
    with contextlib.suppress(OSError):  # Beam raises where it exists; another worker may make it
        FileSystems.mkdirs(path)


def remove(path: str) -> None:
    """Deletes a file or a folder with all it holds, if it is there."""
    if FileSystems.exists(path):
        FileSystems.delete([path])


def write_buckets(
    path: str,
    kind: str,
    unit: int,
    tables: Iterable[tuple[pa.Table, np.ndarray]],
    at_once: int = 0,
) -> list[tuple[int, Ref]]:
    """Writes tables' rows bucket by bucket into one file; returns (bucket, where) pairs.

    at_once: cut no fewer rows than this at a time (but for the last), so that with many buckets
    pieces do not become a row or two each. A table without rows writes nothing.
    """
    refs: list[tuple[int, Ref]] = []
    with contextlib.ExitStack() as stack:
        writer = None
        for table, buckets in _gathered(tables, at_once):
            if not table.num_rows:
                continue
            if writer is None:
                stream = stack.enter_context(create(stack.enter_context(writing(path))))
                options = pa.ipc.IpcWriteOptions(compression="lz4")
                writer = pa.ipc.new_file(stream, table.schema, options=options)
                stack.callback(writer.close)
            order = np.argsort(buckets, kind="stable")
            ordered = table.take(pa.array(order)).combine_chunks()
            present, starts = np.unique(buckets[order], return_index=True)
            ends = [*starts[1:], len(order)]
            for bucket, start, end in zip(present.tolist(), starts.tolist(), ends, strict=True):
                writer.write_table(ordered.slice(start, end - start))
                refs.append((bucket, Ref(kind, path, unit, len(refs))))
    return refs


def _gathered(
    tables: Iterable[tuple[pa.Table, np.ndarray]], rows: int
) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """The tables, put together until they have so many rows."""
    held: list[tuple[pa.Table, np.ndarray]] = []
    for each in tables:
        held.append(each)
        if sum(table.num_rows for table, _ in held) >= rows:
            yield _together(held)
            held.clear()
    if held:
        yield _together(held)


def _together(held: list[tuple[pa.Table, np.ndarray]]) -> tuple[pa.Table, np.ndarray]:
    return pa.concat_tables([t for t, _ in held]), np.concatenate([b for _, b in held])


def read_refs(refs: Iterable[Ref], kind: str) -> pa.Table | None:
    """The rows of this kind in the order of their units, or None where there are none.

    One file is open at a time, and each once: a bucket may lie in more than a process can open.
    """
    mine = (ref for ref in refs if ref.kind == kind)
    ordered = sorted(mine, key=lambda ref: (ref.unit, ref.path, ref.batch))
    batches: list[pa.RecordBatch] = []
    for path, pieces in itertools.groupby(ordered, key=lambda ref: ref.path):
        with open_file(path) as stream:
            reader = pa.ipc.open_file(stream)
            batches += [reader.get_batch(piece.batch) for piece in pieces]
    return pa.Table.from_batches(batches).combine_chunks() if batches else None
