"""An object store on this machine that speaks as much of Google Cloud Storage's JSON interface as
TensorFlow's own gs:// file system asks for: what runs against it is TensorFlow's real code.

TensorFlow's HTTP client goes through the proxy that `https_proxy` names and trusts the certificate
that `CURL_CA_BUNDLE` names. So the store is a proxy that takes every connection for its own. It
listens on 127.0.0.1 and keeps objects in memory.
"""

import datetime as dt
import json
import ssl
import threading
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HOSTS = ("www.googleapis.com", "storage.googleapis.com")


class ObjectStore:
    """Buckets appear when something is written to them.

    Attributes:
      objects: "bucket/name" -> content.
      moments: copies of `objects`, one after every change: what a kill there would leave.
      before: called with (method, "bucket/name") before a request changes anything.
      errors: what `before` raised: TensorFlow would try a request that fails again for minutes.
      environment: what TensorFlow has to be told.
    """

    def __init__(self, folder: Path):
        self.objects: dict[str, bytes] = {}
        self.moments: list[dict[str, bytes]] = []
        self.before: Callable[[str, str], None] = lambda method, name: None
        self.errors: list[BaseException] = []
        self._lock = threading.Lock()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(_certificate(folder / "store.pem"))
        handler = type("Handler", (_Handler,), {"store": self, "tls": tls})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.environment = {
            "https_proxy": f"http://127.0.0.1:{self.server.server_port}",
            "no_proxy": "",
            "CURL_CA_BUNDLE": str(folder / "store.pem"),
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "none",
        }

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def change(self, method: str, name: str, to: bytes | None) -> bool:
        """Writes an object, or deletes it; whether it was there."""
        try:
            self.before(method, name)
        except BaseException as error:
            self.errors.append(error)
        with self._lock:
            there = name in self.objects
            if to is None:
                self.objects.pop(name, None)
            else:
                self.objects[name] = to
            self.moments.append(dict(self.objects))
        return there

    def names(self, below: str = "") -> list[str]:
        """The objects whose names start so; directories' empty marks are left out."""
        with self._lock:
            return sorted(n for n in self.objects if n.startswith(below) and not n.endswith("/"))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # a TLS greeting is several small packets
    store: ObjectStore
    tls: ssl.SSLContext

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_CONNECT(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        self.connection = self.tls.wrap_socket(self.connection, server_side=True)
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb", buffering=0)
        self.close_connection = False

    def do_GET(self) -> None:
        if self.headers["Host"] == "storage.googleapis.com":
            return self._content("/".join(self._path()[0]))
        path, query = self._path()
        if len(path) == 4:  # b/BUCKET
            return self._answer(200, {"name": path[3], "location": "US"})
        if len(path) == 5:  # b/BUCKET/o
            return self._answer(200, self._listing(path[3] + "/", query))
        name = f"{path[3]}/{path[5]}"
        content = self.store.objects.get(name)
        return self._answer(404) if content is None else self._answer(200, _about(name, content))

    def do_POST(self) -> None:
        body, (path, query) = self._body(), self._path()
        if path[0] != "upload":  # b/BUCKET/o/NAME/rewriteTo/b/BUCKET/o/NAME
            content = self.store.objects.get(f"{path[3]}/{path[5]}")
            if content is None:
                return self._answer(404)
            self.store.change("rewrite", f"{path[8]}/{path[10]}", content)
            return self._answer(200, {"done": True})
        name = f"{path[4]}/{query['name']}"
        if query["uploadType"] == "resumable":
            there = "https://www.googleapis.com/session/" + urllib.parse.quote(name, safe="")
            return self._answer(200, Location=there)
        self.store.change("write", name, body)
        return self._answer(200, {})

    def do_PUT(self) -> None:
        self.store.change("write", self._path()[0][1], self._body())
        self._answer(200, {})

    def do_DELETE(self) -> None:
        path, _ = self._path()
        there = self.store.change("delete", f"{path[3]}/{path[5]}", None)
        self._answer(204 if there else 404)

    def _content(self, name: str) -> None:
        content = self.store.objects.get(name)
        if content is None:
            return self._answer(404)
        first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
        return self._answer(416 if first >= len(content) else 206, content[first : last + 1])

    def _listing(self, bucket: str, query: dict[str, str]) -> dict:
        below, items, prefixes = bucket + query.get("prefix", ""), [], set()
        with self.store._lock:
            found = sorted(self.store.objects.items())
        for name, content in found:
            if name.startswith(below):
                first, slash, _ = name.removeprefix(below).partition("/")
                if slash and "delimiter" in query:
                    prefixes.add((below + first + "/").removeprefix(bucket))
                else:
                    items.append(_about(name, content))
        return {"items": items, "prefixes": sorted(prefixes)}

    def _path(self) -> tuple[list[str], dict[str, str]]:
        url = urllib.parse.urlsplit(self.path)
        parts = [urllib.parse.unquote(part) for part in url.path.strip("/").split("/")]
        return parts, dict(urllib.parse.parse_qsl(url.query))

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, status: int, body: bytes | dict = b"", **headers: str) -> None:
        body = json.dumps(body).encode() if isinstance(body, dict) else body
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _about(name: str, content: bytes) -> dict[str, str]:
    """What a listing says of an object; a name without its bucket."""
    return {
        "name": name.partition("/")[2],
        "size": str(len(content)),
        "generation": "1",
        "updated": "2026-01-01T00:00:00.000Z",
    }


def _certificate(path: Path) -> Path:
    """A new key and a certificate for it, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "object store of the tests")])
    now, day = dt.datetime.now(dt.timezone.utc), dt.timedelta(days=1)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - day).not_valid_after(now + day)
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS])
    made = made.add_extension(names, critical=False)
    signed = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    pem, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, pem, plain) + signed)
    path.chmod(0o600)
    return path
