"""A run's report: begun by its plan, ended by its exit task."""

import datetime as dt
import json

import pytest

from ncs4cvr.components.log.readers import LogError
from ncs4cvr.pipeline.dates import named
from ncs4cvr.pipeline.kubeflow import nodes, step
from ncs4cvr.pipeline.kubeflow.plan import FILES, packed, told

NOTHING = {**dict.fromkeys(FILES, ""), "date": "", "gates": {}, "settings": []}


def planned(recipe, tmp_path, **values):
    """Runs the plan of the run r1."""
    given = {**NOTHING, "root": f"{tmp_path}/shared", "schema": packed(""), "run": "r1", **values}
    given["recipe"] = packed(recipe.to_json())
    asked = [nodes.task_name(name) for name in told(recipe, "/shared")]
    step.plan(step.Call("", given, {}, {}, tmp_path / "output.json", asked))


def reported(tmp_path, date="", state="FAILED"):
    """What the report of the run r1 says at its end."""
    status = {"state": state, "error": {}}
    values = {"date": date, "root": f"{tmp_path}/shared", "run": "r1", "status": status}
    step.report(step.Call("", values, {}, {}, tmp_path / "output.json"))
    return told_of(tmp_path)


def told_of(tmp_path):
    return json.loads((tmp_path / "shared/reports/r1.json").read_text())


@pytest.mark.parametrize("state", ["FAILED", "SUCCEEDED"])
def test_the_report_says_which_day_yesterday_was(tiny, tmp_path, state):
    before = named("yesterday", tiny.log)
    planned(tiny, tmp_path, date="yesterday")
    after = named("yesterday", tiny.log)  # it may have been midnight
    told = reported(tmp_path, "yesterday", state)
    assert told["date"] in (before, after)
    assert told["state"] == state


def test_the_report_says_the_recipes_own_day(tiny, tmp_path):
    planned(tiny, tmp_path)
    assert reported(tmp_path)["date"] == "2022-01-06"


def test_a_report_that_is_written_again_says_the_same_day(tiny, tmp_path):
    planned(tiny, tmp_path)
    first, second = reported(tmp_path), reported(tmp_path)
    assert first.pop("ended") <= second.pop("ended")
    assert first == second


def test_the_day_of_a_run_whose_log_is_missing_is_reported(tiny, tmp_path):
    with pytest.raises(LogError, match=r"lost\.csv"):
        planned(tiny, tmp_path, date="yesterday", events="/nowhere/lost.csv")
    assert dt.date.fromisoformat(reported(tmp_path, "yesterday")["date"])


def test_a_run_says_its_day_and_that_it_has_not_ended(tiny, tmp_path):
    planned(tiny, tmp_path, date="2022-01-05")
    running = told_of(tmp_path)
    assert (running["state"], running["date"]) == ("RUNNING", "2022-01-05")
    assert running["ended"] is running["pushed_to"] is None
    assert running.keys() == reported(tmp_path, "2022-01-05").keys()


def test_a_run_without_a_plan_reports_the_day_as_it_was_asked_for(tmp_path):
    assert reported(tmp_path, "2022-01-05")["date"] == "2022-01-05"
