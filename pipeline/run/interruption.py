"""Ctrl-C and SIGTERM, noted when they come.

Python raises KeyboardInterrupt in whatever line is next. Where that is a library's, the library may
make another error of it, or swallow it; the run must end all the same.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

from ncs4cvr.pipeline.status import Terminated

_came: KeyboardInterrupt | None = None  # a signal is the process's


@contextlib.contextmanager
def noticed() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise within, and are noted; one that was swallowed raises at the end.

    For the main thread.
    """
    global _came
    _came = None
    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, _note)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is to be ignored
        before[signal.SIGINT] = signal.signal(signal.SIGINT, _note)
    try:
        yield
        check()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check() -> None:
    """Raises the KeyboardInterrupt (or Terminated) that came, if one did."""
    if _came:
        raise _came from None


def _note(number: int, frame: object) -> None:
    global _came
    _came = Terminated() if number == signal.SIGTERM else KeyboardInterrupt()
    raise _came
