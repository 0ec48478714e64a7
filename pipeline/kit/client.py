#!/usr/bin/env python3
"""Asks a model in TF Serving for scores, over gRPC or REST. An example to copy from.

  pip install tensorflow-serving-api
  python client.py --host localhost --input rows.jsonl
  python client.py --host localhost --input rows.jsonl --rest
  python client.py --host localhost --input candidates.jsonl --rank

The input holds one JSON object a row, with the columns that the model asks for; null and absent
mean missing. One JSON object a row comes out. With --rank the rows are the candidates of one
request: what belongs to the user and the context is taken from the first row, and the candidates
come out best first.
"""

from __future__ import annotations

import argparse
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

# How the model wants a missing value in a dense tensor.
MISSING = {tf.int64: -(2**63), tf.float32: float("nan"), tf.string: ""}
Columns = Mapping[str, list]


class Signature(NamedTuple):
    """What a signature takes and the names of what it gives."""

    inputs: Mapping[str, tf.TensorSpec]
    outputs: Sequence[str]


class Grpc:
    """TF Serving's gRPC API. Several servers behind one name are asked in turn."""

    def __init__(self, host: str, port: int, model: str, label: str, timeout_s: float):
        channel = grpc.insecure_channel(
            f"dns:///{host}:{port}", [("grpc.lb_policy_name", "round_robin")]
        )
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        self._model, self._label, self._timeout_s = model, label, timeout_s

    def signatures(self) -> dict[str, Signature]:
        """What every signature takes and gives."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._spec(), metadata_field=["signature_def"]
        )
        answer = self._stub.GetModelMetadata(request, timeout=self._timeout_s)
        found = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(found)
        return _signatures(found)

    def predict(self, name: str, columns: Columns, signature: Signature) -> dict[str, np.ndarray]:
        """The outputs of one request."""
        request = predict_pb2.PredictRequest(model_spec=self._spec(name))
        for column, values in columns.items():
            dtype = signature.inputs[column].dtype
            tensor = tf.make_tensor_proto(values, dtype, np.shape(values))
            request.inputs[column].CopyFrom(tensor)
        answer = self._stub.Predict(request, timeout=self._timeout_s)
        return {output: tf.make_ndarray(tensor) for output, tensor in answer.outputs.items()}

    def _spec(self, signature: str = "") -> model_pb2.ModelSpec:
        spec = model_pb2.ModelSpec(name=self._model, signature_name=signature)
        if self._label:
            spec.version_label = self._label
        return spec


class Rest:
    """TF Serving's REST API."""

    def __init__(self, host: str, port: int, model: str, label: str, timeout_s: float):
        self._url = f"http://{host}:{port}/v1/models/{model}"
        if label:
            self._url += f"/labels/{label}"
        self._timeout_s = timeout_s

    def signatures(self) -> dict[str, Signature]:
        """What every signature takes and gives."""
        answer = self._ask(f"{self._url}/metadata")["metadata"]["signature_def"]
        return _signatures(json_format.ParseDict(answer, get_model_metadata_pb2.SignatureDefMap()))

    def predict(self, name: str, columns: Columns, signature: Signature) -> dict[str, np.ndarray]:
        """The outputs of one request."""
        body = {"signature_name": name, "inputs": columns}
        outputs = self._ask(f"{self._url}:predict", json.dumps(body).encode())["outputs"]
        if len(signature.outputs) == 1:  # REST leaves out the name of a lone output
            outputs = {signature.outputs[0]: outputs}
        return {output: np.asarray(values) for output, values in outputs.items()}

    def _ask(self, url: str, body: bytes | None = None) -> dict[str, Any]:
        # The URL begins with http://, see above: no other scheme can be asked for.
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310
        with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:  # noqa: S310  # nosec B310
            return json.load(answer)


