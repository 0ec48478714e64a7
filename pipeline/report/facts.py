"""All that a report tells, as one JSON value; docs/report.md says what its keys hold.

The page and the model card are made of these facts and of nothing else.
"""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfx.utils import path_utils

from ncs4cvr.components import data_gate, model_gate
from ncs4cvr.components.serving_check import REPORT
from ncs4cvr.pipeline.report import data, lineage, tickets
from ncs4cvr.pipeline.run import history
from ncs4cvr.pipeline.run.run_record import RunRecord, Step
from ncs4cvr.pipeline.secrets import hidden
from ncs4cvr.pipeline.status import DATA_REFUSED, FAULT, INTERRUPTED, NOT_BLESSED, PUSHED
from ncs4cvr.schemas.recipe import Recipe

FORMAT = 1  # raised when a key changes its meaning or goes
LAST_RUNS = 14
MEMORY_POINTS = 200
STATUS = {
    history.PUSHED: PUSHED,
    history.NOT_PUSHED: NOT_BLESSED,
    history.NOT_BLESSED: NOT_BLESSED,
    history.REFUSED: DATA_REFUSED,
    history.FAULT: FAULT,
    history.INTERRUPTED: INTERRUPTED,
}


def gather(
    recipe: Recipe, folder: Path, record: RunRecord, error: BaseException | None
) -> dict[str, Any]:
    """The facts of a run that has ended and is noted in the folder's history.

    Args:
      recipe: what ran.
      folder: of the run.
      record: its steps.
      error: what stopped it; None where nothing did, and where somebody did.
    """
    steps, runs = record.steps, history.read(folder)
    ended = runs[-1]
    counts = None
    if "VideoLogExampleGen" in steps:
        letters = steps["VideoLogExampleGen"].outputs["dead_letters"][0]
        counts = data_gate.read_counts(letters.uri)
    return {
        "format": FORMAT,
        "run": {
            "recipe": recipe.name,
            "began": record.began.isoformat(timespec="seconds"),
            "ended": ended["ended"],
            "seconds": ended["seconds"],
            "stack": ".".join(importlib.metadata.version("tfx").split(".")[:2]),
            "splits": [
                {"name": s.name, "first": s.first, "last": s.last} for s in recipe.log.splits
            ],
        },
        "verdict": _verdict(ended, record.running, hidden(str(error or ""))),
        "rows": None if counts is None else data.rows(counts),
        "data": {
            "gate": data.gate(steps, error),
            "changes": data.changes(recipe, steps),
        },
        "sharing": {
            "kind": recipe.sharing,
            "control": recipe.control,
            "hidden": list(recipe.hidden),
            "tickets": tickets.facts(steps),
        },
        "training": _training(steps),
        "model": _json(steps, "ModelGate", "blessing", model_gate.FILE),
        "serving": _json(steps, "ServingCheck", "blessing", REPORT),
        "timeline": record.timeline(),
        "memory": thinned(record.memory(), MEMORY_POINTS),
        "lineage": lineage.facts(recipe, record, folder / "serving"),
        "last_runs": runs[-LAST_RUNS:],
    }


def _verdict(ended: Mapping[str, Any], stopped_in: str, message: str) -> dict[str, Any]:
    """How it ended: see the history; `status` is the exit status, `component` where it stopped."""
    return {
        "state": ended["verdict"],
        "status": ended.get("status", STATUS[ended["verdict"]]),
        "pushed": ended["verdict"] == history.PUSHED,
        "version": ended.get("version"),
        "why": ended.get("why", ""),
        "component": stopped_in or None,
        "message": message,
    }


def _training(steps: Mapping[str, Step]) -> dict[str, Any] | None:
    told = _json(steps, "Trainer", "model_run", "training.json")
    if told is None:
        return None
    run, model = (steps["Trainer"].outputs[key][0].uri for key in ("model_run", "model"))
    exported = Path(path_utils.serving_model_path(model))
    return {
        **told,
        "model_bytes": sum(f.stat().st_size for f in exported.rglob("*") if f.is_file()),
        "tensorboard": f"tensorboard --logdir {Path(run).parent}",
    }


def _json(
    steps: Mapping[str, Step], component: str, output: str, file: str
) -> dict[str, Any] | None:
    if component not in steps:
        return None
    path = Path(steps[component].outputs[output][0].uri) / file
    return json.loads(path.read_text(encoding="utf-8"))


def thinned(points: Sequence[tuple[float, float]], most: int) -> list[list[float]]:
    """At most so many points: the largest value of each stretch of time, at its moment.

    >>> thinned([(0, 1), (1, 5), (2, 3), (3, 2)], 2)
    [[1, 5], [2, 3]]
    """
    if not points:
        return []
    first, last = points[0][0], points[-1][0]
    largest: dict[int, tuple[float, float]] = {}
    for when, value in points:
        part = min(most - 1, int(most * (when - first) / (last - first))) if last > first else 0
        if part not in largest or value > largest[part][1]:
            largest[part] = (when, value)
    return [[round(when, 2), round(value)] for when, value in largest.values()]
