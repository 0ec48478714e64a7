"""A run compares itself with what passed before, never with itself unless asked to."""

import pytest
from tfx.types import standard_artifacts

from ncs4cvr.components import pusher, versions
from ncs4cvr.components.artifacts import RUN_ID, TRAINED_TO
from ncs4cvr.components.latest_passed import LastRun, LatestPassed


@pytest.fixture
def model(tmp_path):
    def make(number, exists=True):
        artifact = standard_artifacts.Model()
        artifact.id, artifact.uri = number, str(tmp_path / str(number))
        if exists:
            (tmp_path / str(number)).mkdir()
        return artifact

    return make


def blessing(number, about, passed=1):
    artifact = standard_artifacts.ModelBlessing()
    artifact.id = number
    artifact.set_int_custom_property("about", about)
    artifact.set_int_custom_property("passed", passed)
    return artifact


def latest(candidate, earlier, blessings, **options):
    strategy = LatestPassed("about", "passed", **options)
    channels = {"candidate": [candidate], "earlier": [candidate, *earlier], "blessing": blessings}
    return [a.id for a in strategy.resolve_artifacts(None, channels)["earlier"]]


def test_the_latest_blessed_one_is_found(model):
    models = [model(1), model(2)]
    assert latest(model(3), models, [blessing(10, 1), blessing(11, 2)]) == [2]


def test_order_is_that_of_the_blessings(model):
    models = [model(1), model(2)]
    assert latest(model(3), models, [blessing(10, 2), blessing(11, 1)]) == [1]


def test_the_candidate_is_not_compared_with_itself(model):
    assert latest(model(3), [model(1)], [blessing(10, 1), blessing(11, 3)]) == [1]
    assert latest(model(4), [], [blessing(11, 4)]) == []


def test_what_did_not_pass_is_no_baseline(model):
    assert latest(model(3), [model(1), model(2)], [blessing(10, 1), blessing(11, 2, 0)]) == [1]


def test_what_was_deleted_is_no_baseline(model):
    models = [model(1), model(2, exists=False)]
    assert latest(model(3), models, [blessing(10, 1), blessing(11, 2)]) == [1]


def test_a_model_that_was_trained_on_the_days_of_the_comparison_is_no_baseline(model):
    """As when a day is made up for: later days' models have seen its test rows."""
    models = [model(1), model(2), model(3)]
    blessings = [blessing(10 + number, number) for number in (1, 2, 3)]
    days = ("2022-01-04", "2022-01-05", "2022-01-06")
    for each, day in zip(blessings, days, strict=True):
        each.set_string_custom_property(TRAINED_TO, day)
    assert latest(model(4), models, blessings, tested_from="2022-01-07") == [3]
    assert latest(model(5), models, blessings, tested_from="2022-01-06") == [2]
    assert latest(model(6), models, blessings, tested_from="2022-01-04") == []
    assert latest(model(7), models, [blessing(11, 1)], tested_from="2022-01-04") == [1]  # no day


def test_the_candidate_stands_in_where_asked(model):
    assert latest(model(3), [], [], else_itself=True) == [3]


@pytest.fixture
def run(tmp_path):
    def make(number, day):
        artifact = standard_artifacts.ModelRun()
        artifact.id, artifact.uri = number, str(tmp_path / f"run-{number}")
        artifact.set_string_custom_property(TRAINED_TO, day)
        (tmp_path / f"run-{number}").mkdir()
        return artifact

    return make


def pushed(number, run, was_pushed=1, uri=""):
    artifact = standard_artifacts.PushedModel()
    artifact.id, artifact.uri = number, uri
    artifact.set_int_custom_property("pushed", was_pushed)
    artifact.set_int_custom_property(RUN_ID, run)
    return artifact


def last_run(before, runs, blessings, serving="/nowhere"):
    channels = {"earlier": runs, "blessing": blessings}
    found = LastRun(before, str(serving)).resolve_artifacts(None, channels)
    assert set(found) == set(channels)
    return [run.id for run in found["earlier"]]


def test_a_run_goes_on_from_the_nearest_earlier_day_whatever_was_pushed_since(run):
    runs = [run(1, "2022-01-03"), run(2, "2022-01-05"), run(3, "2022-01-04")]
    blessings = [pushed(11, 1), pushed(12, 2), pushed(13, 3)]
    assert last_run("2022-01-06", runs, blessings) == [2]
    assert last_run("2022-01-05", runs, blessings) == [3]  # never from the same day
    assert last_run("2022-01-03", runs, blessings) == []


def test_of_two_runs_of_a_day_the_one_pushed_last_counts(run):
    runs = [run(1, "2022-01-03"), run(2, "2022-01-03")]
    assert last_run("2022-01-04", runs, [pushed(11, 2), pushed(12, 1)]) == [1]


def test_a_run_whose_model_was_not_pushed_or_which_is_gone_is_passed_over(run, tmp_path):
    runs = [run(1, "2022-01-03"), run(2, "2022-01-04"), run(3, "2022-01-05")]
    (tmp_path / "run-3").rmdir()
    blessings = [pushed(11, 1), pushed(12, 2, was_pushed=0), pushed(13, 3)]
    assert last_run("2022-01-06", runs, blessings) == [1]


def test_no_run_goes_on_from_a_model_that_was_rolled_back_from(run, tmp_path):
    serving, copies = tmp_path / "serving", []
    for graph in (b"good", b"bad"):
        copies.append(tmp_path / f"copy-{graph.decode()}")
        copies[-1].mkdir()
        (copies[-1] / "saved_model.pb").write_bytes(graph)
        pusher.push(str(copies[-1]), str(serving))
    runs = [run(1, "2022-01-03"), run(2, "2022-01-04")]
    blessings = [pushed(11, 1, uri=str(copies[0])), pushed(12, 2, uri=str(copies[1]))]
    assert last_run("2022-01-05", runs, blessings, serving) == [2]
    versions.roll_back(str(serving))
    assert last_run("2022-01-05", runs, blessings, serving) == [1]
    (copies[1] / "saved_model.pb").write_bytes(b"next")
    pusher.push(str(copies[1]), str(serving))
    (copies[1] / "saved_model.pb").write_bytes(b"bad")
    assert last_run("2022-01-05", runs, blessings, serving) == [1]
