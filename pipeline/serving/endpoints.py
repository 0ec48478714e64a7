"""A TF Serving endpoint, asked over gRPC or REST with requests made once and sent often."""

from __future__ import annotations

import base64
import dataclasses
import http.client
import json
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2, model_pb2, predict_pb2

from ncs4cvr.schemas import checks

SERVICE = "/tensorflow.serving.PredictionService"
OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),  # otherwise all channels share one connection
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
]


@dataclasses.dataclass(frozen=True)
class Target:
    """Which model to ask, and where.

    Args:
      address: host:port for gRPC, http://host:port or https://host:port for REST.
      model: its name in the server.
      label: a version's label; the newest version if empty.
      timeout_s: of one request, seconds.

    Raises:
      ValueError: the address is of no known form.
    """

    address: str
    model: str
    label: str = ""
    timeout_s: float = 10.0

    def __post_init__(self):
        checks.no_secret("ENDPOINT", self.address, "leave it out, servers ask for none")
        parts = urllib.parse.urlsplit(self.address if self.rest else f"grpc://{self.address}")
        try:
            known = parts.scheme in ("http", "https", "grpc") and parts.hostname and parts.port
        except ValueError:  # a port that is no number
            known = False
        if not known or parts.path.strip("/"):
            raise ValueError(
                f"no endpoint: {self.address!r}; expected host:port (gRPC, usually port 8500) or "
                "http://host:port (REST, usually port 8501)"
            )

    @property
    def rest(self) -> bool:
        """Whether it is asked over REST."""
        return "://" in self.address

    def spec(self, signature: str = "") -> model_pb2.ModelSpec:
        """The model, as a gRPC request names it."""
        spec = model_pb2.ModelSpec(name=self.model, signature_name=signature)
        if self.label:
            spec.version_label = self.label
        return spec

    @property
    def path(self) -> str:
        """The model, as REST names it."""
        label = f"/labels/{urllib.parse.quote(self.label, '')}" if self.label else ""
        return f"/v1/models/{urllib.parse.quote(self.model, '')}{label}"


class RequestFailed(Exception):
    """A request got no answer; `kind` is what such failures have in common."""

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


class Connection(Protocol):
    """One connection, which a thread has for itself."""

    def open(self) -> None:
        """Connects; raises RequestFailed if nobody answers."""

    def encode(self, request: predict_pb2.PredictRequest) -> bytes:
        """The request as it goes over the wire, for this target's model."""

    def send(self, body: bytes) -> None:
        """Sends one request and waits for its answer; raises RequestFailed."""

    def signatures(self) -> get_model_metadata_pb2.SignatureDefMap:
        """The model's signatures; raises RequestFailed."""

    def close(self) -> None:
        """Disconnects."""


