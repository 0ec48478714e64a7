"""Servers of TF Serving's APIs, asked by its official stub and over REST, answer as Python does."""

import base64
import contextlib
import dataclasses
import importlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    prediction_service_pb2_grpc,
)

NODE = Path(__file__).parent / "node"


@dataclasses.dataclass(frozen=True)
class Server:
    """A running server of one model."""

    grpc_port: int
    rest_port: int
    model: str
    same_tensorflow: bool  # as here, so that answers are equal to the bit

    def stub(self):
        """TensorFlow Serving's own client."""
        channel = grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}")
        return prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def rest(self, path: str = "", body: dict | None = None) -> dict:
        """What /v1/models/NAME<path> answers."""
        url = f"http://127.0.0.1:{self.rest_port}/v1/models/{self.model}{path}"
        data = json.dumps(body).encode() if body else None
        with urllib.request.urlopen(url, data, timeout=60) as answer:
            return json.load(answer)


def _program(kind: str, built: Path) -> list[str]:
    """The command line of a server, without the flags that all have."""
    if kind == "tensorflow_model_server":
        if not shutil.which(kind):
            pytest.skip(f"no {kind} on PATH")
        return [kind]
    if not (NODE / "node_modules").is_dir():
        pytest.skip("no packages of Node: `make e2e` fetches them with npm")
    from serving_parts import cpp

    headers = Path(shutil.which("node")).resolve().parents[1] / "include" / "node"
    sources = NODE / "node_modules" / "@tensorflow" / "tfjs-node" / "binding"
    flags = ("-w", "-shared", "-fPIC", "-DNAPI_VERSION=8", f"-I{headers}")
    binding = cpp.compiled(sorted(sources.glob("*.cc")), "tfjs.node", built, *flags)
    (built / "descriptors").write_bytes(_descriptors().SerializeToString())
    command = ["node", str(NODE / "server.js"), f"--binding={binding}"]
    return [*command, f"--descriptors={built}/descriptors"]


def _descriptors():
    """Every .proto file that the server reads or writes, in an order that holds imports first."""
    from google.protobuf import descriptor_pb2, descriptor_pool
    from tensorflow.core.protobuf import saved_model_pb2

    found: dict[str, bytes] = {}

    def add(file) -> None:
        if file.name not in found:
            for each in file.dependencies:
                add(each)
            found[file.name] = file.serialized_pb

    # Newer protobufs refuse a line of this old module, after it has registered its descriptor.
    with contextlib.suppress(AttributeError):
        importlib.import_module("tensorflow_serving.apis.prediction_service_pb2")
    service = "tensorflow_serving/apis/prediction_service.proto"
    add(descriptor_pool.Default().FindFileByName(service))
    add(saved_model_pb2.DESCRIPTOR)
    files = [descriptor_pb2.FileDescriptorProto.FromString(each) for each in found.values()]
    return descriptor_pb2.FileDescriptorSet(file=files)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module", params=["node", "tensorflow_model_server"])
def server(request, recorded, record, built, tmp_path_factory):
    server = Server(_free_port(), _free_port(), record.NAME, request.param == "node")
    log = tmp_path_factory.mktemp("server") / "log"
    command = [
        *_program(request.param, built),
        f"--port={server.grpc_port}",
        f"--rest_api_port={server.rest_port}",
        f"--model_name={server.model}",
        f"--model_base_path={recorded.base}",
    ]
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + 120
        while not _available(server):
            assert process.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < until, "not available in time: " + log.read_text()[-3000:]
            time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        process.wait(30)


def _available(server: Server) -> bool:
    with contextlib.suppress(urllib.error.URLError):
        states = [each["state"] for each in server.rest()["model_version_status"]]
        return states == ["AVAILABLE"]
    return False


def _json(values):
    """Nested lists; bytes in the way of TF Serving's REST API."""
    if isinstance(values, list):
        return [_json(each) for each in values]
    if isinstance(values, bytes):
        return {"b64": base64.b64encode(values).decode()}
    return values


def test_the_official_stub_gets_what_python_answers(server, recorded, record, agree):
    for signature, inputs, expected in recorded.requests:
        answer = server.stub().Predict(record.request(signature, inputs), timeout=60)
        agree(
            recorded,
            {k: tf.make_ndarray(x) for k, x in answer.outputs.items()},
            expected,
            server.same_tensorflow,
        )


def test_rest_columns_get_what_python_answers(server, recorded, agree):
    for signature, inputs, expected in recorded.requests:
        columns = {name: _json(values.tolist()) for name, values in inputs.items()}
        body = {"signature_name": signature, "inputs": columns}
        outputs = server.rest(":predict", body)["outputs"]
        answer = {k: np.array(x, expected[k].dtype) for k, x in outputs.items()}
        agree(recorded, answer, expected, server.same_tensorflow)


def test_rest_rows_get_what_python_answers(server, recorded, agree):
    by_row = [r for r in recorded.requests if len({len(x) for x in r[1].values()}) == 1]
    assert by_row
    for signature, inputs, expected in by_row:
        columns = {name: _json(values.tolist()) for name, values in inputs.items()}
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        body = {"signature_name": signature, "instances": rows}
        predictions = server.rest("/versions/1:predict", body)["predictions"]
        answer = {
            k: np.array([row[k] for row in predictions], x.dtype) for k, x in expected.items()
        }
        agree(recorded, answer, expected, server.same_tensorflow)


def test_the_metadata_are_the_signatures_of_the_saved_model(server, recorded, record):
    from serving_parts import cpp

    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = record.NAME
    answer = server.stub().GetModelMetadata(request, timeout=60)
    found = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(found)
    for name, signature in cpp.signatures(recorded.folder).items():
        assert found.signature_def[name] == signature


def test_an_output_filter_leaves_the_others_out(server, recorded, record):
    signature, inputs, expected = recorded.requests[0]
    request = record.request(signature, inputs)
    request.output_filter.append(min(expected))
    assert list(server.stub().Predict(request, timeout=60).outputs) == [min(expected)]


def test_another_model_is_not_found(server, recorded, record):
    request = record.request(*recorded.requests[0][:2])
    request.model_spec.name = "another"
    with pytest.raises(grpc.RpcError) as refused:
        server.stub().Predict(request, timeout=60)
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND
    with pytest.raises(urllib.error.HTTPError, match="404"):
        dataclasses.replace(server, model="another").rest()


def test_a_request_without_its_inputs_is_refused(server, record):
    with pytest.raises(grpc.RpcError) as refused:
        server.stub().Predict(record.request("serving_default", {}), timeout=60)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(urllib.error.HTTPError, match="400"):
        server.rest(":predict", {"signature_name": "predict", "instances": [{}]})