def _signatures(found: get_model_metadata_pb2.SignatureDefMap) -> dict[str, Signature]:
    return {
        name: Signature(
            {
                column: tf.TensorSpec(tf.TensorShape(info.tensor_shape), tf.as_dtype(info.dtype))
                for column, info in signature.inputs.items()
            },
            sorted(signature.outputs),
        )
        for name, signature in found.signature_def.items()
    }


def to_column(rows: Sequence[Mapping[str, Any]], name: str, spec: tf.TensorSpec) -> list:
    """A column of all rows, gaps filled; lists are padded on the right to the longest."""
    gap, cells = MISSING[spec.dtype], [row.get(name) for row in rows]
    if spec.shape.rank == 1:
        return [gap if cell is None else cell for cell in cells]
    lists = [[gap if item is None else item for item in cell or []] for cell in cells]
    width = max(1, *map(len, lists))
    return [[*items, *[gap] * (width - len(items))] for items in lists]


def score(server: Grpc | Rest, rows: Sequence[dict], batch: int) -> Iterator[dict]:
    """Every row with its scores, `batch` rows a request."""
    signature = _of(server.signatures(), "predict")
    for first in range(0, len(rows), batch):
        part = rows[first : first + batch]
        columns = {name: to_column(part, name, spec) for name, spec in signature.inputs.items()}
        scores = server.predict("predict", columns, signature)
        for i, row in enumerate(part):
            yield row | {name: float(values[i]) for name, values in scores.items()}


def rank(server: Grpc | Rest, candidates: Sequence[dict], by: str) -> Iterator[dict]:
    """All rows in one request, best first.

    The model's inputs of the user and the context have one row; it is taken from the first.
    """
    signature = _of(server.signatures(), "rank")
    columns = {
        name: to_column(candidates[:1] if spec.shape[0] == 1 else candidates, name, spec)
        for name, spec in signature.inputs.items()
    }
    scores = server.predict("rank", columns, signature)
    if by not in scores:
        raise SystemExit(f"no output {by!r} to rank by; there are: {', '.join(sorted(scores))}")
    for i in np.argsort(-scores[by], kind="stable"):
        yield candidates[i] | {name: float(values[i]) for name, values in scores.items()}


def _of(signatures: Mapping[str, Signature], name: str) -> Signature:
    if name not in signatures:
        known = ", ".join(sorted(signatures))
        raise SystemExit(f"the model has no signature {name!r}; it has: {known}")
    return signatures[name]


def main() -> None:
    """Reads the rows, asks, prints."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--host", default="localhost")
    options.add_argument("--port", type=int, help="default: 8500, with --rest 8501")
    options.add_argument("--model", default="ncs4cvr")
    options.add_argument("--label", default="stable", help="'' asks for the newest version")
    options.add_argument("--rest", action="store_true", help="REST instead of gRPC")
    options.add_argument("--input", type=Path, required=True, help="JSON lines")
    options.add_argument("--batch", type=int, default=256, help="rows a request")
    options.add_argument("--rank", action="store_true", help="the rows are one user's candidates")
    options.add_argument("--by", default="ctcvr", help="the output to rank by")
    options.add_argument("--timeout", type=float, default=10, help="seconds a request")
    given = options.parse_args()
    rows = [json.loads(line) for line in given.input.read_text().split("\n") if line.strip()]
    if not rows:
        raise SystemExit(f"{given.input} holds no row")
    api, port = (Rest, 8501) if given.rest else (Grpc, 8500)
    server = api(given.host, given.port or port, given.model, given.label, given.timeout)
    try:
        answers = rank(server, rows, given.by) if given.rank else score(server, rows, given.batch)
        for answer in answers:
            print(json.dumps(answer))
    except grpc.RpcError as error:
        raise SystemExit(f"{given.host}: {error.code().name}: {error.details()}") from error
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{given.host}: HTTP {error.code}: {error.read().decode()}") from error
    except urllib.error.URLError as error:
        raise SystemExit(f"{given.host}: {error.reason}") from error


if __name__ == "__main__":
    main()
