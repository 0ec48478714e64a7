"""Which run a command is about when none is named."""

import os

import pytest

from ncs4cvr.pipeline.cli import main
from ncs4cvr.pipeline.run.run_folder import latest_run
from ncs4cvr.pipeline.status import USAGE


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """The runs a and b; a ended last."""
    monkeypatch.chdir(tmp_path)
    for name, ended in (("b", 1_000), ("a", 2_000)):
        (tmp_path / "runs" / name).mkdir(parents=True)
        log = tmp_path / "runs" / name / "run.log"
        log.touch()
        os.utime(log, (ended, ended))
    (tmp_path / "runs" / "bench").mkdir()  # no run


def test_the_run_that_wrote_last_is_the_latest(runs):
    assert str(latest_run()) == "runs/a"


def test_where_there_is_none_the_default_recipe_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(latest_run()) == "runs/kuairand"


@pytest.mark.parametrize(("command", "what"), [("report", "report"), ("tickets", "tickets")])
def test_commands_without_a_folder_are_about_the_latest_run(runs, capsys, command, what):
    assert main([command]) == USAGE
    assert f"no {what} in runs/a;" in capsys.readouterr().err
    assert main([command, "runs/b"]) == USAGE
    assert f"no {what} in runs/b;" in capsys.readouterr().err
