"""The default recipe, as a newcomer runs it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

NCS4CVR = str(Path(sys.executable).with_name("ncs4cvr"))


def run(root, *arguments, **options):
    done = subprocess.run(
        [NCS4CVR, "run", "--root", str(root), *arguments],
        capture_output=True, text=True, timeout=3600, **options,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Where the default recipe ran once, from a directory that is not the checkout."""
    folder = tmp_path_factory.mktemp("runs")
    status, out, err = run(folder, cwd=folder)
    assert status == 0, out + err
    assert "Traceback" not in out + err
    return folder


def summary(root):
    return json.loads((root / "kuairand/summary.json").read_text())


def test_the_default_run_is_blessed_and_pushed(root):
    found = summary(root)
    assert found["blessed"] is True
    assert Path(found["pushed_to"], "saved_model.pb").is_file()
    assert found["test_rows"] == 28_905
    assert found["peak_rss_mb"] < 6 * 1024
    for metric, bound in (("ctr_auc", 0.74), ("cvr_auc", 0.66), ("ctcvr_auc", 0.74)):
        assert found["metrics"][metric] >= bound


def test_a_second_run_takes_what_was_made_from_the_cache(root):
    first = summary(root)
    status, _, _ = run(root)
    second = summary(root)
    assert status == 0
    assert set(second["seconds"]) - set(second["cached"]) == {
        "Pusher"
    }  # it looks at what is served
    assert second["metrics"] == first["metrics"]
    assert second["pushed_to"] == first["pushed_to"]


def test_ctrl_c_keeps_what_is_finished(tmp_path):
    process = subprocess.Popen(
        [NCS4CVR, "run", "--root", str(tmp_path)],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if "VideoLogExampleGen" in line and "✓" in line:
            time.sleep(5)  # in the middle of the next component
            process.send_signal(signal.SIGINT)
            break
    told = process.stderr.read()
    assert process.wait(timeout=120) == 130
    assert "the next run goes on from what is finished" in told
    again = subprocess.Popen(
        [NCS4CVR, "run", "--root", str(tmp_path)], stderr=subprocess.PIPE, text=True
    )
    assert again.stderr is not None
    lines = []
    for line in again.stderr:
        lines.append(line)
        if "VideoLogExampleGen" in line and ("cached" in line or "✓" in line):
            again.terminate()
            break
    again.wait(timeout=120)
    assert any("= VideoLogExampleGen" in line for line in lines)
