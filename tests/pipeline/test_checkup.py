"""What `ncs4cvr doctor` finds, and the cure that it names."""

import contextlib
import json
import sqlite3
from functools import partial

import pytest

from ncs4cvr.components import checksums, retention, versions
from ncs4cvr.pipeline import checkup
from ncs4cvr.pipeline.cli import main
from ncs4cvr.pipeline.run import history, lock
from ncs4cvr.pipeline.status import FAULT, PUSHED, USAGE


@pytest.fixture
def run(tmp_path):
    """The folder of a run that pushed one version and is in order."""
    folder = tmp_path / "runs/tiny"
    (folder / "model").mkdir(parents=True)
    (folder / "model/saved_model.pb").write_text("graph")
    versions.publish(str(folder / "model"), str(folder / "serving"))
    output = folder / "artifacts/Trainer/model/3"
    output.mkdir(parents=True)
    (output / "weights").write_text("1")
    checksums.seal(str(output))
    (folder / "summary.json").write_text("{}")
    (folder / "lock").touch()
    (folder / "metadata.sqlite").touch()
    return folder


@pytest.fixture(autouse=True)
def _no_artifacts_without_metadata(monkeypatch):
    """The metadata has tests of its own (test_recovery.py)."""
    monkeypatch.setattr(checkup.recovery, "database_damage", lambda run: "")
    monkeypatch.setattr(checkup.recovery, "executions", lambda run: (set(), {3}, {5}))


def wrong(run):
    return [finding for finding in checkup.root(run.parent) if not finding.fine]


def test_a_root_in_order_has_nothing_wrong(run):
    assert wrong(run) == []


def test_a_root_that_is_not_there_yet_is_in_order(tmp_path):
    (finding,) = checkup.root(tmp_path / "none")
    assert finding.fine


def test_this_environment_is_in_order():
    assert [str(finding) for finding in checkup.environment() if not finding.fine] == []


def test_a_package_in_a_version_that_is_not_asked_for_is_named(monkeypatch):
    monkeypatch.setattr(checkup.importlib.metadata, "requires", lambda name: ["numpy>=999", "no-x"])
    packages = next(checkup.environment())
    assert "numpy is" in packages.wrong
    assert "must be >=999" in packages.wrong
    assert "no-x is missing" in packages.wrong
    assert "make clean env" in packages.cure


def test_keras_3_is_named(monkeypatch):
    monkeypatch.setenv("TF_USE_LEGACY_KERAS", "0")
    assert "unset TF_USE_LEGACY_KERAS" in str(list(checkup.environment())[1])


def test_a_damaged_served_version_is_named_with_both_cures(run):
    (number,) = versions.numbers(str(run / "serving"))
    (run / f"serving/{number}/saved_model.pb").write_text("grap")
    (finding,) = wrong(run)
    assert finding.what.endswith(f"version {number}, which is served")
    assert finding.wrong == "saved_model.pb has changed"
    assert f"ncs4cvr rollback {run}" in finding.cure


def test_a_version_that_a_kit_labels_and_that_is_gone_is_named(run):
    (number,) = versions.numbers(str(run / "serving"))
    pins = {"kit": "/kits/feed", "versions": [number]}
    (run / "serving" / retention.PINNED).write_text(json.dumps(pins))
    assert wrong(run) == []
    (run / "serving" / retention.PINNED).write_text(json.dumps({**pins, "versions": [7, number]}))
    (finding,) = wrong(run)
    assert finding.what.endswith("kit /kits/feed")
    assert finding.wrong == "it labels 7, which is not there"
    assert f"ncs4cvr kit {run} --output" in finding.cure


def test_a_list_of_labelled_versions_that_cannot_be_read_is_named(run):
    (run / "serving" / retention.PINNED).write_text("{")
    (finding,) = wrong(run)
    assert "pinned.json does not say which versions a kit labels" in finding.wrong


def test_copies_of_pushes_that_did_not_end_are_told_and_are_no_fault(run):
    (run / "serving/.pushing-1795578161-abc").mkdir()
    assert wrong(run) == []
    assert any("1 copies of pushes" in finding.what for finding in checkup.root(run.parent))


def test_a_damaged_output_is_named(run):
    (run / "artifacts/Trainer/model/3/weights").write_text("2")
    (finding,) = wrong(run)
    assert "artifacts/Trainer/model/3 (weights has changed)" in finding.wrong


