"""Runs on a window of the log, spoiled or not, and what came of them."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
from poison_parts import margins
from poison_parts.poisons import DAY, resampled, spoiled

from ncs4cvr.components.data_gate import DataRefused
from ncs4cvr.components.log.records import LogError
from ncs4cvr.pipeline import recipe_files
from ncs4cvr.pipeline.cli import main as ncs4cvr
from ncs4cvr.pipeline.display import Display, chatter_to
from ncs4cvr.pipeline.run import interruption, local
from ncs4cvr.pipeline.run.meter import Meter
from ncs4cvr.pipeline.run.run_record import RunRecord
from ncs4cvr.schemas.log import Split
from ncs4cvr.schemas.recipe import Recipe
from ncs4cvr.schemas.tasks import Gate

EVENTS = Path(__file__).parents[2] / "data/kuairand_pure/events.parquet"
Json = dict[str, Any]


def first(root: Path) -> Path:
    """The artifacts of the only recipe in a root."""
    return next(root.glob("*/artifacts"))


def run(work: Path, root: str, chosen: Recipe, tickets: Path | None) -> Json:
    """`ncs4cvr run` of a recipe; its status, what stopped it, and its CVR AUC."""
    file = work / "recipe.json"
    file.write_text(chosen.to_json())
    arguments = ["run", str(file), "--root", str(work / root)]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        status = ncs4cvr([*arguments, *(["--tickets", str(tickets)] if tickets else [])])
    text = said.getvalue()
    (work / "last_run.txt").write_text(text)
    if status not in (0, 3, 4):
        raise RuntimeError(f"the run of {root} ended with {status}:\n{text}")
    found: Json = {"status": status, "stopped_by": ""}
    if status == 4:
        return found | {"stopped_by": "DataGate", "why": _complaints(text)}
    summary = json.loads((work / root / chosen.name / "summary.json").read_text())
    found |= {"cvr": summary["metrics"]["cvr_auc"], "component_seconds": summary["seconds"]}
    found["before"] = summary["intervals"]["cvr_auc"]["before"]
    if status == 3:
        why, slow = summary["failures"], summary["serving"]["failures"]
        found |= {"stopped_by": "ServingCheck" if why == slow else "ModelGate", "why": why}
    return found


def data_only(work: Path, root: str, chosen: Recipe) -> Json:
    """The run of a recipe up to the data gate: what it says, and the value of each check."""
    try:
        until(work, root, chosen, "DataGate")
        found: Json = {"stopped_by": ""}
    except local.ComponentFailed as error:
        cause = error.__cause__
        if not isinstance(cause, DataRefused | LogError):
            raise
        why = cause.complaints if isinstance(cause, DataRefused) else str(cause).splitlines()
        found = {"stopped_by": str(error).partition(":")[0], "why": why}
        if isinstance(cause, LogError):
            return found
    return found | {"values": margins.values(work / root / chosen.name, chosen)}


def until(work: Path, root: str, chosen: Recipe, last: str, tickets: Path | None = None) -> None:
    """The run of a recipe, ended after a component; raises what stops it before."""
    folder = work / root / chosen.name
    folder.mkdir(parents=True, exist_ok=True)
    with interruption.noticed(), chatter_to(folder / "run.log"):
        local.run(chosen, folder, tickets, Display(io.StringIO()), RunRecord(Meter()), last)


def _complaints(text: str) -> list[str]:
    """The lines of a refusal that say what came."""
    return [line.strip() for line in text.splitlines() if "came: " in line] or text.splitlines()[:1]


def recipe(work: Path, day: str, log: str) -> Recipe:
    """The default recipe on the window that ends on a day, on the log of that name."""
    events, number = pd.read_parquet(EVENTS), int(DAY.replace("-", ""))
    if log.startswith("resample"):
        events = resampled(events, number, int(log.removeprefix("resample")))
    elif log != "clean":
        events = spoiled(events, log, number)
    file = work / "logs" / f"{log}_{day}.parquet"
    file.parent.mkdir(exist_ok=True)
    if not file.exists():  # a file written anew is another one for the cache
        # As the log is on the morning after.
        part = events[events["date"] <= int(day.replace("-", ""))]
        part.to_parquet(file.with_suffix(".part"))
        file.with_suffix(".part").rename(file)

    def back(days: int) -> str:
        return (dt.date.fromisoformat(day) - dt.timedelta(days)).isoformat()

    base = recipe_files.load("kuairand")
    splits = (
        Split("train", back(5), back(2)),
        Split("validate", back(1), back(1)),
        Split("test", day, day),
    )
    gates = (
        # One test day has half the rows of the default recipe's two: twice its margin is 2.5
        # standard errors of the difference.
        Gate("cvr_auc", at_least=0.64, worse_by=0.006),
        Gate("ctr_auc", at_least=0.72),
        *(gate for gate in base.gates if gate.metric.endswith("calibration")),
    )
    log_ = dataclasses.replace(base.log, events=str(file), splits=splits)
    return base.replace(
        name="poisons", log=log_, gates=gates, slices=(), max_epochs=1, rounds=1, keep_versions=9
    )
