"""What ServingCheck starts as a process of its own: loads a SavedModel and replays requests.

`python -I serving_replay.py JOB` with JOB as JSON: `model` and `recorded` (paths, see
models/serving/recording.py), `missing` (schemas/log.py's MISSING), `exact`, `out` (a folder that
gets answers.npz, measured.json and warmup). Imports nothing of ours, and hides it from all else.
"""

from __future__ import annotations

import functools
import io
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

ABSENT = (
    "ncs4cvr",
    "tfx",
    "tfx_bsl",
    "tensorflow_transform",
    "tensorflow_recommenders",
    "keras",
    "tf_keras",
)
if __name__ == "__main__":
    for absent in ABSENT:
        sys.modules[absent] = None  # type: ignore[assignment]  # importing it fails

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

BATCH_SIZES = (1, 16, 64, 256, 1024)
SECONDS = 0.25  # of replaying one batch size through one signature
MOST = 200  # timed requests
UNTIMED = 2  # the first requests build what is kept
WARMUP_ROWS = 8  # in a warm-up request; larger batches repeat the last
KINDS = {tf.int64: "int", tf.float32: "float", tf.string: "string"}

Columns = dict[str, Any]  # a signature's inputs by name


class Model:
    """A loaded SavedModel, and how each of its signatures is asked.

    Raises:
      ValueError: a signature that no function below feeds.
    """

    def __init__(self, folder: str, missing: Mapping[str, Any]):
        self._loaded = tf.saved_model.load(folder)  # its variables live as long as it does
        self.signatures = self._loaded.signatures
        self.missing = missing
        if unknown := sorted(set(self.signatures) - set(FEEDS)):
            raise ValueError(
                f"no recorded request fits the signature {', '.join(unknown)}; "
                f"known: {', '.join(FEEDS)} (FEEDS in serving_replay.py)"
            )

    def inputs(self, signature: str) -> dict[str, tf.TensorSpec]:
        """The inputs that a signature wants."""
        return self.signatures[signature].structured_input_signature[1]

    def ask(self, signature: str, columns: Columns) -> dict[str, np.ndarray]:
        """{output: [rows]}."""
        answer = self.signatures[signature](**columns)
        return {name: np.reshape(values.numpy(), -1) for name, values in answer.items()}


# How recorded rows become the inputs of a signature -----------------------------------------


def feed_examples(model: Model, rows: tuple[bytes, ...]) -> Columns:
    """serving_default: serialized tf.Examples as they were recorded."""
    (name,) = model.inputs("serving_default")
    return {name: np.array(rows, object)}


@functools.cache  # rank is asked with the rows that predict was, and compared row by row
def feed_columns(model: Model, rows: tuple[bytes, ...]) -> Columns:
    """predict: a dense tensor per raw column, gaps filled with the type's word for missing."""
    specs = model.inputs("predict")
    parsed = tf.io.parse_example(
        list(rows), {name: tf.io.VarLenFeature(spec.dtype) for name, spec in specs.items()}
    )
    columns = {}
    for name, spec in specs.items():
        gap = model.missing[KINDS[spec.dtype]]
        filled = tf.sparse.to_dense(parsed[name], gap)
        if not filled.shape[1]:
            filled = tf.fill([len(rows), 1], tf.constant(gap, spec.dtype))
        values = filled.numpy()  # a slice of an array costs microseconds, of a tensor 100 of them
        columns[name] = values if spec.shape.rank == 2 else values[:, 0]
    return columns


def feed_request(model: Model, rows: tuple[bytes, ...]) -> Columns:
    """rank: what belongs to the request from the first row, what belongs to a candidate from all.

    A column belongs to the request where `rank` wants it once: with one axis less than `predict`,
    or with a first axis of 1.
    """
    columns, wanted = feed_columns(model, rows), model.inputs("rank")
    if unknown := sorted(set(wanted) - set(columns)):
        raise ValueError(f"the signature rank wants {unknown}, which predict does not have")
    return {
        name: columns[name]
        if not _of_request(model, name)
        else columns[name][:1]
        if spec.shape.rank == columns[name].ndim
        else columns[name][0, ...]
        for name, spec in wanted.items()
    }


FEEDS: dict[str, Callable[[Model, tuple[bytes, ...]], Columns]] = {
    "serving_default": feed_examples,
    "predict": feed_columns,
    "rank": feed_request,
}


def row_by_row(model: Model, rows: tuple[bytes, ...]) -> dict[str, np.ndarray]:
    """What `rank` must answer: `predict` with the request's columns repeated on every row."""
    columns = dict(feed_columns(model, rows))
    for name in model.inputs("rank"):
        if _of_request(model, name):
            columns[name] = np.repeat(columns[name][:1], len(rows), axis=0)
    return model.ask("predict", tensors(columns))


def tensors(columns: Columns) -> Columns:
    """The same as tensors: making them is not part of a signature's time."""
    return {name: tf.constant(values) for name, values in columns.items()}


def _of_request(model: Model, column: str) -> bool:
    shape = model.inputs("rank")[column].shape
    return shape.rank < model.inputs("predict")[column].shape.rank or shape[0] == 1


# Replaying ----------------------------------------------------------------------------------


