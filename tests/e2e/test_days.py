"""Day by day on a log with a file a day: killed on the second day, then gone on."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ncs4cvr.pipeline.cli import main
from ncs4cvr.pipeline.status import PUSHED

pytestmark = pytest.mark.e2e

CLI = "import sys; from ncs4cvr.pipeline.cli import main; sys.exit(main())"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    spec = importlib.util.spec_from_file_location(
        "shared", Path(__file__).parents[1] / "conftest.py"
    )
    shared = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shared)
    return shared.write_tiny_days(tmp_path_factory.mktemp("days") / "log", days=8)


def arguments(recipe, first):
    root = str(recipe.parents[1] / "runs")
    return ["run", str(recipe), "--root", root, "--from", first, "--to", "2022-01-08"]


def wait_for(path, pattern, process):
    """Until a file appears; fails when the process ends before."""
    while not list(path.glob(pattern)):
        assert process.poll() is None, f"ended with {process.returncode} before there was {pattern}"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def killed(recipe):
    """What a run of three days left that was killed while the second one trained."""
    folder = recipe.parents[1] / "runs/tiny"
    with open(os.devnull, "w") as nowhere:
        process = subprocess.Popen(
            [sys.executable, "-c", CLI, *arguments(recipe, "2022-01-06")],
            stdout=nowhere,
            stderr=nowhere,
            start_new_session=True,
        )
        wait_for(folder, "days/2022-01-06-*.json", process)
        while len(list(folder.glob("artifacts/TicketSearch/tickets/*"))) < 2:
            assert process.poll() is None
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert len(list(folder.glob("days/*.json"))) == 1
    return folder


def test_the_same_command_goes_on_where_it_was_killed(recipe, killed, capfd):
    assert main(arguments(recipe, "2022-01-06")) == PUSHED
    assert "2022-01-06: done before" in capfd.readouterr().out
    found = [json.loads(p.read_text())["summary"] for p in sorted(killed.glob("days/*.json"))]
    assert len(found) == 3
    # The second day's data was ready before; its search and training were not.
    assert {"VideoLogExampleGen", "Transform"} <= set(found[1]["cached"])
    assert "Trainer" not in found[1]["cached"]
    pushed = [day["pushed_to"] for day in found]
    assert len(set(pushed)) == 3
    assert sorted(pushed) == pushed
    assert {Path(p).name for p in pushed} == {
        p.name for p in (killed / "serving").iterdir() if p.name.isdigit()
    }


def test_once_done_nothing_runs_again(recipe, killed, capfd):
    assert main(arguments(recipe, "2022-01-06")) == PUSHED
    told = capfd.readouterr().out
    assert told.splitlines() == [f"2022-01-0{day}: done before" for day in (6, 7, 8)]
