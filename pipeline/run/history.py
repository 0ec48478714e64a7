"""What every run, and every rollback, in a folder came to: one line of JSON each."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

from ncs4cvr.pipeline.run import durable
from ncs4cvr.pipeline.secrets import hidden

FILE = "history.jsonl"
#: How a run ended, by what `ncs4cvr runs` shows.
PUSHED, NOT_PUSHED, NOT_BLESSED = "pushed", "blessed, not pushed", "not blessed"
REFUSED, FAULT, INTERRUPTED, DIED = "data refused", "fault", "interrupted", "died"
ROLLED_BACK = "rolled back"


def add(folder: Path, verdict: str, **facts: Any) -> None:
    """Notes how a run ended: its verdict; `why`, `version`, `metrics`, `seconds`, `status`."""
    now = dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")
    line: dict[str, Any] = {"ended": now, "recipe": folder.name, "verdict": verdict, **facts}
    told = {key: hidden(fact) if isinstance(fact, str) else fact for key, fact in line.items()}
    durable.append(folder / FILE, json.dumps(told))


def read(folder: Path) -> list[dict[str, Any]]:
    """All that was noted, the oldest first; lines that a stopped machine cut off are left out."""
    path = folder / FILE
    lines = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    found = []
    for line in lines.splitlines():
        try:
            noted = json.loads(line)
        except ValueError:
            continue
        if isinstance(noted, dict) and "verdict" in noted:
            found.append(noted)
    return found
