"""A push makes sure that a model is served: once, whole, not against a rollback nor a later day."""

import json

import pytest
from tfx.dsl.io import fileio
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts
from tfx.utils import proto_utils

from ncs4cvr.components import pusher, versions
from ncs4cvr.components.artifacts import MODEL_ID, RUN_ID, TRAINED_TO, WHY_NOT


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables/variables.index").write_bytes(b"index")
    return folder


def files(folder):
    found = {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}
    found.pop(versions.MANIFEST, None)
    return found


def test_a_push_makes_one_numbered_version_with_every_file(model, tmp_path):
    base = tmp_path / "serving"
    version = pusher.push(str(model), str(base))
    assert version.isdigit()
    assert [f.name for f in base.iterdir()] == [version]
    assert files(base / version) == files(model)


def test_two_pushes_within_a_second_are_two_versions(model, tmp_path, monkeypatch):
    monkeypatch.setattr(versions.time, "time", lambda: 1700000000.5)
    base = tmp_path / "serving"
    first = pusher.push(str(model), str(base))
    (model / "saved_model.pb").write_bytes(b"another graph")
    assert [first, pusher.push(str(model), str(base))] == ["1700000000", "1700000001"]


def test_the_model_that_is_served_already_is_not_copied_again(model, tmp_path):
    base = tmp_path / "serving"
    versions_ = {pusher.push(str(model), str(base)) for _ in range(2)}
    assert {f.name for f in base.iterdir()} == versions_
    assert len(versions_) == 1


def test_a_damaged_version_is_followed_by_a_whole_one(model, tmp_path):
    base = tmp_path / "serving"
    first = pusher.push(str(model), str(base))
    (base / first / "saved_model.pb").write_bytes(b"")
    second = pusher.push(str(model), str(base))
    assert int(second) > int(first)
    assert versions.served(str(base)) == int(second)


def test_a_model_that_was_rolled_back_from_is_not_pushed_again_but_the_next_one_is(model, tmp_path):
    base = tmp_path / "serving"
    good = pusher.push(str(model), str(base))
    (model / "saved_model.pb").write_bytes(b"bad graph")
    pusher.push(str(model), str(base))
    versions.roll_back(str(base))
    with pytest.raises(pusher.NotPushed, match="rolled back from"):
        pusher.push(str(model), str(base))
    (model / "saved_model.pb").write_bytes(b"next graph")
    assert int(pusher.push(str(model), str(base))) > int(good)


def test_what_was_rolled_back_from_stays_refused_whatever_is_pushed_after_it(model, tmp_path):
    base = tmp_path / "serving"
    push_of = {}
    for graph in ("good", "bad"):
        (model / "saved_model.pb").write_text(graph)
        push_of[graph] = pusher.push(str(model), str(base))
    bad = versions.manifest(str(base), int(push_of["bad"])).content
    versions.roll_back(str(base))
    (model / "saved_model.pb").write_text("next")
    newest = pusher.push(str(model), str(base))
    (model / "saved_model.pb").write_text("bad")
    with pytest.raises(pusher.NotPushed):
        pusher.push(str(model), str(base))
    assert versions.refused(str(base)) == {bad}
    (base / newest / "saved_model.pb").write_text("rotten")
    with pytest.raises(pusher.NotPushed):
        pusher.push(str(model), str(base))
    versions.roll_back(str(base))
    assert versions.refused(str(base)) == {bad}


@pytest.fixture
def day(model, tmp_path):
    """Pushes a model that was trained to a day of May 2022; returns the version."""

    def push(number, graph=""):
        (model / "saved_model.pb").write_text(graph or f"graph of day {number}")
        to = f"2022-05-{number:02}" if number else ""
        return int(pusher.push(str(model), str(tmp_path / "serving"), to))

    return push


def test_a_model_of_an_earlier_day_than_what_is_served_is_not_pushed(day, tmp_path):
    day(4)
    newest = day(5)
    told = "older than what is served: trained to 2022-05-04, served is 2022-05-05"
    for graph in ("", "trained anew"):
        with pytest.raises(pusher.NotPushed, match=told):
            day(4, graph)
    assert versions.numbers(str(tmp_path / "serving"))[-1] == newest
    assert day(5) == newest
    assert day(5, "the same day again") > newest


