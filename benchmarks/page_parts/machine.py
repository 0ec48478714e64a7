"""On what a benchmark ran: the facts that every page tells."""

from __future__ import annotations

import datetime as dt
import os
import platform
from pathlib import Path


def facts() -> dict[str, str]:
    """Date, and processors by number and name."""
    return {
        "date": dt.date.today().isoformat(),
        "machine": f"{os.cpu_count()} x {_processor()}",
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()
