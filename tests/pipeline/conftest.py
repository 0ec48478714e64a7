"""A small SavedModel, and servers that answer with it over TF Serving's gRPC and REST APIs."""

import base64
import contextlib
import itertools
import json
import math
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_pb2,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from small_savedmodel import GAP, One, Small, saved

VERSION = 7


def pytest_addoption(parser):
    parser.addoption("--messages", help="test_messages.py writes what is said into this Markdown")


def example(user: int, price: float) -> bytes:
    features = tf.train.Features(
        feature={
            "user": tf.train.Feature(int64_list=tf.train.Int64List(value=[user])),
            "price": tf.train.Feature(float_list=tf.train.FloatList(value=[price])),
        }
    )
    return tf.train.Example(features=features).SerializeToString()


@pytest.fixture(scope="session")
def serving(tmp_path_factory) -> Path:
    """A serving folder with one version of the small model and its warm-up requests."""
    folder = tmp_path_factory.mktemp("run") / "serving"
    version = saved(Small(), folder / str(VERSION))
    (version / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(version / "assets.extra/tf_serving_warmup_requests")) as out:
        for name, inputs in (
            ("serving_default", {"examples": [example(10, 0.5), example(20, math.nan)]}),
            (
                "rank",
                {
                    "user": tf.constant([10], tf.int64),
                    "city": [""],
                    "price": [0.5, 0.25, 1.0],
                    "history": tf.constant([[1, 2, GAP]], tf.int64),
                },
            ),
        ):
            request = predict_pb2.PredictRequest(
                model_spec=model_pb2.ModelSpec(name="recorded", signature_name=name)
            )
            for column, values in inputs.items():
                request.inputs[column].CopyFrom(tf.make_tensor_proto(values))
            log = prediction_log_pb2.PredictLog(request=request)
            entry = prediction_log_pb2.PredictionLog(predict_log=log)
            out.write(entry.SerializeToString())
    return folder


class Refused(Exception):
    """What the servers answer instead of scores."""

    def __init__(self, code: grpc.StatusCode, http: int, message: str):
        super().__init__(message)
        self.code, self.http = code, http


class Served:
    """The model behind both servers, with a delay and failures to order."""

    def __init__(self, folder: Path):
        self.loaded = tf.saved_model.load(str(folder))
        model = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
        self.signatures = get_model_metadata_pb2.SignatureDefMap(
            signature_def=model.meta_graphs[0].signature_def
        )
        self.reset()

    def reset(self) -> None:
        """Answers at once, and every request; none was asked."""
        self.delay_s = 0.0
        self.fails = lambda number: False
        self.asked: list[tuple[str, dict[str, np.ndarray]]] = []
        self._numbers = itertools.count()

    def check(self, name: str, label: str) -> None:
        if name != "ncs4cvr" or label not in ("", "stable"):
            message = f"Servable not found for request: {name} {label}"
            raise Refused(grpc.StatusCode.NOT_FOUND, 404, message)

    def predict(self, signature: str, inputs: dict) -> dict[str, np.ndarray]:
        """Answers one request; `inputs` are arrays or lists."""
        if self.fails(next(self._numbers)):
            raise Refused(grpc.StatusCode.INTERNAL, 500, "the disk is on fire")
        time.sleep(self.delay_s)
        if signature not in self.loaded.signatures:
            message = f'Serving signature name: "{signature}" not found in signature def'
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, 400, message)
        call = self.loaded.signatures[signature]
        wanted = call.structured_input_signature[1]
        if set(wanted) != set(inputs):
            message = f"expected the inputs {sorted(wanted)}, got {sorted(inputs)}"
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, 400, message)
        tensors = {n: tf.constant(v, wanted[n].dtype) for n, v in inputs.items()}
        self.asked.append((signature, {n: t.numpy() for n, t in tensors.items()}))
        return {name: values.numpy() for name, values in call(**tensors).items()}


class GrpcServicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, served: Served):
        self.served = served

    def Predict(self, request, context):
        spec = request.model_spec
        try:
            self.served.check(spec.name, spec.version_label)
            inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
            outputs = self.served.predict(spec.signature_name, inputs)
        except Refused as error:
            context.abort(error.code, str(error))
        answer = predict_pb2.PredictResponse()
        for name, values in outputs.items():
            answer.outputs[name].CopyFrom(tf.make_tensor_proto(values))
        return answer

    def GetModelMetadata(self, request, context):
        spec = request.model_spec
        try:
            self.served.check(spec.name, spec.version_label)
        except Refused as error:
            context.abort(error.code, str(error))
        answer = get_model_metadata_pb2.GetModelMetadataResponse()
        answer.metadata["signature_def"].Pack(self.served.signatures)
        return answer


def rest_handler(served: Served) -> type[BaseHTTPRequestHandler]:
    """TF Serving's paths: /v1/models/NAME[/labels/LABEL]:predict and .../metadata."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # connections stay open
        disable_nagle_algorithm = True  # head and body are two packets, which would wait 40 ms

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            path, _, verb = self.path.partition(":")
            self._answer(path, lambda: self._predict(verb, body))

        def do_GET(self):
            path, _, last = self.path.rpartition("/")
            assert last == "metadata"
            signatures = json_format.MessageToDict(
                served.signatures, preserving_proto_field_name=True
            )
            self._answer(path, lambda: {"metadata": {"signature_def": signatures}})

        def _predict(self, verb, body):
            assert verb == "predict"
            inputs = {name: plain(values) for name, values in body["inputs"].items()}
            found = served.predict(body["signature_name"], inputs)
            outputs = {name: values.tolist() for name, values in found.items()}
            # As TF Serving does: the values alone where there is one output.
            return {"outputs": outputs if len(outputs) > 1 else next(iter(outputs.values()))}

        def _answer(self, path, act):
            _, _, _, name, *label = path.split("/")
            try:
                served.check(name, label[1] if label else "")
                status, content = 200, act()
            except Refused as error:
                status, content = error.http, {"error": str(error)}
            sent = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_):
            pass

    return Handler


def plain(values):
    """JSON's values; {"b64": ...} is bytes."""
    if isinstance(values, list):
        return [plain(each) for each in values]
    return base64.b64decode(values["b64"]) if isinstance(values, dict) else values


@contextlib.contextmanager
def servers_of(folder: Path) -> Iterator[Served]:
    """Both servers of a model."""
    served = Served(folder)
    server = grpc.server(ThreadPoolExecutor(16))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        GrpcServicer(served), server
    )
    served.grpc = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    web = ThreadingHTTPServer(("127.0.0.1", 0), rest_handler(served))
    served.rest = f"http://127.0.0.1:{web.server_port}"
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield served
    server.stop(None)
    web.shutdown()
    web.server_close()


@pytest.fixture(scope="session")
def _servers(serving):
    with servers_of(serving / str(VERSION)) as served:
        yield served


@pytest.fixture
def served(_servers):
    """The model behind a gRPC server at `served.grpc` and a REST server at `served.rest`."""
    _servers.reset()
    return _servers


@pytest.fixture(scope="session")
def served_one(tmp_path_factory):
    """The same of the model with one output."""
    with servers_of(saved(One(), tmp_path_factory.mktemp("one") / "1")) as served:
        yield served


@pytest.fixture(params=["grpc", "rest"])
def endpoint(served, request) -> str:
    """Each server's address in turn."""
    return getattr(served, request.param)
