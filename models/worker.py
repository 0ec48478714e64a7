"""One of several workers: `python -m ncs4cvr.models.worker`; models/together/launch.py starts it.

Reads the job, a line of JSON, from standard input, ends when that pipe closes, and writes a line of
JSON for every word to people and for an error; all else that it prints goes to standard error.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from typing import TextIO


class _Words(logging.Handler):
    """Writes records of the logger "ncs4cvr" as JSON."""

    def __init__(self, out: TextIO):
        super().__init__(logging.INFO)
        self.out = out

    def emit(self, record: logging.LogRecord) -> None:
        """Called by logging."""
        fleeting = bool(getattr(record, "fleeting", False))
        say(self.out, level=record.levelno, message=record.getMessage(), fleeting=fleeting)


def say(out: TextIO, **what: object) -> None:
    """One line to whoever started this process."""
    out.write(json.dumps(what) + "\n")
    out.flush()


def main() -> int:
    """Does the job; 1 if it failed."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    logger = logging.getLogger("ncs4cvr")
    logger.addHandler(_Words(out))
    logger.setLevel(logging.INFO)
    job = json.loads(sys.stdin.readline())
    os.sched_setaffinity(0, job["cores"])  # TensorFlow, imported below, starts as many threads
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        from ncs4cvr.models import trainer

        getattr(trainer, job["function"])(**job["arguments"])
    except Exception as error:
        logging.exception("the worker failed")
        say(out, error=str(error) or type(error).__name__, kind=type(error).__name__)
        return 1
    return 0


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    # What TensorFlow keeps running for its cluster must not hold up the end.
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
