"""Ctrl-C while a library runs that makes an error of it."""

import signal

import pytest

from ncs4cvr.components import log_steps
from ncs4cvr.pipeline import history
from ncs4cvr.pipeline.cli import main
from ncs4cvr.pipeline.status import INTERRUPTED, TERMINATED

pytestmark = pytest.mark.slow


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
