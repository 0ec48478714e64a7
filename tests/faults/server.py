"""Loads everything once and forks a process for every run of `ncs4cvr`, with a fault in it.

A request is a line of JSON on standard input, and the answer a line on standard output: {"start":
[arguments], "fault": {...}, "log": file} is answered by the process's number, {"wait": number} by
its exit status, negative where a signal ended it.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

MODULES = ("local", "summary", "checkup", "report", "cli")


def serve() -> None:
    """Answers until standard input ends."""
    for name in MODULES:
        importlib.import_module(f"ncs4cvr.pipeline.{name}")
    # All that a run imports: another user may not be able to read where Python lies.
    for name in importlib.import_module("ncs4cvr.pipeline.commands").NAMES:
        importlib.import_module(f"ncs4cvr.pipeline.commands.{name}")
    for name in ("trainer", "preprocessing"):
        importlib.import_module(f"ncs4cvr.models.{name}")
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        elif answer := os.fork():
            pass
        else:
            run(request["start"], request["fault"], request["log"])
        answers.write(f"{answer}\n")
        answers.flush()


def run(arguments: list[str], fault: dict[str, Any], log: str) -> None:
    """Is the forked process: `ncs4cvr` with these arguments, or the check of versions."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    for number in (1, 2):
        os.dup2(output, number)
    # A shell that starts the tests in the background has them ignore Ctrl-C, forks included.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    status = 1
    try:
        FAULTS[fault.get("kind", "none")](fault)
        if arguments[0] == "load":
            load(arguments[1:])
            status = 0
        else:
            status = importlib.import_module("ncs4cvr.pipeline.cli").main(arguments)
    except BaseException:  # os._exit would leave it untold
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def load(folders: list[str]) -> None:
    """Loads SavedModels and asks each for a prediction; raises where one gives none."""
    import tensorflow as tf

    for folder in folders:
        answer = tf.saved_model.load(folder).signatures["serving_default"](tf.constant([b""]))
        if not all(0 <= float(score[0]) <= 1 for score in answer.values()):
            raise RuntimeError(f"{folder} answers {answer}")


def _stop_in_component(fault: dict[str, Any]) -> None:
    """A signal at the start, in the middle or at the end of a component's executor."""
    from tfx.orchestration.portable import beam_executor_operator, python_executor_operator

    original = python_executor_operator.run_with_executor
    number = getattr(signal, fault["signal"])

    def stop() -> None:
        os.kill(os.getpid(), number)

    def stopped(info: Any, executor: Any) -> Any:
        if info.pipeline_node.node_info.id != fault["component"]:
            return original(info, executor)
        if fault["moment"] == "start":
            stop()
        elif fault["moment"] == "middle":
            timer = threading.Timer(fault["after_s"], stop)
            timer.daemon = True
            timer.start()
        result = original(info, executor)
        stop()
        time.sleep(60)  # a signal that Python handles comes a moment later
        return result

    python_executor_operator.run_with_executor = stopped
    beam_executor_operator.python_executor_operator.run_with_executor = stopped


def _kill_in_function(fault: dict[str, Any]) -> None:
    """kill -9 right before or after a function is called for the n-th time."""
    module_name, _, name = fault["function"].rpartition(".")
    owner: Any = importlib.import_module(module_name.partition(":")[0])
    for part in filter(None, module_name.partition(":")[2].split(".")):
        owner = getattr(owner, part)
    original, left = getattr(owner, name), [fault.get("call", 1)]

    def killed(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and fault["moment"] == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, killed)


def _wait_in_component(fault: dict[str, Any]) -> None:
    """Says that a component began, and waits for a file."""
    from ncs4cvr.pipeline.display import Display

    start = Display.start

    def waiting(self: Any, name: str) -> None:
        start(self, name)
        if name == fault["component"]:
            Path(fault["began"]).touch()
            while not Path(fault["go"]).exists():
                time.sleep(0.05)

    Display.start = waiting  # type: ignore[method-assign]


def _as_user(fault: dict[str, Any]) -> None:
    """Another user, without root's rights."""
    os.setgroups([])
    os.setgid(fault["uid"])
    os.setuid(fault["uid"])


FAULTS = {
    "none": lambda fault: None,
    "stop": _stop_in_component,
    "kill": _kill_in_function,
    "wait": _wait_in_component,
    "user": _as_user,
}

if __name__ == "__main__":
    serve()
