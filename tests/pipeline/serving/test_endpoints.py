"""REST over connections that a server closes: what was idle is sent again, what failed is not."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ncs4cvr.pipeline.serving import endpoints, loadtest
from ncs4cvr.pipeline.serving.endpoints import RequestFailed, Target


class Handler(BaseHTTPRequestHandler):
    """Does with each request what the server is told to; counts connections and requests."""

    protocol_version = "HTTP/1.1"  # connections stay open
    disable_nagle_algorithm = True

    def handle(self):
        with self.server.lock:
            self.server.connections += 1
        if self.server.connections > self.server.unused:
            super().handle()

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            self.server.requests += 1
        self.server.act(self)

    def log_message(self, *_):
        pass


def answer(handler):
    """Answers, and keeps the connection."""
    handler.send_response(200)
    handler.send_header("Content-Length", "2")
    handler.end_headers()
    handler.wfile.write(b"{}")


def answer_and_close(handler):
    """Answers, and closes without saying so, as when a connection was idle for long."""
    answer(handler)
    handler.close_connection = True


def drop(handler):
    """Closes instead of answering."""
    handler.close_connection = True


def break_off(handler):
    """Closes in the middle of an answer."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"{")
    handler.close_connection = True


@pytest.fixture
def server():
    """A server that answers; so many first connections it closes unused."""
    web = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.daemon_threads = True
    web.act, web.unused, web.requests, web.connections = answer, 0, 0, 0
    web.lock = threading.Lock()
    threading.Thread(target=web.serve_forever, daemon=True).start()
    yield web
    web.shutdown()
    web.server_close()


@pytest.fixture
def connect(server):
    """Makes connections to it."""
    made = []

    def connected():
        made.append(endpoints.connection(Target(f"http://127.0.0.1:{server.server_port}", "m")))
        return made[-1]

    yield connected
    for connection in made:
        connection.close()


def test_a_connection_is_kept(server, connect):
    connection = connect()
    for _ in range(3):
        connection.send(b"{}")
    assert (server.connections, server.requests) == (1, 3)


def test_what_meets_a_closed_connection_is_sent_on_a_new_one(server, connect):
    server.act = answer_and_close
    connection = connect()
    for _ in range(3):
        connection.send(b"{}")
    assert (server.connections, server.requests) == (3, 3)


def test_so_is_what_meets_one_that_was_closed_before_its_first_request(server, connect):
    server.unused = 1
    connection = connect()
    connection.open()
    connection.send(b"{}")
    assert (server.connections, server.requests) == (2, 1)


def test_a_load_on_a_server_that_closes_connections_has_no_failures(server, connect):
    server.act = answer_and_close
    load = loadtest.Load(connections=2, duration_s=1, rate=20)
    found = loadtest.run(load, [connect(), connect()], [(b"{}", 1)])
    assert found["errors"] == {}
    assert found["answered"] == server.requests == 20


def test_a_new_connection_that_is_closed_is_a_failure_at_once(server, connect):
    server.act = drop
    with pytest.raises(RequestFailed) as failed:
        connect().send(b"{}")
    assert failed.value.kind == "RemoteDisconnected"
    assert server.requests == 1


def test_it_is_sent_once_more_and_not_again(server, connect):
    connection = connect()
    connection.send(b"{}")
    server.act = drop
    with pytest.raises(RequestFailed):
        connection.send(b"{}")
    assert server.requests == 1 + 2


def test_an_answer_that_breaks_off_is_a_failure(server, connect):
    connection = connect()
    connection.send(b"{}")
    server.act = break_off
    with pytest.raises(RequestFailed):
        connection.send(b"{}")
    assert server.requests == 1 + 1


def test_a_server_that_is_gone_is_a_failure(server, connect):
    server.act = answer_and_close
    connection = connect()
    connection.send(b"{}")
    server.shutdown()
    server.server_close()
    with pytest.raises(RequestFailed) as failed:
        connection.send(b"{}")
    assert failed.value.kind == "ConnectionRefusedError"