def test_locked_metadata_is_told_as_such(run, monkeypatch):
    monkeypatch.undo()
    connect = partial(sqlite3.connect, timeout=0.01)
    monkeypatch.setattr(checkup.recovery.sqlite3, "connect", connect)
    with contextlib.closing(sqlite3.connect(run / "metadata.sqlite")) as other:
        other.execute("BEGIN EXCLUSIVE")
        (finding,) = wrong(run)
    assert finding.wrong == "is locked or cannot be opened (database is locked)"
    assert "close what uses it" in finding.cure
    assert "restores" not in str(finding)


def test_the_lock_of_a_dead_process_is_named(run):
    said = {"pid": 7, "host": "h", "since": "2026-01-01", "doing": "run tiny"}
    (run / "lock").write_text(json.dumps(said))
    (finding,) = wrong(run)
    assert "its last holder died: `ncs4cvr run tiny`, process 7 on h" in finding.wrong


def test_a_run_that_is_at_work_is_left_alone(run):
    (run / "summary.json").write_text("{")
    with lock.only_one(run, "run tiny"):
        assert wrong(run) == []
    (finding,) = wrong(run)
    assert "summary.json" in finding.what


def test_outputs_of_unfinished_steps_are_stale(run):
    (run / "artifacts/Trainer/model/4").mkdir()
    (run / "artifacts/Trainer/model/5").mkdir()  # of one that failed: no wonder
    (finding,) = wrong(run)
    assert "1 folders" in finding.wrong
    assert finding.what.endswith("stale state")
    assert "artifacts/Trainer/model/4" in finding.wrong


@pytest.mark.parametrize(("harm", "status"), [(False, PUSHED), (True, FAULT)])
def test_the_exit_status_says_whether_all_is_well(run, harm, status, capfd):
    if harm:
        (run / "summary.json").write_text("{")
    assert main(["doctor", str(run.parent)]) == status
    assert ("1 of" if harm else "all is well") in capfd.readouterr().out


def test_a_rollback_without_an_earlier_version_changes_nothing(run, capfd):
    assert main(["rollback", str(run)]) == USAGE
    assert "no whole version of other content" in capfd.readouterr().err
    assert len(versions.numbers(str(run / "serving"))) == 1


def test_a_rollback_is_noted_and_shown(run, capfd):
    (first,) = versions.numbers(str(run / "serving"))
    (run / "model/saved_model.pb").write_text("another graph")
    versions.publish(str(run / "model"), str(run / "serving"))
    assert main(["rollback", str(run)]) == PUSHED
    assert main(["runs", str(run.parent)]) == PUSHED
    assert f"rolled back  {versions.numbers(str(run / 'serving'))[-1]}" in capfd.readouterr().out
    assert versions.served(str(run / "serving")) > first


def test_a_rollback_notes_that_the_run_before_died(run, capfd):
    (run / lock.FILE).write_text(
        '{"pid": 1, "host": "here", "since": "2022-01-06", "doing": "run tiny"}'
    )
    rolled_back(run, capfd)
    died, back = history.read(run)
    assert (died["verdict"], back["verdict"]) == (history.DIED, history.ROLLED_BACK)
    assert "`ncs4cvr run tiny`, process 1" in died["why"]


def test_a_rollback_says_what_makes_the_server_of_a_kit_follow(run, capfd):
    assert "kit" not in rolled_back(run, capfd)
    pins = {"kit": str(run / "my kit"), "versions": versions.numbers(str(run / "serving"))[:1]}
    (run / "serving" / retention.PINNED).write_text(json.dumps(pins))
    told = rolled_back(run, capfd)
    newest = versions.numbers(str(run / "serving"))[-1]
    assert f"ncs4cvr kit {run} --output '{run}/my kit' --stable {newest}" in told
    (run / "serving" / retention.PINNED).write_text("{")
    assert "--output KIT_DIR --stable" in rolled_back(run, capfd)


def rolled_back(run, capfd):
    """Pushes one more version and goes back; what is printed."""
    serving = str(run / "serving")
    (run / "model/saved_model.pb").write_text(f"graph {len(versions.numbers(serving))}")
    versions.publish(str(run / "model"), serving)
    capfd.readouterr()
    assert main(["rollback", str(run)]) == PUSHED
    return capfd.readouterr().out


@pytest.mark.parametrize("command", ["runs", "rollback"])
def test_a_folder_without_runs_is_a_usage_error(tmp_path, command, capfd):
    assert main([command, str(tmp_path)]) == USAGE
    assert str(tmp_path) in capfd.readouterr().err
