"""The joined rows of a finished run, in one file as `predict` reads it (see rows.py).

Examples become columns of their kinds again, int64, float32 and text; a feature that an example
lacks is null. A history is a list, in CSV one of JSON.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.utils import io_utils, path_utils
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from ncs4cvr.components import checksums
from ncs4cvr.components.log.readers import unlisted
from ncs4cvr.pipeline.run import durable, recovery
from ncs4cvr.pipeline.run.run_folder import last_finished
from ncs4cvr.pipeline.serving.predict import times_of
from ncs4cvr.pipeline.serving.rows import InputError, Times
from ncs4cvr.schemas.log import HISTORY_COLUMNS

ENDINGS = (".parquet", ".csv", ".jsonl")
BATCH_ROWS = 16_384  # in memory at a time
KINDS = {schema_pb2.INT: pa.int64(), schema_pb2.FLOAT: pa.float32(), schema_pb2.BYTES: pa.string()}
PREFIX = "Split-"  # of a split's folder

logger = logging.getLogger("ncs4cvr")


@dataclass(frozen=True)
class Examples:
    """A split of a run.

    Attributes:
      folder: of gzip TFRecords of tf.Examples.
      schema: names and types of their columns.
      times: how the log writes times, and so `predict` wants them; None: in ms.
    """

    folder: Path
    schema: schema_pb2.Schema
    times: Times | None

    def columns(self) -> pa.Schema:
        """What a row of the file has."""
        return pa.schema([(column.name, self._kind(column)) for column in self.schema.feature])

    def _kind(self, column: schema_pb2.Feature) -> pa.DataType:
        if self.times and self.times.unit != "ms" and column.name == self.times.column:
            return pa.timestamp("ms", "UTC")  # numbers of the log's unit would lose its fractions
        kind = KINDS[column.type]
        return pa.list_(kind) if column.name in HISTORY_COLUMNS else kind


def find(run: Path, split: str) -> Examples:
    """The examples that the last finished run was judged on, whatever began after it.

    Args:
      run: a run's folder, such as runs/kuairand.
      split: a split of its recipe.

    Raises:
      FileNotFoundError: no such run, or none that has finished; no such split; or what it left was
        removed since.
      InputError: something there is damaged.
      recovery.Unreadable: see there.
    """
    if wrong := recovery.database_damage(run):
        raise InputError(
            f"{run / recovery.DATABASE} {wrong}, so nobody can tell which examples are the run's; "
            "the next `ncs4cvr run` puts it in order"
        )
    found = last_finished(run, "ModelGate")
    if not found:
        raise FileNotFoundError(
            f"no run in {run} has finished: ModelGate never ended there; give the folder of a "
            "finished run (runs/<recipe>)"
        )
    for folder in (found["examples"], found["schema"], found["model"]):
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{folder}, of the last finished run, was removed; `ncs4cvr run` makes it anew"
            )
        if damage := checksums.damage(str(folder)):
            raise InputError(
                f"{folder} is damaged: {', '.join(damage[:3])}; the next `ncs4cvr run` makes "
                "it anew"
            )
    folder = found["examples"] / f"{PREFIX}{split}"
    if not folder.is_dir():
        splits = sorted(p.name.removeprefix(PREFIX) for p in folder.parent.glob(f"{PREFIX}*"))
        raise FileNotFoundError(
            f"{folder.parent} has no split {split!r}; give --split one of {', '.join(splits)}"
        )
    schema = io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(str(found["schema"])))
    return Examples(
        folder, schema, times_of(Path(path_utils.serving_model_path(str(found["model"]))))
    )


def write(examples: Examples, path: Path) -> int:
    """Writes all rows, whole or not at all; returns how many.

    path: the ending, one of ENDINGS, says how. The log "ncs4cvr" tells how far it is.

    Raises:
      InputError: examples that cannot be read, or text that the file cannot hold.
    """
    count, columns = 0, examples.columns()
    with durable.whole(path) as new, _writer(new, path.suffix, columns) as put:
        for batch in _batches(examples):
            put(_table(batch, columns))
            count += batch.num_rows
            logger.info("%s rows", f"{count:,}", extra={"fleeting": True})
    return count


def _batches(examples: Examples) -> Iterator[pa.RecordBatch]:
    """The rows, shard by shard, as lists; a column that all of them lack is there, too."""
    decoder = ExamplesToRecordBatchDecoder(examples.schema.SerializeToString())
    for shard in sorted(examples.folder.iterdir()):
        try:
            for batch in tf.data.TFRecordDataset(str(shard), "GZIP").batch(BATCH_ROWS):
                yield decoder.DecodeBatch(batch.numpy().tolist())
        except tf.errors.OpError as error:
            raise InputError(
                f"{shard} cannot be read to its end, it is cut off or damaged; remove "
                f"{examples.folder.parent}, and `ncs4cvr run` makes it anew"
            ) from error


def _table(batch: pa.RecordBatch, columns: pa.Schema) -> pa.Table:
    cells = []
    for name, kind in zip(columns.names, columns.types, strict=True):
        lists = batch.column(name)
        try:
            if pa.types.is_list(kind):
                cells.append(lists.cast(kind))
            else:
                cells.append(unlisted(lists, ",").cast(kind))
        except pa.ArrowInvalid as error:
            raise InputError(
                f"column {name!r} of the examples does not hold {kind} in every row ({error}), "
                "which `predict` would refuse; VideoLogExampleGen writes one such value a row"
            ) from error
    return pa.table(cells, schema=columns)


@contextlib.contextmanager
def _writer(path: Path, ending: str, columns: pa.Schema) -> Iterator[Callable[[pa.Table], object]]:
    """Yields what writes some rows to a new file."""
    if ending == ".parquet":
        with pq.ParquetWriter(path, columns) as parquet:
            yield parquet.write_table
    elif ending == ".csv":
        with pa.csv.CSVWriter(path, _csv(columns.empty_table()).schema) as csv:
            yield lambda rows: csv.write_table(_csv(rows))
    else:
        with path.open("w", encoding="utf-8") as lines:
            yield lambda rows: lines.writelines(_json(rows))


def _csv(rows: pa.Table) -> pa.Table:
    """Cells that CSV can hold, each the exact value."""
    rows = _texts_for_times(rows)
    for i, (name, cells) in enumerate(zip(rows.column_names, rows.columns, strict=True)):
        if pa.types.is_list(cells.type):
            lists = (None if c is None else json.dumps(c) for c in cells.to_pylist())
            rows = rows.set_column(i, name, pa.array(lists, pa.string()))
        elif pa.types.is_floating(cells.type):  # `predict` reads 64 bits, which it then rounds
            rows = rows.set_column(i, name, cells.cast(pa.float64()))
        elif pa.types.is_string(cells.type) and pc.any(pc.match_substring(cells, "\0")).as_py():
            raise InputError(
                f"column {name!r} holds text with a NUL character, which not every reader of CSV "
                "takes; write .parquet or .jsonl"
            )
    return rows


def _json(rows: pa.Table) -> Iterator[str]:
    for row in _texts_for_times(rows).to_pylist():
        yield json.dumps(row, ensure_ascii=False) + "\n"


def _texts_for_times(rows: pa.Table) -> pa.Table:
    for i, field in enumerate(rows.schema):
        if pa.types.is_timestamp(field.type):
            rows = rows.set_column(i, field.name, rows[i].cast(pa.string()))
    return rows
