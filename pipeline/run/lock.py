"""One process at a time works in a run's folder; a second one learns who does.

The kernel holds the lock (flock) and lets go of it when its process ends, however that ends. The
file only says who holds it, so a lock of a dead process needs no removal: the next one takes it.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = "lock"


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: process, machine, since when (UTC), and what it does."""

    pid: int
    host: str
    since: str
    doing: str

    def __str__(self) -> str:
        return f"`ncs4cvr {self.doing}`, process {self.pid} on {self.host} since {self.since}"


class Locked(Exception):
    """Somebody else is at work in the folder; the message says who."""


@contextlib.contextmanager
def only_one(folder: Path, doing: str) -> Iterator[Holder | None]:
    """Holds the folder's lock; yields who held it last if that process died with it.

    Raises:
      Locked: a living process holds it.
    """
    with open(folder / FILE, "a+", encoding="utf-8") as file:
        if not _taken(file):
            who = holder(folder) or "a process that has not said yet who it is"
            raise Locked(f"{folder} is in use: {who}; wait for its end, or stop it")
        died = holder(folder)
        now = dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")
        _say(file, json.dumps(asdict(Holder(os.getpid(), socket.gethostname(), now, doing))))
        try:
            yield died
        finally:
            _say(file, "")


def _taken(file) -> bool:
    """Whether the lock could be had: a few tries, since `held` has it for an instant, too."""
    for pause in (0.05, 0.1, 0.2, 0):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(pause)
    return False


def _say(file, text: str) -> None:
    file.truncate(0)  # it was opened to append: what is written goes to the end
    file.write(text)
    file.flush()


def holder(folder: Path) -> Holder | None:
    """Who says to hold the lock: the living holder, or one that died; None where nobody does."""
    try:
        return Holder(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def held(folder: Path) -> bool:
    """Whether a living process holds the lock."""
    try:
        with open(folder / FILE, encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
