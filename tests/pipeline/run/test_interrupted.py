"""Ctrl-C while a library runs that makes an error of it, or nothing at all."""

import contextlib
import json
import signal

import pytest

from ncs4cvr.components.log import log_steps
from ncs4cvr.pipeline.cli import main
from ncs4cvr.pipeline.run import history
from ncs4cvr.pipeline.status import INTERRUPTED, TERMINATED

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def ctrl_c():
    """As in a terminal: a shell starts what it puts into the background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, TERMINATED)]
)
def test_a_signal_within_a_step_of_beam_is_no_fault(
    tiny_recipe_file, tmp_path, monkeypatch, capfd, number, status
):
    monkeypatch.setattr(log_steps.Write, "process", lambda *_: signal.raise_signal(number))
    assert main(["run", str(tiny_recipe_file), "--root", str(tmp_path / "runs")]) == status
    told = capfd.readouterr().err
    assert "ncs4cvr: interrupted; the next run goes on from what is finished" in told
    assert "failed" not in told
    (ended,) = history.read(tmp_path / "runs/tiny")
    assert ended["verdict"] == history.INTERRUPTED
    report = json.loads((tmp_path / "runs/tiny/report.json").read_text())
    assert report["verdict"]["status"] == status


@pytest.mark.parametrize("lost", [False, True])
def test_a_signal_that_a_library_swallows_ends_the_run(
    tiny_recipe_file, tmp_path, monkeypatch, capfd, lost
):
    process = log_steps.Write.process

    def swallowing(*arguments):
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
            for _ in range(1000):  # Python calls the handler between two steps of a loop
                pass
        return None if lost else process(*arguments)

    monkeypatch.setattr(log_steps.Write, "process", swallowing)
    run = ["run", str(tiny_recipe_file), "--root", str(tmp_path / "runs")]
    assert main(run) == INTERRUPTED
    told = capfd.readouterr().err
    assert "failed" not in told
    assert "StatisticsGen" not in told
    (ended,) = history.read(tmp_path / "runs/tiny")
    assert ended["verdict"] == history.INTERRUPTED
