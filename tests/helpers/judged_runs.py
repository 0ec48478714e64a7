"""Runs' folders with small examples, their schema and a model that tells how times are written."""

import pyarrow as pa
import tensorflow as tf
from google.protobuf import text_format
from noted_runs import Noted
from tensorflow_metadata.proto.v0 import schema_pb2

from ncs4cvr.components import checksums
from ncs4cvr.components.log.log_steps import GZIP
from ncs4cvr.components.log.tf_example import encode
from ncs4cvr.schemas.log import TIMES

INT, FLOAT, BYTES = schema_pb2.INT, schema_pb2.FLOAT, schema_pb2.BYTES
TYPES = {
    "user": INT,
    "time": INT,
    "city": BYTES,
    "price": FLOAT,
    "gone": INT,
    "history_video": BYTES,
    "history_action": INT,
}


def table(users, **columns):
    """Columns of so many rows; those that are not given are missing."""
    rows = len(users)
    made = {
        "user": pa.array(users, pa.int64()),
        "time": pa.array([1_651_795_200_000 + i for i in range(rows)], pa.int64()),
        "city": pa.nulls(rows, pa.string()),
        "price": pa.nulls(rows, pa.float32()),
        "history_video": pa.array([[]] * rows, pa.list_(pa.string())),
        "history_action": pa.array([[]] * rows, pa.list_(pa.int64())),
    }
    return made | columns


def shard(folder, number, columns):
    """Writes one as VideoLogExampleGen does."""
    folder.mkdir(parents=True, exist_ok=True)
    path = str(folder / f"data_tfrecord-{number:05d}-of-00002.gz")
    with tf.io.TFRecordWriter(path, GZIP) as out:
        for example in encode(columns).to_pylist():
            out.write(example)


def schema():
    features = [schema_pb2.Feature(name=name, type=kind) for name, kind in TYPES.items()]
    return schema_pb2.Schema(feature=features)


class Judged(Noted):
    """A folder with what ModelGate reads, sealed."""

    def made(self, number):
        """Artifacts of one run; its user is its number."""
        found = {
            "examples": self.folder / f"artifacts/VideoLogExampleGen/examples/{number}",
            "schema": self.folder / f"artifacts/SchemaGen/schema/{number + 1}",
            "model": self.folder / f"artifacts/Trainer/model/{number + 2}",
        }
        for name in ("test", "train"):
            shard(found["examples"] / f"Split-{name}", 0, table([number]))
        found["schema"].mkdir(parents=True)
        (found["schema"] / "schema.pbtxt").write_text(text_format.MessageToString(schema()))
        times = found["model"] / "Format-Serving" / TIMES
        times.parent.mkdir(parents=True)
        times.write_text('{"column": "time", "unit": "s", "utc_offset_hours": 0}')
        for folder in found.values():
            checksums.seal(str(folder))
        return found

    def judged(self, state, made):
        self.ended("ModelGate", state, made, {})
