"""Five days on a log with a file a day, each warm from the one before; killed on the third."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ml_metadata import proto
from tfx.orchestration import metadata

from ncs4cvr.models.packed.store import compute_of
from ncs4cvr.pipeline.cli import main
from ncs4cvr.pipeline.run import recovery
from ncs4cvr.pipeline.status import PUSHED
from tiny_log import write_tiny_days

pytestmark = pytest.mark.e2e

CLI = "import sys; from ncs4cvr.pipeline.cli import main; sys.exit(main())"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write_tiny_days(tmp_path_factory.mktemp("days") / "log", days=10)


DAYS = [f"2022-01-{day:02}" for day in range(6, 11)]
SETTINGS = (
    "warm_start=on",
    "search_every_days=4",
    "analyze_every_days=4",
    "drift_threshold=0.5",
)


def arguments(recipe):
    root = str(recipe.parents[1] / "runs")
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    return ["run", str(recipe), "--root", root, "--from", DAYS[0], "--to", DAYS[-1], *settings]


def wait_for(path, pattern, process):
    """Until a file appears; fails when the process ends before."""
    while not list(path.glob(pattern)):
        assert process.poll() is None, f"ended with {process.returncode} before there was {pattern}"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def killed(recipe):
    """What a run of five days left that was killed while the third one trained."""
    folder = recipe.parents[1] / "runs/tiny"
    with open(os.devnull, "w") as nowhere:
        process = subprocess.Popen(
            [sys.executable, "-c", CLI, *arguments(recipe)],
            stdout=nowhere,
            stderr=nowhere,
            start_new_session=True,
        )
        wait_for(folder, f"days/{DAYS[1]}-*.json", process)
        while len(list(folder.glob("artifacts/Trainer/model_run/*"))) < 3:
            assert process.poll() is None
            time.sleep(0.2)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert len(list(folder.glob("days/*.json"))) == 2
    return folder


@pytest.fixture(scope="module")
def found(recipe, killed):
    """The summaries of all days, after the same command went on."""
    assert main(arguments(recipe)) == PUSHED
    return [json.loads(p.read_text())["summary"] for p in sorted(killed.glob("days/*.json"))]


def test_the_same_command_goes_on_where_it_was_killed(killed, found):
    assert len(found) == 5
    # The third day's data was ready before; its training was not.
    assert {"VideoLogExampleGen", "Transform", "TicketSearch"} <= set(found[2]["cached"])
    assert "Trainer" not in found[2]["cached"]
    pushed = [day["pushed_to"] for day in found]
    assert len(set(pushed)) == 5
    assert sorted(pushed) == pushed
    assert {Path(p).name for p in pushed} == {
        p.name for p in (killed / "serving").iterdir() if p.name.isdigit()
    }


def test_a_day_with_kept_tickets_goes_on_from_the_day_before_and_trains_on_its_new_day(found):
    before = [day["start"]["from"] for day in found]
    assert before == ["", "2022-01-04", "2022-01-05", "2022-01-06", ""]
    assert [day["start"]["rows"] for day in found] == [2000, 500, 500, 500, 2000]
    assert found[4]["start"]["why"] == "the tickets are new"


def test_tickets_are_kept_until_a_search_is_due(found):
    assert [day["tickets"]["searched"] for day in found] == [True, False, False, False, True]
    assert found[4]["tickets"]["why"] == "they are 4 days old; search_every_days is 4"


def test_vocabularies_are_kept_until_an_analysis_is_due(killed, found):
    told = [day["vocabularies"] for day in found]
    assert [each["analyzed"] for each in told] == [True, False, False, False, True]
    assert told[3]["analyzed_on"] == "2022-01-04"
    assert told[4]["why"] == "they are 4 days old; analyze_every_days is 4"
    assert [day["start"].get("words_new") for day in found] == [None, 0, 0, 0, None]


def test_the_ways_to_compute_are_timed_where_the_tickets_are_new(found):
    """Two timings of one model never agree to the last digit of eighteen numbers."""
    ms = [compute_of(day["pushed_to"])["ms"] for day in found]
    assert ms[0] == ms[1] == ms[2] == ms[3]
    assert ms[4] != ms[0]


def test_drift_is_against_the_day_before(killed, found):
    connection = proto.ConnectionConfig()
    connection.sqlite.filename_uri = str(killed / recovery.DATABASE)
    with metadata.Metadata(connection) as handle:
        store = handle.store
        names = {each.id: each.type for each in store.get_executions()}
        events = store.get_events_by_execution_ids(list(names))
        made = {e.artifact_id: e.execution_id for e in events if e.type == proto.Event.Type.OUTPUT}
        compared: dict[int, dict[str, int]] = {}
        for event in events:
            if "Validator" in names[event.execution_id] and event.type == proto.Event.Type.INPUT:
                key = event.path.steps[0].key
                compared.setdefault(event.execution_id, {})[key] = made[event.artifact_id]
    # Of two inputs that are one artifact only one is kept: these compare a day with itself.
    compared = {k: each for k, each in compared.items() if "statistics" in each}
    days = sorted({each["statistics"] for each in compared.values()})
    before = {
        (each["statistics"], each["baseline_statistics"])
        for each in compared.values()
        if each.get("baseline_statistics", each["statistics"]) != each["statistics"]
    }
    assert len(days) == 5
    assert before == set(zip(days[1:], days[:-1], strict=True))


def test_once_done_nothing_runs_again(recipe, found, capfd):
    assert main(arguments(recipe)) == PUSHED
    told = capfd.readouterr().out
    assert told.splitlines() == [f"{day}: done before" for day in DAYS]
