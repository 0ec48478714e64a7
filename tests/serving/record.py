"""An export with requests and what Python's TensorFlow answers, for other consumers to repeat.

    python tests/serving/record.py EXPORT_DIR OUT
    NCS4CVR_RECORDED=OUT pytest tests/serving       # also with another TensorFlow

EXPORT_DIR is a SavedModel such as runs/kuairand/serving/1; its warm-up requests are recorded. OUT
gets model/1, a copy of it, and requests, a TFRecord file of PredictionLogs with both sides.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

from ncs4cvr.schemas.log import MISSING

NAME = "ncs4cvr"
Arrays = dict[str, np.ndarray]


def record(export: str, out: Path, examples: Sequence[bytes] = ()) -> None:
    """Copies the export to `out` and records its answers.

    Args:
      export: a SavedModel's folder.
      out: a new folder.
      examples: serialized tf.Examples; asked by the signatures serving_default and predict,
        (and rank), beside every warm-up request of the export. Without any, those of the warm-up
        requests.
    """
    signatures = tf.saved_model.load(export).signatures
    requests = list(_warmup(export))
    if not examples and not requests:
        raise ValueError(f"{export} holds no warm-up requests; give one that was pushed")
    if not examples:
        asked = (x["examples"] for name, x in requests if name == "serving_default")
        examples = [example for batch in asked for example in batch]
    requests.append(("serving_default", {"examples": np.array(examples, object)}))
    columns = _columns(examples, _inputs(signatures["predict"]))
    requests.append(("predict", columns))
    if "rank" in signatures:  # what a request has once, from the first example
        once = {k for k, spec in _inputs(signatures["rank"]).items() if spec.shape[0] == 1}
        requests.append(("rank", {k: x[:1] if k in once else x for k, x in columns.items()}))
    missing = set(signatures) - {name for name, _ in requests}
    if missing:
        raise ValueError(f"no warm-up request in {export} asks {sorted(missing)}")
    shutil.copytree(export, out / "model" / "1")
    with tf.io.TFRecordWriter(str(out / "requests")) as file:
        for name, inputs in requests:
            answer = signatures[name](**{k: tf.constant(x) for k, x in inputs.items()})
            log = prediction_log_pb2.PredictLog(request=request(name, inputs))
            for key, values in answer.items():
                log.response.outputs[key].CopyFrom(tf.make_tensor_proto(values.numpy()))
            entry = prediction_log_pb2.PredictionLog(predict_log=log)
            file.write(entry.SerializeToString())


def recorded(folder: Path) -> list[tuple[str, Arrays, Arrays]]:
    """(signature, inputs, outputs) of every request in a folder that `record` wrote."""
    found = []
    for entry in tf.data.TFRecordDataset(str(folder / "requests")).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(entry).predict_log
        asked = log.request.model_spec.signature_name
        found.append((asked, _arrays(log.request.inputs), _arrays(log.response.outputs)))
    return found


def request(signature: str, inputs: Arrays) -> predict_pb2.PredictRequest:
    """The request of TF Serving's gRPC API."""
    spec = model_pb2.ModelSpec(name=NAME, signature_name=signature)
    made = predict_pb2.PredictRequest(model_spec=spec)
    for key, values in inputs.items():
        made.inputs[key].CopyFrom(tf.make_tensor_proto(values))
    return made


def _warmup(export: str) -> Iterator[tuple[str, Arrays]]:
    path = f"{export}/assets.extra/tf_serving_warmup_requests"
    if not os.path.exists(path):  # ServingCheck writes them
        return
    for entry in tf.data.TFRecordDataset(path).as_numpy_iterator():
        asked = prediction_log_pb2.PredictionLog.FromString(entry).predict_log.request
        yield asked.model_spec.signature_name, _arrays(asked.inputs)


def _arrays(tensors) -> Arrays:
    return {name: tf.make_ndarray(tensor) for name, tensor in tensors.items()}


def _inputs(signature) -> dict[str, tf.TensorSpec]:
    return signature.structured_input_signature[1]


def _columns(examples: Sequence[bytes], specs: dict[str, tf.TensorSpec]) -> Arrays:
    """The examples as dense columns, with the values that stand for a gap."""
    parsed = {}
    for name, spec in specs.items():
        gap = MISSING[{tf.int64: "int", tf.float32: "float", tf.string: "string"}[spec.dtype]]
        if spec.shape.rank == 1:
            parsed[name] = tf.io.FixedLenFeature([], spec.dtype, gap)
        else:
            parsed[name] = tf.io.FixedLenSequenceFeature([], spec.dtype, True, gap)
    return {k: x.numpy() for k, x in tf.io.parse_example(examples, parsed).items()}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    record(sys.argv[1], Path(sys.argv[2]))
