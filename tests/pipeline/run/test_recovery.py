"""A run's folder is put in order after a process that died and after files that rotted."""

import contextlib
import os
import sqlite3
from functools import partial

import pytest
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import Execution, ExecutionType
from tfx.orchestration import metadata

from ncs4cvr.pipeline.run import recovery


def store(folder):
    where = metadata.sqlite_metadata_connection_config(str(folder / recovery.DATABASE))
    return metadata_store.MetadataStore(where)


@pytest.fixture
def folder(tmp_path):
    """Metadata of a finished, a running and a failed execution, each with its output's folder."""
    opened = store(tmp_path)
    kind = opened.put_execution_type(ExecutionType(name="Trainer"))
    states = (Execution.COMPLETE, Execution.RUNNING, Execution.FAILED)
    opened.put_executions([Execution(type_id=kind, last_known_state=state) for state in states])
    for number in (1, 2, 3):
        (tmp_path / f"artifacts/Trainer/model/{number}").mkdir(parents=True)
    recovery.keep_copy(tmp_path)
    return tmp_path


def put_in_order(folder):
    told = []
    recovery.put_in_order(folder, told.append)
    return told


def states(folder):
    return [execution.last_known_state for execution in store(folder).get_executions()]


def outputs(folder):
    return sorted(path.name for path in (folder / "artifacts/Trainer/model").iterdir())


def test_open_executions_are_closed_and_only_finished_ones_keep_their_outputs(folder):
    assert put_in_order(folder) == ["1 unfinished steps of a run that died are closed"]
    assert states(folder) == [Execution.COMPLETE, Execution.FAILED, Execution.FAILED]
    assert outputs(folder) == ["1"]
    assert put_in_order(folder) == []


def test_outputs_that_the_metadata_does_not_know_go(folder):
    (folder / "artifacts/Trainer/model/9").mkdir()
    put_in_order(folder)
    assert outputs(folder) == ["1"]


def flip(path):
    """Another byte in a value, by a disk: the file's time stays."""
    about, data = path.stat(), bytearray(path.read_bytes())
    where = data.index(b"Trainer")
    data[where] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))


@pytest.mark.parametrize("harm", ["remove", "truncate", "empty", "flip", "noise"])
def test_damaged_metadata_comes_back_from_the_copy(folder, harm):
    path = folder / recovery.DATABASE
    if harm == "remove":
        path.unlink()
    elif harm == "truncate":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif harm == "empty":
        path.write_bytes(b"")
    elif harm == "flip":
        flip(path)
    else:
        path.write_bytes(b"noise" * 10_000)
    assert recovery.database_damage(folder)
    told = put_in_order(folder)
    assert "restored from the copy of the last finished run" in told[0]
    assert states(folder)[0] == Execution.COMPLETE
    assert not recovery.database_damage(folder)


def test_without_a_whole_copy_a_run_starts_from_nothing_and_says_so(folder):
    (folder / recovery.DATABASE).write_bytes(b"noise" * 10_000)
    (folder / recovery.COPY).write_bytes(b"more noise")
    (line,) = put_in_order(folder)
    assert "starts from nothing" in line
    assert not (folder / "artifacts").exists()
    assert not (folder / recovery.DATABASE).exists()
    assert (folder / "lost/1/metadata.sqlite").is_file()
    assert (folder / "lost/2/artifacts/Trainer/model/1").is_dir()


@pytest.fixture
def hurried(monkeypatch):
    """SQLite waits for a lock for five seconds; not here."""
    monkeypatch.setattr(recovery.sqlite3, "connect", partial(sqlite3.connect, timeout=0.01))


@pytest.mark.parametrize("how", ["locked", "no file"])
def test_metadata_that_cannot_be_read_now_are_no_damaged_ones(folder, hurried, how):
    path = folder / recovery.DATABASE
    (folder / recovery.COPY).write_bytes(b"older")
    before = path.read_bytes()
    with contextlib.ExitStack() as stack:
        if how == "locked":
            other = stack.enter_context(contextlib.closing(sqlite3.connect(path)))
            other.execute("BEGIN EXCLUSIVE")
        else:  # nobody can open it, root either
            real = recovery.sqlite3.connect
            missing = folder / "none" / recovery.DATABASE
            stack.enter_context(pytest.MonkeyPatch.context()).setattr(
                recovery.sqlite3, "connect", lambda _: real(missing)
            )
        for ask in (recovery.database_damage, recovery.executions, put_in_order):
            with pytest.raises(recovery.Unreadable, match=r"sqlite is locked or cannot be"):
                ask(folder)
    assert path.read_bytes() == before
    assert not (folder / recovery.LOST).exists()
    assert outputs(folder) == ["1", "2", "3"]
    assert recovery.database_damage(folder) == ""


def test_a_header_of_another_format_is_damage(folder):
    """SQLite calls it an operational error, as it does a lock."""
    path = folder / recovery.DATABASE
    data = bytearray(path.read_bytes())
    data[47] = 9  # of the schema format number, which is 1 to 4
    path.write_bytes(data)
    assert "unsupported file format" in recovery.database_damage(folder)


def test_a_new_folder_is_in_order(tmp_path):
    assert put_in_order(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_what_a_link_leads_to_is_never_among_the_outputs_to_remove(folder):
    outside = folder.parent / f"{folder.name}-outside"
    (outside / "model/7").mkdir(parents=True)
    (folder / "artifacts/Linked").symlink_to(outside)
    (folder / "artifacts/Trainer/model/8").symlink_to(outside)
    stale = recovery.stale_outputs(folder, {1})
    assert {path.name for path in stale} == {"2", "3"}