def main(job: Mapping[str, Any]) -> None:
    """Loads, replays and measures; see the module."""
    before, began = resident_mb(), time.monotonic()
    model = Model(job["model"], job["missing"])
    measured: dict[str, Any] = {
        "load_s": time.monotonic() - began,
        "memory_mb": resident_mb(),
        "memory_before_load_mb": before,
        "model_bytes": bytes_below(job["model"]),
    }
    with tf.io.gfile.GFile(job["recorded"], "rb") as stream:
        recorded = dict(np.load(io.BytesIO(stream.read()), allow_pickle=False))
    rows = list(examples(recorded))
    answers = all_rows(model, rows)
    expected = answers
    if job["exact"]:
        expected = {name: recorded[f"prediction/{name}"] for name in answers}
    measured["calls"] = [
        replay(model, signature, batch, rows, expected)
        for signature in sorted(model.signatures)
        for batch in BATCH_SIZES
    ]
    np.savez(f"{job['out']}/answers.npz", **answers)
    write_warmup(model, rows, f"{job['out']}/warmup")
    with open(f"{job['out']}/measured.json", "w", encoding="utf-8") as out:
        json.dump(measured, out)


def examples(recorded: Mapping[str, np.ndarray]) -> Iterator[bytes]:
    """The serialized examples of a recording."""
    text, first = recorded["examples"].tobytes(), 0
    for end in recorded["ends"].tolist():
        yield text[first:end]
        first = end


def all_rows(model: Model, rows: Sequence[bytes]) -> dict[str, np.ndarray]:
    """What `serving_default` says of every row, in the largest batches."""
    parts: dict[str, list[np.ndarray]] = {}
    for first in range(0, len(rows), BATCH_SIZES[-1]):
        columns = feed_examples(model, tuple(rows[first : first + BATCH_SIZES[-1]]))
        for name, values in model.ask("serving_default", tensors(columns)).items():
            parts.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in parts.items()}


def replay(
    model: Model,
    signature: str,
    batch: int,
    rows: Sequence[bytes],
    expected: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    """Asks one signature with batches of one size, the rows in turns.

    Returns:
      signature, batch; timed `calls` with their `p50_ms` and `p99_ms`, Python's 0.2 to 0.3 ms a
      call included; `difference`, the largest from `expected`, and the `output` it is in.
    """
    milliseconds: list[float] = []
    differences = dict.fromkeys(expected, 0.0)
    # A p99 of fewer says little, but the check must not take long either.
    fewest = 100 if signature == "serving_default" and batch <= 64 else 20
    stop = time.perf_counter() + SECONDS
    for number in itertools.count():
        at = np.arange(number * batch, (number + 1) * batch) % len(rows)
        asked = tuple(rows[i] for i in at)
        columns = tensors(FEEDS[signature](model, asked))
        began = time.perf_counter()
        answer = model.ask(signature, columns)
        milliseconds.append(1000 * (time.perf_counter() - began))
        if signature == "rank":
            right = row_by_row(model, asked)
        else:
            right = {name: values[at] for name, values in expected.items()}
        for name, values in right.items():
            # A NaN must not pass for no difference; JSON knows neither it nor infinity.
            apart = np.abs(answer[name].astype(np.float64) - values)
            apart = np.nan_to_num(apart, nan=sys.float_info.max)
            differences[name] = max(differences[name], float(apart.max()))
        done = number + 1 - UNTIMED
        if done >= MOST or (done >= fewest and time.perf_counter() > stop):
            break
    output = max(differences, key=lambda name: differences[name])
    timed = milliseconds[UNTIMED:]
    return {
        "signature": signature,
        "batch": batch,
        "calls": len(timed),
        "p50_ms": float(np.percentile(timed, 50)),
        "p99_ms": float(np.percentile(timed, 99)),
        "difference": differences[output],
        "output": output,
    }


def resident_mb() -> float:
    """The memory that this process holds now."""
    with open("/proc/self/status", encoding="ascii") as status:
        (line,) = (line for line in status if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def bytes_below(folder: str) -> int:
    """The bytes of all files in a folder and below."""
    files = (f"{where}/{name}" for where, _, names in tf.io.gfile.walk(folder) for name in names)
    return sum(tf.io.gfile.stat(file).length for file in files)


# Warm-up requests ---------------------------------------------------------------------------


def write_warmup(model: Model, rows: Sequence[bytes], path: str) -> None:
    """Requests that TF Serving replays before a version takes traffic: all signatures and sizes."""
    from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2

    with tf.io.TFRecordWriter(path) as out:
        for signature, batch in itertools.product(sorted(model.signatures), BATCH_SIZES):
            few = tuple(rows[i % len(rows)] for i in range(min(batch, WARMUP_ROWS)))
            request = predict_pb2.PredictRequest(
                model_spec=model_pb2.ModelSpec(name="ncs4cvr", signature_name=signature)
            )
            wanted = model.inputs(signature)
            for name, values in FEEDS[signature](model, few).items():
                # rank: the request's columns stay alone.
                many = not (signature == "rank" and _of_request(model, name))
                length = batch if many else None
                request.inputs[name].CopyFrom(repeated(values, wanted[name].dtype, length))
            log = prediction_log_pb2.PredictLog(request=request)
            entry = prediction_log_pb2.PredictionLog(predict_log=log)
            out.write(entry.SerializeToString(deterministic=True))  # equal models, equal files


def repeated(values: np.ndarray, dtype: tf.DType, length: int | None) -> Any:
    """A TensorProto whose first axis is `length` long, though it holds `values` alone.

    A TensorProto with fewer values than its shape has repeats the last one (tensor.proto), so large
    batches cost no space.
    """
    shape = values.shape if length is None else (length, *values.shape[1:])
    proto = tf.make_tensor_proto([], dtype, shape=[0])
    proto.tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
    field = {tf.int64: proto.int64_val, tf.float32: proto.float_val, tf.string: proto.string_val}
    field[dtype].extend(values.reshape(-1).tolist())
    return proto


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
