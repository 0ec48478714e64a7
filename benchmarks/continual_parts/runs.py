"""Runs a day of an arm as a command, and reads what came of it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from continual_parts.plan import ARMS, Cell

Json = dict[str, Any]
CLI = "import sys; from ncs4cvr.pipeline.cli import main; sys.exit(main(sys.argv[1:]))"
PUSHED, NOT_BLESSED, REFUSED = 0, 3, 4  # exit status
VERDICTS = {PUSHED: "pushed", NOT_BLESSED: "not blessed", REFUSED: "data refused"}


def stored(work: Path, cell: Cell) -> Json | None:
    """What came of a run; None where it was not made."""
    file = _file(work, cell)
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def make(work: Path, cell: Cell, recipe: str, settings: list[str]) -> Json:
    """Runs a day in its arm's folder, as that was before the day; keeps and returns the result."""
    root, before = work / cell.root, work / f"{cell.root}.before-{cell.day}"
    _as_before(root, before)
    told = command(root, cell, recipe, settings, work / "logs" / f"{cell.name}.txt")
    (folder,) = (f.parent for f in root.glob("*/history.jsonl"))
    result = {"arm": cell.arm, "day": cell.day, "seed": cell.seed, **told, **outcome(folder, told)}
    if result["auc"]:
        _keep_model(folder, kept_model(work, cell))
    text = json.dumps(result, indent=1)
    _file(work, cell).parent.mkdir(exist_ok=True)
    new = _file(work, cell).with_suffix(".new")
    new.write_text(text, encoding="utf-8")
    new.replace(_file(work, cell))
    shutil.rmtree(before)
    return result


def command(root: Path, cell: Cell, recipe: str, settings: list[str], log: Path) -> Json:
    """`ncs4cvr run` in a process of its own: its status, seconds and the processors' seconds.

    The processors' are those of the command and of all that it started and waited for.
    """
    every = [*settings, f"seed={cell.seed}", *ARMS[cell.arm][0]]
    arguments = ["run", recipe, "--date", cell.day, "--root", str(root)]
    arguments += [part for setting in every for part in ("--set", setting)]
    log.parent.mkdir(exist_ok=True)
    began, worked = time.monotonic(), _children_s()
    with log.open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-c", CLI, *arguments], stdout=out, stderr=subprocess.STDOUT
        )
    seconds, worked = time.monotonic() - began, _children_s() - worked
    if done.returncode not in VERDICTS:
        end = log.read_text(encoding="utf-8", errors="replace")[-3000:]
        sys.exit(f"{cell.name} ended with {done.returncode}; start again to repeat it:\n{end}")
    return {
        "status": done.returncode,
        "verdict": VERDICTS[done.returncode],
        "seconds": round(seconds, 1),
        "processor_s": round(worked, 1),
        "load": round(os.getloadavg()[1], 1),
    }


def outcome(folder: Path, told: Json) -> Json:
    """AUCs, steps and decisions of the run that just ended in a recipe's folder.

    Of refused data there is only why: what else lies there is of an earlier day.
    """
    from ncs4cvr.pipeline.run import history

    if told["status"] == REFUSED:
        return {"auc": {}, "why": [history.read(folder)[-1]["why"]]}
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    verdict = json.loads((newest(folder, "ModelGate/blessing") / "verdict.json").read_text())
    timeline = summary["timeline"]
    return {
        "auc": {n: o["value"] for n, o in verdict["outputs"].items() if o["metric"] == "auc"},
        "why": summary["failures"],
        "version": Path(summary["pushed_to"]).name if summary["pushed_to"] else "",
        "tickets": summary["tickets"],
        "vocabularies": summary["vocabularies"],
        "start": summary["start"],
        "test_rows": summary["test_rows"],
        "tfx": summary["stack"],
        "peak_rss_mb": summary["peak_rss_mb"],
        "cached": summary["cached"],
        "loading_s": timeline[0]["seconds"],
        "checksums_s": round(sum(step["sealed_s"] for step in timeline), 2),
        "steps_s": summary["seconds"],
        "steps_processor_s": summary["processor_seconds"],
    }


def newest(folder: Path, output: str) -> Path:
    """A component's newest artifact."""
    from ncs4cvr.pipeline.run.run_folder import newest_artifact

    return newest_artifact(folder, output)


def scores_file(work: Path, cell: Cell) -> Path:
    """Where a model's scores of its test rows are kept."""
    return work / "scores" / f"{cell.name}.npz"


def kept_model(work: Path, cell: Cell) -> Path:
    """A folder like a run's artifacts, with one day's model and examples alone."""
    return work / "models" / cell.name


def score(recipe: str, artifacts: Path, out: Path) -> None:
    """Writes the scores of a kept model on its test rows (see poison_parts.costs.scores)."""
    import ncs4cvr.models  # noqa: F401 - chooses Keras 2, before anything imports TensorFlow

    # isort: split
    import numpy as np
    from poison_parts import costs

    from ncs4cvr.pipeline import recipe_files

    found = costs.scores(artifacts, recipe_files.load(recipe))
    out.parent.mkdir(exist_ok=True)
    np.savez_compressed(out.with_suffix(".part.npz"), **found)
    out.with_suffix(".part.npz").replace(out)


def _keep_model(folder: Path, kept: Path) -> None:
    """Copies model and test examples: later runs of the arm may remove theirs."""
    shutil.rmtree(kept, ignore_errors=True)
    for output in ("Trainer/model", "VideoLogExampleGen/examples"):
        artifact = newest(folder, output)
        skip = shutil.ignore_patterns("Split-train", "Split-validate")
        shutil.copytree(artifact, kept / output / artifact.name, ignore=skip)


def _as_before(root: Path, before: Path) -> None:
    """The folder as no attempt at this day has left it; kept in `before` until the day is done."""
    for old in root.parent.glob(f"{root.name}.*"):
        if old != before:
            shutil.rmtree(old)
    if before.is_dir():
        shutil.rmtree(root, ignore_errors=True)
        before.rename(root)
    root.mkdir(exist_ok=True)
    copying = root.with_name(f"{root.name}.copying")
    shutil.copytree(root, copying, symlinks=True)
    copying.rename(before)


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _file(work: Path, cell: Cell) -> Path:
    return work / "cells" / f"{cell.name}.json"
