"""Real requests to replay: from a model's warm-up file, or made of a file of rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

from ncs4cvr.pipeline.serving.predict import newest_version
from ncs4cvr.pipeline.serving.rows import ENDINGS, InputError, check_columns, read, to_tensor

WARMUP = "assets.extra/tf_serving_warmup_requests"


def is_rows(path: Path) -> bool:
    """Whether a path names a file of rows; else it is a model or its warm-up file."""
    return path.suffix in ENDINGS


def from_warmup(path: Path, signature: str = "") -> list[predict_pb2.PredictRequest]:
    """The Predict requests of a warm-up file, those of one signature if one is named.

    Args:
      path: the file; or a SavedModel or serving folder that has one.
      signature: all if empty.

    Raises:
      InputError: no such file, or no such request in it.
    """
    if path.is_dir():
        path = newest_version(path) / WARMUP
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; give a serving folder, a file of TF Serving warm-up requests "
            f"or rows that end in {', '.join(ENDINGS)}"
        )
    try:
        records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
        logs = [prediction_log_pb2.PredictionLog.FromString(record) for record in records]
    except (tf.errors.OpError, DecodeError) as error:
        raise InputError(
            f"{path} is no file of TF Serving warm-up requests: {error}; give a serving folder or "
            "rows"
        ) from error
    requests = [log.predict_log.request for log in logs if log.HasField("predict_log")]
    names = sorted({request.model_spec.signature_name for request in requests})
    if signature:
        requests = [r for r in requests if r.model_spec.signature_name == signature]
    if not requests:
        wanted = f"for the signature {signature!r}" if signature else "to replay"
        raise InputError(f"{path} holds no request {wanted}; it has some for: {', '.join(names)}")
    return requests


def from_rows(
    path: Path, signature: str, inputs: Mapping[str, tf.TensorSpec], batch: int
) -> list[predict_pb2.PredictRequest]:
    """Requests of `batch` rows each (the last may have fewer) to a signature of dense columns.

    Args:
      path: a .parquet, .csv or .jsonl file.
      signature: `predict`, `rank`, or another that takes one tensor per column.
      inputs: what it takes.
      batch: rows a request.

    Raises:
      InputError: no such file, or a column that is missing or of the wrong type.
    """
    rows = read(path)
    check_columns(rows, inputs, path)
    requests = []
    for first in range(0, rows.num_rows, batch):
        request = predict_pb2.PredictRequest(
            model_spec=model_pb2.ModelSpec(signature_name=signature)
        )
        for name, spec in inputs.items():
            # An input with one row is of the user or the context: the same for all candidates.
            part = rows.slice(first, 1 if spec.shape[0] == 1 else batch)
            tensor = to_tensor(part, name, spec, path, first)
            request.inputs[name].CopyFrom(tf.make_tensor_proto(tensor))
        requests.append(request)
    return requests


def rows_in(request: predict_pb2.PredictRequest) -> int:
    """How many rows a request scores: the longest first axis of its inputs."""
    return max(t.tensor_shape.dim[0].size for t in request.inputs.values() if t.tensor_shape.dim)
