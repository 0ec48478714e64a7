"""The ways that Beam runs: here, in processes of this machine, and by a job service of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from beam_parts.watch import ENGINE, POOL

ONE, TWO, PORTABLE = "one", "two", "portable"
WAYS = {
    ONE: "one process",
    TWO: "two worker processes, started by the driver",
    PORTABLE: "a job service, with two workers of a pool",
}
WAIT_S = 60.0
SERVICE = Path(__file__).parent / "service.py"


@contextlib.contextmanager
def started(way: str, folder: Path) -> Iterator[tuple[tuple[str, ...], dict[int, str]]]:
    """What the way needs; gives the settings of Beam, and session -> part (see watch.Watch)."""
    if way == ONE:
        yield (), {}
    elif way == TWO:
        yield ("runner=DirectRunner", "direct_num_workers=2"), {}
    else:
        with _services(folder) as (ports, sessions):
            settings = (
                "runner=PortableRunner",
                f"job_endpoint=127.0.0.1:{ports[ENGINE]}",
                "environment_type=EXTERNAL",
                f"environment_config=127.0.0.1:{ports[POOL]}",
            )
            yield settings, sessions


@contextlib.contextmanager
def _services(folder: Path) -> Iterator[tuple[dict[str, int], dict[int, str]]]:
    ports = {ENGINE: _free_port(), POOL: _free_port()}
    pool = "apache_beam.runners.worker.worker_pool_main"
    commands = {
        ENGINE: [str(SERVICE), f"--port={ports[ENGINE]}"],
        POOL: ["-m", pool, f"--service_port={ports[POOL]}"],
    }
    # The pool starts `python`, which must be this one.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    sessions: dict[int, str] = {}
    with contextlib.ExitStack() as stack:
        for part, command in commands.items():
            log = stack.enter_context((folder / f"{part}.log").open("wb"))
            process = subprocess.Popen(
                [sys.executable, *command],
                cwd=folder,
                env={**os.environ, "PATH": path},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            stack.callback(ended, process)
            sessions[process.pid] = part
        for port in ports.values():
            _until_open(port)
        yield ports, sessions


def ended(process: subprocess.Popen) -> None:
    """Ends the first process of a session, if it runs, and what of its group is left then."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _until_open(port: int) -> None:
    end = time.monotonic() + WAIT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
