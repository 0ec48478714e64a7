"""What people see while a pipeline runs; all the rest goes to the log file."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from ncs4cvr.pipeline.secrets import Formatter

TICK_S = 0.1
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
WIDTH = 18  # of a component's name


@contextlib.contextmanager
def chatter_to(path: Path) -> Iterator[TextIO]:
    """Sends all that this process prints to a file, C++ libraries included; yields the terminal."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    out, err = os.dup(1), os.dup(2)
    root, absl = logging.getLogger(), logging.getLogger("absl")  # TFX talks through absl
    levels = root.level, absl.level
    with open(path, "a", encoding="utf-8", buffering=1) as log, os.fdopen(err, "w") as terminal:
        handler = logging.StreamHandler(log)
        handler.setFormatter(Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        root.addHandler(handler)
        root.setLevel(logging.INFO)
        absl.setLevel(logging.INFO)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
                logging.captureWarnings(True)
                yield terminal
        finally:
            logging.captureWarnings(False)
            root.removeHandler(handler)
            root.setLevel(levels[0])
            absl.setLevel(levels[1])
            terminal.flush()
            os.dup2(out, 1)
            os.dup2(err, 2)
            os.close(out)


class Display(logging.Handler):
    """One line a component; on a terminal the running one shows its seconds and latest word.

    The latest word is the last INFO record of the logger "ncs4cvr". Where there is no terminal,
    every such record is a line, except progress within a step: extra={"fleeting": True}.
    """

    def __init__(self, stream: TextIO):
        super().__init__(logging.INFO)
        self._stream, self._live = stream, stream.isatty()
        self._name, self._since, self._word = "", 0.0, ""
        self._lines = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)

    def __enter__(self) -> Display:
        logger = logging.getLogger("ncs4cvr")
        logger.addHandler(self)
        logger.setLevel(logging.INFO)
        if self._live:
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        logging.getLogger("ncs4cvr").removeHandler(self)
        self._stop.set()
        if self._live:
            self._thread.join()
            self._write("\r\x1b[K")

    def say(self, line: str) -> None:
        """A line that stays."""
        self._write(f"\r\x1b[K{line}\n" if self._live else f"{line}\n")

    def start(self, name: str) -> None:
        """A component begins."""
        self._name, self._since, self._word = name, time.monotonic(), ""

    def end(self, outcome: str) -> None:
        """It ended: "12.3 s", "cached", "damaged" or "failed"."""
        mark = {"failed": "✗", "damaged": "✗", "cached": "="}.get(outcome, "✓")
        name, self._name = self._name, ""
        self.say(f"{mark} {name:<{WIDTH}} {outcome:>9}")

    def emit(self, record: logging.LogRecord) -> None:
        """Called by logging."""
        self._word = record.getMessage()
        if not self._live and not getattr(record, "fleeting", False):
            self.say(f"  {self._name}: {self._word}" if self._name else f"  {self._word}")

    def _spin(self) -> None:
        turn = 0
        while not self._stop.wait(TICK_S):
            turn += 1
            if name := self._name:
                seconds = f"{time.monotonic() - self._since:.0f} s"
                sign = SPINNER[turn % len(SPINNER)]
                line = f"{sign} {name:<{WIDTH}} {seconds:>9}  {self._word}"
                columns = os.get_terminal_size(self._stream.fileno()).columns
                self._write(f"\r\x1b[K{line[: columns - 1]}")

    def _write(self, text: str) -> None:
        with self._lines:
            self._stream.write(text)
            self._stream.flush()
