"""One process at a time; a second one learns who, and a dead one's lock is taken over."""

import fcntl
import os
import signal
import subprocess
import sys
import threading

import pytest

from ncs4cvr.pipeline.run import lock

HOLD = """
import sys, time
from pathlib import Path
from ncs4cvr.pipeline.run import lock
with lock.only_one(Path(sys.argv[1]), "run tiny"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """A process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_second_process_fails_at_once_and_learns_who_holds_the_lock(other, tmp_path):
    who = f"`ncs4cvr run tiny`, process {other.pid} on .* since"
    with pytest.raises(lock.Locked, match=who), lock.only_one(tmp_path, "run tiny"):
        pass
    assert lock.held(tmp_path)


def test_a_look_at_the_lock_keeps_nobody_from_taking_it(tmp_path):
    with open(tmp_path / lock.FILE, "w") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        threading.Timer(0.1, fcntl.flock, (looking, fcntl.LOCK_UN)).start()
        with lock.only_one(tmp_path, "run"):
            assert lock.held(tmp_path)


def test_the_lock_of_a_killed_process_is_taken_over_and_said_to_be_so(other, tmp_path):
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert not lock.held(tmp_path)
    with lock.only_one(tmp_path, "run tiny") as died:
        assert died.pid == other.pid
        assert lock.holder(tmp_path).pid == os.getpid()


def test_a_lock_that_was_given_back_names_nobody(tmp_path):
    with lock.only_one(tmp_path, "run tiny") as died:
        assert died is None
    assert lock.holder(tmp_path) is None
    with lock.only_one(tmp_path, "run tiny") as died:
        assert died is None


def test_a_failure_gives_the_lock_back(tmp_path):
    with pytest.raises(KeyError), lock.only_one(tmp_path, "run tiny"):
        raise KeyError
    assert not lock.held(tmp_path)
    assert lock.holder(tmp_path) is None
