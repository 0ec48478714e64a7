"""What passed its gate in earlier runs: a register under the root that all runs share.

Open-source Kubeflow Pipelines cannot resolve "the last blessed model", so a step that lets
something through leaves an entry here, and a later run's look-up step reads the newest one. An
entry is a small file of its own, written once and never changed: two runs at the same time add two
entries. It is written when what it names is complete, under a temporary name first, so a reader
sees it whole or not at all (on an object store a write is atomic already).
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Collection
from typing import Any

from tfx.dsl.io import fileio

from ncs4cvr.components.artifacts import TRAINED_TO
from ncs4cvr.components.latest_passed import saw_answers


def add(folder: str, uri: str, **about: Any) -> None:
    """Adds an entry for `uri`; `about` is what a reader wants to know besides."""
    fileio.makedirs(folder)
    name = f"{folder}/{time.time_ns()}-{uuid.uuid4().hex[:8]}"
    with fileio.open(f"{name}.new", "w") as stream:
        stream.write(json.dumps({"uri": uri, **about}, sort_keys=True))
    fileio.rename(f"{name}.new", f"{name}.json")


def entries(folder: str) -> list[dict[str, Any]]:
    """All entries, the newest first; none where nothing passed yet."""
    if not fileio.exists(folder):
        return []
    names = [name.rstrip("/") for name in fileio.listdir(folder)]
    found = sorted((n for n in names if n.endswith(".json")), key=_time, reverse=True)
    return [_read(f"{folder}/{name}") for name in found]


def latest(folder: str, but: str, tested_from: str = "") -> dict[str, Any] | None:
    """The newest entry whose `key` is not `but` and whose files are still there.

    tested_from: models that were trained up to this day or later are passed over (see
      components.latest_passed.LatestPassed).
    """
    for entry in entries(folder):
        if entry.get("key") == but or saw_answers(entry.get(TRAINED_TO, ""), tested_from):
            continue
        if fileio.exists(entry["uri"]):
            return entry
    return None


def nearest(folder: str, before: str, refused: Collection[str]) -> dict[str, Any] | None:
    """The entry of the day nearest before `before` (see components.latest_passed.LastRun).

    Args:
      folder: of the register.
      before: a day; entries say theirs in their metadata.
      refused: `content` of models that were rolled back from.
    """
    found = [
        entry
        for entry in entries(folder)
        if (entry["metadata"].get(TRAINED_TO) or before) < before
        and entry["content"] not in refused
        and fileio.exists(entry["uri"])
    ]
    return max(found, key=lambda entry: entry["metadata"][TRAINED_TO], default=None)


def _time(name: str) -> int:
    return int(name.partition("-")[0])


def _read(path: str) -> dict[str, Any]:
    with fileio.open(path, "r") as stream:
        return json.loads(stream.read())
