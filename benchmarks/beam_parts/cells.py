"""Cells of the benchmark: a way to run on a log of a size, measured once and kept in a file."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beam_parts import engine, logs, watch
from beam_parts.engine import ONE, PORTABLE, TWO
from beam_parts.steps import GEN, RESULT, TRANSFORM

SMALL = 0.05  # of the users: a run that is nearly all start-up
TAIL = 3000  # characters of a failed run's log that are shown


@dataclass(frozen=True)
class Cell:
    """One run. seconds: what it took on two cores, to tell how long is left."""

    way: str
    scale: float
    last: str
    seconds: float

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.way}-{self.scale:g}-{self.last}"


#: What a run of the benchmark measures, and what it adds with --full.
CELLS = (
    Cell(ONE, SMALL, TRANSFORM, 45),
    Cell(ONE, 1, TRANSFORM, 90),
    Cell(TWO, 1, TRANSFORM, 95),
    Cell(PORTABLE, 1, TRANSFORM, 105),
    Cell(ONE, 20, GEN, 130),
    Cell(TWO, 20, GEN, 115),
    Cell(PORTABLE, 4, TRANSFORM, 300),
    Cell(ONE, 4, TRANSFORM, 260),
    Cell(TWO, 4, TRANSFORM, 235),
)
FULL = (
    Cell(ONE, 20, TRANSFORM, 1200),
    Cell(TWO, 20, TRANSFORM, 900),
)


def version(about: Mapping[str, str]) -> str:
    """A digest of what is measured and on what; cells of another one are made again.

    about: the machine, and versions.
    """
    from ncs4cvr.pipeline.code_version import code_version

    modules = ("ncs4cvr.components.example_gen", "ncs4cvr.models.preprocessing")
    every = [*map(code_version, modules), *(f"{k} {v}" for k, v in about.items() if k != "date")]
    return hashlib.sha256("\n".join(every).encode()).hexdigest()[:16]


def kept(cell: Cell, work: Path, of: str) -> dict[str, Any] | None:
    """What was measured, if it was, of this version."""
    file = work / f"{cell.name}.json"
    if not file.is_file():
        return None
    found = json.loads(file.read_text())
    return found if found["version"] == of else None


def made(cell: Cell, source: Path, work: Path, of: str) -> dict[str, Any]:
    """Measures the cell and keeps what came out."""
    log = work / f"log-{cell.scale:g}"
    if not (log / "done").is_file():
        logs.write(source, cell.scale, log)
        (log / "done").touch()
    folder = work / "cell"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with engine.started(cell.way, folder) as (settings, sessions):
        began = time.monotonic()
        samples = _watched(cell, log, folder, settings, sessions)
        seconds = time.monotonic() - began
    found = {
        "way": cell.way,
        "scale": cell.scale,
        "last": cell.last,
        "version": of,
        "date": dt.date.today().isoformat(),
        "seconds": round(seconds, 1),
        "load": round(float(Path("/proc/loadavg").read_text().split()[1]), 1),
        **told(json.loads((folder / RESULT).read_text()), samples),
    }
    unfinished = work / f"{cell.name}.unfinished"
    unfinished.write_text(json.dumps(found, indent=1) + "\n")
    unfinished.rename(work / f"{cell.name}.json")
    shutil.rmtree(folder)
    return found


def _watched(
    cell: Cell, log: Path, folder: Path, settings: Sequence[str], sessions: dict[int, str]
) -> list[watch.Sample]:
    """Runs the cell's process; what its processes held meanwhile."""
    order = {
        "log": str(log),
        "folder": str(folder),
        "last": cell.last,
        "settings": list(settings),
        "here": cell.way == ONE,
    }
    script = Path(__file__).parents[1] / "beam.py"
    with (folder / "run.log").open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, str(script), "--cell", json.dumps(order)],
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
        try:
            with watch.Watch({process.pid: watch.DRIVER, **sessions}, folder) as watched:
                failed = process.wait()
        finally:
            engine.ended(process)
    if failed:
        text = (folder / "run.log").read_text(errors="replace")[-TAIL:]
        sys.exit(f"{cell.name} failed with {failed}:\n{text}\nIts logs: {folder}")
    return watched.samples


def told(measured: dict[str, Any], samples: Sequence[watch.Sample]) -> dict[str, Any]:
    """What a cell tells of every step: time, memory, bytes, and where the time went.

    Args:
      measured: what the run's own process left.
      samples: what was seen of it from outside.
    """
    steps = []
    for name, (began, ended) in measured["times"].items():
        seen = watch.between(samples, began, ended)
        steps.append(
            {
                "name": name,
                "rows": measured["rows"].get(name),
                "wall_s": round(ended - began, 2),
                **{key: round(value, 2) for key, value in seen.items()},
                "grouped_bytes": measured["grouped_bytes"].get(name),
                "output_bytes": measured["output_bytes"].get(name),
                "places": measured["places"].get(name),
            }
        )
    return {
        "test_rows": measured["test_rows"],
        "reading": measured.get("reading"),
        "steps": steps,
    }
