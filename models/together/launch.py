"""Starts the workers of a step on this machine, shows what the chief says, ends them all."""

from __future__ import annotations

import json
import logging
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any

from ncs4cvr.schemas.recipe import Recipe

log = logging.getLogger("ncs4cvr")
ALL_ENDED_S = 60  # after the first has failed
#: What the others see of a worker that failed; its own error says why.
SECOND_HAND = ("UnavailableError", "AbortedError", "CancelledError", "InternalError", "GoneError")


class WorkerFailed(RuntimeError):
    """A worker raised or was killed, and with it the step."""


def together(function: str, arguments: Mapping[str, Any], recipe: Recipe) -> None:
    """Calls a function of models/trainer.py in all workers and waits for them.

    TensorFlow can join a cluster only before its first operation, so each worker is a process of
    its own, the chief, too. Where TF_CONFIG is set, the other workers are started elsewhere by the
    same step, and one process is started here. Without it `recipe.workers` are, on loopback, with
    `cores` of their own.

    Args:
      function: its name.
      arguments: what JSON can hold.
      recipe: of the step.

    Raises:
      ValueError, WorkerFailed: the first worker that failed did so; says why.
    """
    configs = [os.environ["TF_CONFIG"]] if os.environ.get("TF_CONFIG") else loopback(recipe.workers)
    with ExitStack() as stack:
        said: queue.Queue = queue.Queue()
        for index, config in enumerate(configs):
            own = cores(index, len(configs))
            job = {"function": function, "arguments": arguments, "cores": own}
            started = _start(config)
            stack.callback(_end, started)
            threading.Thread(target=_listen, args=(index, started, said), daemon=True).start()
            # It ends when this pipe does, however this process ends.
            with suppress(BrokenPipeError):  # it has ended already: _follow says how
                print(json.dumps(job), file=started.stdin, flush=True)
        _follow(said, len(configs))


def loopback(count: int) -> list[str]:
    """TF_CONFIG of every worker, on ports that were free a moment ago."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        hosts = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    return [
        json.dumps({"cluster": {"worker": hosts}, "task": {"type": "worker", "index": i}})
        for i in range(count)
    ]


def cores(index: int, count: int) -> list[int]:
    """Those of this process's processors that worker `index` of `count` runs on.

    With as many threads as cores. In every step all wait for the slowest, so none may lose its
    core to what another's threads have to do.
    """
    every = sorted(os.sched_getaffinity(0))
    return every[index::count] or [every[index % len(every)]]


def _start(config: str) -> subprocess.Popen:
    environment = {**os.environ, "TF_CONFIG": config}
    command = [sys.executable, "-m", "ncs4cvr.models.worker"]  # this package's own module
    return subprocess.Popen(  # noqa: S603  # nosec B603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )


def _listen(index: int, started: subprocess.Popen, said: queue.Queue) -> None:
    for line in started.stdout or ():
        said.put((index, json.loads(line)))
    said.put((index, started.wait()))


def _follow(said: queue.Queue, running: int) -> None:
    """Passes on what the first worker says; raises the error that the others' came from."""
    errors: list[tuple[int, dict[str, str]]] = []
    codes: dict[int, int] = {}
    failed = False
    while len(codes) < running:
        try:
            index, what = said.get(timeout=ALL_ENDED_S if failed else None)
        except queue.Empty:
            break  # those that still run wait for one that has failed
        if isinstance(what, int):
            codes[index] = what
            failed = failed or what != 0
        elif "error" in what:
            errors.append((index, what))
        elif index == 0:
            log.log(what["level"], what["message"], extra={"fleeting": what["fleeting"]})
    if not failed:
        return
    killed = {index: -code for index, code in codes.items() if code < 0}
    own = [e for e in errors if e[1]["kind"] not in SECOND_HAND]
    if own:
        index, what = own[0]
        kind = ValueError if what["kind"] == "ValueError" else WorkerFailed
        raise kind(what["error"])
    if killed:
        told = ", ".join(f"worker {i} by signal {n}" for i, n in sorted(killed.items()))
        raise WorkerFailed(
            f"killed: {told} (9 is also what a machine out of memory sends); run again, training "
            "goes on after its last finished epoch"
        )
    if errors:
        index, what = errors[0]
        raise WorkerFailed(f"worker {index}: {what['error']}")
    index, code = next((i, code) for i, code in codes.items() if code)
    raise WorkerFailed(f"worker {index} ended with status {code} and said nothing; see above")


def _end(started: subprocess.Popen) -> None:
    started.kill()
    started.wait()
