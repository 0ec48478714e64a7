"""How much memory a run holds, second by second."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

PERIOD_S = 0.2
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20


class Meter:
    """Looks every `PERIOD_S` at the memory of this process and of all that it started.

    Attributes:
      points: (seconds by the monotonic clock, MB of 2^20 bytes), the earliest first.
    """

    def __init__(self) -> None:
        self.points: list[tuple[float, float]] = []
        self._looking = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Meter:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def look(self) -> None:
        """Notes what is held now."""
        with self._looking:  # two looks at a time could come in the wrong order
            self.points.append((time.monotonic(), held_mb(os.getpid())))

    def _watch(self) -> None:
        self.look()
        while not self._stop.wait(PERIOD_S):
            self.look()


def held_mb(process: int) -> float:
    """Resident memory of a process and of all that it started, in MB of 2^20 bytes.

    What processes share counts once for each. A kernel that does not tell the children of a process
    (CONFIG_PROC_CHILDREN) leaves theirs out.
    """
    pages, waiting = 0, [process]
    while waiting:
        one = Path(f"/proc/{waiting.pop()}")
        try:
            pages += int((one / "statm").read_text().split()[1])
            for task in (one / "task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            continue
    return pages * PAGE_MB