class GrpcConnection:
    """See Connection."""

    def __init__(self, target: Target):
        self._target = target
        self._channel = grpc.insecure_channel(target.address, OPTIONS)
        # Without serializers: bytes in, bytes out, and the generator's work stays small.
        self._predict = self._channel.unary_unary(f"{SERVICE}/Predict")
        self._metadata = self._channel.unary_unary(f"{SERVICE}/GetModelMetadata")

    def open(self) -> None:
        """See Connection."""
        try:
            grpc.channel_ready_future(self._channel).result(self._target.timeout_s)
        except grpc.FutureTimeoutError as error:
            raise RequestFailed("UNAVAILABLE", "no gRPC server answers there") from error

    def encode(self, request: predict_pb2.PredictRequest) -> bytes:
        """See Connection."""
        sent = predict_pb2.PredictRequest()
        sent.CopyFrom(request)
        sent.model_spec.CopyFrom(self._target.spec(request.model_spec.signature_name))
        return sent.SerializeToString()

    def send(self, body: bytes) -> None:
        """See Connection."""
        self._call(self._predict, body)

    def signatures(self) -> get_model_metadata_pb2.SignatureDefMap:
        """See Connection."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(
            model_spec=self._target.spec(), metadata_field=["signature_def"]
        )
        answer = get_model_metadata_pb2.GetModelMetadataResponse.FromString(
            self._call(self._metadata, request.SerializeToString())
        )
        found = get_model_metadata_pb2.SignatureDefMap()
        answer.metadata["signature_def"].Unpack(found)
        return found

    def close(self) -> None:
        """See Connection."""
        self._channel.close()

    def _call(self, method: Callable[..., bytes], body: bytes) -> bytes:
        try:
            return method(body, timeout=self._target.timeout_s)
        except grpc.RpcError as error:
            raise RequestFailed(error.code().name, error.details()) from error


class RestConnection:
    """See Connection."""

    def __init__(self, target: Target):
        parts = urllib.parse.urlsplit(target.address)
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        self._target = target
        self._http = kind(parts.hostname or "", parts.port, timeout=target.timeout_s)

    def open(self) -> None:
        """See Connection."""
        try:
            self._http.connect()
        except OSError as error:
            raise RequestFailed("UNAVAILABLE", f"no HTTP server answers there: {error}") from error

    def encode(self, request: predict_pb2.PredictRequest) -> bytes:
        """See Connection. The columnar form: {"inputs": {name: values}}."""
        inputs = {name: _plain(tf.make_ndarray(t)) for name, t in request.inputs.items()}
        signature = request.model_spec.signature_name
        return json.dumps({"signature_name": signature, "inputs": inputs}).encode()

    def send(self, body: bytes) -> None:
        """See Connection."""
        self._ask("POST", f"{self._target.path}:predict", body)

    def signatures(self) -> get_model_metadata_pb2.SignatureDefMap:
        """See Connection."""
        answer = json.loads(self._ask("GET", f"{self._target.path}/metadata"))
        return json_format.ParseDict(
            answer["metadata"]["signature_def"],
            get_model_metadata_pb2.SignatureDefMap(),
            ignore_unknown_fields=True,
        )

    def close(self) -> None:
        """See Connection."""
        self._http.close()

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        try:
            answer = self._begun(method, path, body)
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._http.close()  # the next request connects anew
            kind = "timeout" if isinstance(error, TimeoutError) else type(error).__name__
            raise RequestFailed(kind, str(error)) from error
        if answer.status != 200:
            raise RequestFailed(f"HTTP {answer.status}", content.decode(errors="replace").strip())
        return content

    def _begun(self, method: str, path: str, body: bytes | None) -> http.client.HTTPResponse:
        """An answer, its body still to be read.

        A server may close a connection that is idle, just when a request is under way: no fault of
        it, and the request goes out once more on a new connection, as browsers do.
        """
        kept = self._http.sock is not None
        try:
            return self._once(method, path, body)
        except (BrokenPipeError, ConnectionResetError):  # http.client.RemoteDisconnected, too
            if not kept:
                raise
            self._http.close()
            return self._once(method, path, body)

    def _once(self, method: str, path: str, body: bytes | None) -> http.client.HTTPResponse:
        self._http.request(method, path, body, {"Content-Type": "application/json"})
        return self._http.getresponse()


def connection(target: Target) -> Connection:
    """A connection to a target, not yet open."""
    return RestConnection(target) if target.rest else GrpcConnection(target)


def inputs_of(signatures: get_model_metadata_pb2.SignatureDefMap, name: str) -> dict[str, Any]:
    """{column: tf.TensorSpec} of one signature.

    Raises:
      KeyError: there is no such signature; the message names those there are.
    """
    known: Mapping[str, Any] = signatures.signature_def
    if name not in known:
        names = ", ".join(sorted(each for each in known if not each.startswith("__")))
        raise KeyError(f"the model has no signature {name!r}; give one with --signature: {names}")
    return {
        column: tf.TensorSpec(tf.TensorShape(info.tensor_shape), tf.as_dtype(info.dtype), column)
        for column, info in known[name].inputs.items()
    }


def _plain(values: np.ndarray) -> Any:
    """Values for JSON; text as the {"b64": ...} that TF Serving reads as bytes."""
    if values.dtype != object:
        return values.tolist()
    if values.ndim == 0:
        return {"b64": base64.b64encode(values.item()).decode()}
    return [_plain(np.asarray(each, object)) for each in values]