def test_after_a_rollback_days_after_the_one_that_is_served_are_pushed(day, tmp_path):
    for number in (4, 5, 6):
        day(number)
    base = str(tmp_path / "serving")
    versions.roll_back(base)
    versions.roll_back(base)
    with pytest.raises(pusher.NotPushed, match="older"):
        day(3)
    with pytest.raises(pusher.NotPushed, match="rolled back from"):
        day(6)
    again = day(5, "trained anew")
    assert versions.served(base) == again
    assert day(7) > again


def test_without_a_day_on_either_side_a_model_is_pushed(day):
    pushed = [day(0), day(5), day(0, "no days"), day(4)]
    assert sorted(set(pushed)) == pushed


def test_a_version_of_a_release_that_noted_no_day_is_followed_by_any(day, tmp_path):
    first = day(5)
    path = tmp_path / f"serving/{first}" / versions.MANIFEST
    told = json.loads(path.read_text())
    assert told.pop("trained_to") == "2022-05-05"
    path.write_text(json.dumps(told))
    assert day(4) > first


def test_a_push_that_dies_leaves_no_version_and_the_next_one_is_whole(model, tmp_path, monkeypatch):
    base = tmp_path / "serving"

    def die(*_):
        raise OSError("No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(fileio, "rename", die)
        with pytest.raises(OSError, match="No space left"):
            pusher.push(str(model), str(base))
    assert not [f for f in base.iterdir() if f.name.isdigit()]
    version = pusher.push(str(model), str(base))
    assert [f.name for f in base.iterdir()] == [version]
    assert files(base / version) == files(model)


@pytest.fixture
def pushes(model, tmp_path):
    """Runs the Pusher's executor on two blessings; what was pushed."""

    def run(evaluated, checked, **config):
        found = standard_artifacts.ModelBlessing(), standard_artifacts.InfraBlessing()
        for blessing, blessed in zip(found, (evaluated, checked), strict=True):
            blessing.set_int_custom_property("blessed", blessed)
        found[1].uri = str(tmp_path)
        found[1].set_int_custom_property("has_model", checked)
        found[1].set_int_custom_property(MODEL_ID, 7)
        pushed = standard_artifacts.PushedModel()
        pushed.uri = str(tmp_path / "pushed")
        destination = pusher_pb2.PushDestination()
        destination.filesystem.base_directory = str(tmp_path / "serving")
        model_run = standard_artifacts.ModelRun()
        model_run.id = 8
        pusher.Executor().Do(
            {
                "model_blessing": [found[0]],
                "infra_blessing": [found[1]],
                "model_run": [model_run],
            },
            {"pushed_model": [pushed]},
            {
                "push_destination": proto_utils.proto_to_json(destination),
                "custom_config": json.dumps(config or None),
            },
        )
        return pushed

    model.rename(tmp_path / "stamped_model")
    return run


def test_what_is_pushed_is_the_checked_copy_and_it_names_its_model(pushes, tmp_path):
    pushed = pushes(1, 1)
    (version,) = (tmp_path / "serving").iterdir()
    assert files(version) == files(tmp_path / "stamped_model")
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_int_custom_property(MODEL_ID) == 7
    assert pushed.get_int_custom_property(RUN_ID) == 8
    day = pushes(1, 1, trained_to="2022-05-06").get_string_custom_property(TRAINED_TO)
    assert day == "2022-05-06"  # so that no earlier day is compared with it


def test_a_blessed_model_that_is_not_pushed_says_why(pushes, tmp_path):
    assert pushes(1, 1, trained_to="2022-05-06").get_string_custom_property(WHY_NOT) == ""
    (tmp_path / "stamped_model/saved_model.pb").write_text("another graph")
    pushed = pushes(1, 1, trained_to="2022-05-05")
    assert pushed.get_int_custom_property("pushed") == 0
    assert pushed.get_string_custom_property(WHY_NOT) == (
        "it is older than what is served: trained to 2022-05-05, served is 2022-05-06"
    )
    assert len(list((tmp_path / "serving").iterdir())) == 1


@pytest.mark.parametrize("blessings", [(0, 1), (1, 0), (0, 0)])
def test_a_model_that_one_of_both_refused_is_not_pushed(pushes, tmp_path, blessings):
    assert pushes(*blessings).get_int_custom_property("pushed") == 0
    assert not (tmp_path / "serving").exists()
