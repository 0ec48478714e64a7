"""A run and the kit that is made of it."""

import json
import shutil
from pathlib import Path

import pytest

from ncs4cvr.pipeline.cli import main
from ncs4cvr.pipeline.serving.batching import Latency
from ncs4cvr.pipeline.status import PUSHED, USAGE

MEASURED = [Latency(1, 1.0, 2.0), Latency(64, 4.0, 6.0), Latency(256, 12.0, 18.5)]


def report(latencies=MEASURED, **other):
    """As ServingCheck writes it."""
    calls = [
        {"signature": "serving_default", "batch": e.batch, "p50_ms": e.p50_ms, "p99_ms": e.p99_ms}
        for e in latencies
    ]
    calls.append({"signature": "predict", "batch": 512, "p50_ms": 0.1, "p99_ms": 0.1})
    return {
        "blessed": True,
        "memory_mb": 500.0,
        "memory_before_load_mb": 400.0,
        "calls": calls,
        **other,
    }


@pytest.fixture
def write_check():
    return _write_check


def _write_check(run: Path, number: int, **other) -> Path:
    path = run / f"artifacts/ServingCheck/blessing/{number}/serving_check.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(report(**other)))
    return path


@pytest.fixture
def run(serving, tmp_path) -> Path:
    """A run with the versions 7 and 12, and what ServingCheck measured."""
    folder = tmp_path / "bob's run"
    for version in ("7", "12"):
        shutil.copytree(serving / "7", folder / "serving" / version)
    _write_check(folder, 3)
    return folder


@pytest.fixture
def write():
    """Makes a kit of a run, by the command."""

    def made(run: Path, *options) -> Path:
        kit = run.parent / "kit"
        assert main(["kit", str(run), "--output", str(kit), *map(str, options)]) == PUSHED
        return kit

    return made


@pytest.fixture
def refused(capfd):
    """What the command says when it refuses."""

    def told(*arguments) -> str:
        assert main(["kit", *map(str, arguments)]) == USAGE
        return capfd.readouterr().err

    return told
