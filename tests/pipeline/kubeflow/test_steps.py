"""What runs inside the containers, apart from TFX's own executors."""

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tfx.types import standard_artifacts

from ncs4cvr.components.log.readers import LogError
from ncs4cvr.pipeline.kubeflow import nodes, passed, step
from ncs4cvr.pipeline.kubeflow.artifacts import metadata_of, path_of, to_tfx
from ncs4cvr.pipeline.kubeflow.plan import FILES, bounded, changed, packed, told, unpacked

NOTHING = {**dict.fromkeys(FILES, ""), "date": "", "gates": {}, "settings": []}


def plan_of(recipe):
    return {name: json.loads(unpacked(each)) for name, each in told(recipe, "/shared").items()}


# -- the register --------------------------------------------------------------------------------


def test_the_newest_entry_comes_first(tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()
        passed.add(f"{tmp_path}/register", f"{tmp_path}/{name}", key=name)
    assert [each["key"] for each in passed.entries(f"{tmp_path}/register")] == ["c", "b", "a"]


def test_the_own_entry_and_what_is_gone_are_passed_over(tmp_path):
    for name in "abc":
        (tmp_path / name).mkdir()
        passed.add(f"{tmp_path}/register", f"{tmp_path}/{name}", key=name)
    (tmp_path / "b").rmdir()
    assert passed.latest(f"{tmp_path}/register", but="c")["key"] == "a"
    assert passed.latest(f"{tmp_path}/register", but="")["key"] == "c"


def test_a_model_that_was_trained_on_the_days_of_the_comparison_is_passed_over(tmp_path):
    register = f"{tmp_path}/register"
    for day in ("", "2022-01-04", "2022-01-05"):
        passed.add(register, str(tmp_path), key=day, trained_to=day)
    assert passed.latest(register, but="", tested_from="2022-01-06")["key"] == "2022-01-05"
    assert passed.latest(register, but="x", tested_from="2022-01-05")["key"] == "2022-01-04"
    assert passed.latest(register, but="x", tested_from="2022-01-04")["key"] == ""


def test_where_nothing_passed_nothing_is_found(tmp_path):
    assert passed.latest(f"{tmp_path}/register", but="") is None


def test_runs_at_the_same_time_lose_no_entry_and_readers_see_whole_ones(tmp_path):
    register = f"{tmp_path}/register"

    def add(number):
        passed.add(register, str(tmp_path), key=str(number))
        return passed.entries(register)  # json.loads would fail on half an entry

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(64)))
    assert {each["key"] for each in passed.entries(register)} == {str(n) for n in range(64)}


def run_of(tmp_path, day, content="good"):
    """Registers the run of a model that was trained up to a day."""
    folder = tmp_path / f"{day}-{content}"
    folder.mkdir()
    about = {"metadata": {"trained_to": day}, "content": content}
    passed.add(f"{tmp_path}/register", str(folder), key="", **about)


def nearest(tmp_path, before, refused=()):
    entry = passed.nearest(f"{tmp_path}/register", before, refused)
    return entry and Path(entry["uri"]).name


def test_the_run_of_the_nearest_earlier_day_is_found(tmp_path):
    for day in ("2022-01-05", "2022-01-07", "2022-01-04", "2022-01-06"):
        run_of(tmp_path, day)
    assert nearest(tmp_path, "2022-01-06") == "2022-01-05-good"
    assert nearest(tmp_path, "2022-01-04") is None


def test_of_two_runs_of_a_day_the_one_pushed_last_is_found(tmp_path):
    run_of(tmp_path, "2022-01-05", "first")
    run_of(tmp_path, "2022-01-05", "second")
    assert nearest(tmp_path, "2022-01-06") == "2022-01-05-second"


def test_no_run_goes_on_from_a_model_that_was_rolled_back_from(tmp_path):
    run_of(tmp_path, "2022-01-04")
    run_of(tmp_path, "2022-01-05", "bad")
    assert nearest(tmp_path, "2022-01-06", {"bad"}) == "2022-01-04-good"


# -- look-up -------------------------------------------------------------------------------------


def look_up(tmp_path, else_itself=False, key="own"):
    payload = {
        "properties": {"else_itself": else_itself},
        "key": "",
        "register": f"{tmp_path}/register",
        "entry": key,
    }
    call = step.Call(
        "",
        {"told": packed(json.dumps(payload))},
        {"candidate": {"uri": f"{tmp_path}/mine", "metadata": {"split_names": '["mine"]'}}},
        {"earlier": {"uri": f"{tmp_path}/found"}},
        tmp_path / "output.json",
    )
    step.look_up(call)
    return call.outputs["earlier"]["metadata"]


def test_a_found_model_is_copied_to_where_a_model_artifact_keeps_it(tmp_path):
    (tmp_path / "serving/1").mkdir(parents=True)
    (tmp_path / "serving/1/saved_model.pb").write_text("model")
    where = f"{tmp_path}/serving/1"
    passed.add(f"{tmp_path}/register", where, key="old", part="Format-Serving", metadata={"a": 1})
    assert look_up(tmp_path) == {"a": 1}
    assert (tmp_path / "found/Format-Serving/saved_model.pb").read_text() == "model"


def test_a_look_up_that_finds_nothing_says_so(tmp_path):
    assert look_up(tmp_path) == {"absent": 1}


def test_a_look_up_may_fall_back_on_its_candidate(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/stats").write_text("1")
    assert look_up(tmp_path, else_itself=True) == {"split_names": '["mine"]'}
    assert (tmp_path / "found/stats").read_text() == "1"


# -- the plan ------------------------------------------------------------------------------------


def test_a_date_moves_the_windows_that_components_are_told(tiny):
    found = plan_of(changed(tiny, {**NOTHING, "date": "2022-01-05"}))
    log = json.loads(found["VideoLogExampleGen"]["properties"]["log"])
    assert [split["last"] for split in log["splits"]] == ["2022-01-03", "2022-01-04", "2022-01-05"]
    assert json.loads(found["Pusher"]["properties"]["custom_config"])["trained_to"] == "2022-01-03"


def test_bounds_and_settings_reach_the_components_they_are_for(tiny):
    values = {**NOTHING, "gates": {"ctr_auc": {"at_least": 0.625}}, "settings": ["seed=7"]}
    before, after = plan_of(tiny), plan_of(changed(tiny, values))
    assert "0.625" in after["Evaluator"]["properties"]["eval_config"]
    assert (
        json.loads(json.loads(after["Trainer"]["properties"]["custom_config"])["recipe"])["seed"]
        == 7
    )
    assert before["Transform"] == after["Transform"]


def test_models_are_compared_with_one_that_was_not_trained_on_the_test_days(tiny):
    found = plan_of(changed(tiny, {**NOTHING, "date": "2022-01-05"}))
    assert found["LastBlessedModel"]["properties"]["tested_from"] == "2022-01-05"


def test_look_ups_and_gates_share_a_register_and_their_makers_key(tiny):
    found = plan_of(tiny.replace(warm_start="on"))
    for look_up_, gate, maker, what in (
        ("LastStatistics", "DataGate", "StatisticsGen", "statistics"),
        ("LastBlessedModel", "Pusher", "Trainer", "pushed_model"),
        ("LastRun", "Pusher", "Pusher", "model_run"),
    ):
        about = {key: found[look_up_][key] for key in ("register", "entry")}
        assert {"what": what, **about} in found[gate]["lets_through"]
        assert about["entry"] == found[maker]["key"]
    assert (
        len({found[n]["register"] for n in ("LastStatistics", "LastBlessedModel", "LastRun")}) == 3
    )


def test_without_a_warm_start_no_run_is_kept_for_the_next_day(tiny):
    found = plan_of(tiny)
    assert "LastRun" not in found
    assert [each["what"] for each in found["Pusher"]["lets_through"]] == ["pushed_model"]


def test_settings_that_need_other_steps_than_were_compiled_are_refused(tiny, tmp_path):
    values = {**NOTHING, "settings": ["warm_start=on"], "root": str(tmp_path), "schema": packed("")}
    values |= {"run": "r1"}
    values["recipe"] = packed(tiny.to_json())
    asked = [nodes.task_name(name) for name in plan_of(tiny)]
    call = step.Call("", values, {}, {}, tmp_path / "output.json", asked)
    with pytest.raises(ValueError, match=r"other steps \(\['last-run'\]\).*compile it"):
        step.plan(call)


def test_what_a_file_holds_changes_the_keys_of_all_that_read_it(tiny, tmp_path):
    events = tmp_path / "events.csv"
    text = Path(tiny.log.events).read_text()
    events.write_text(text)
    recipe = tiny.replace(log=dataclasses.replace(tiny.log, events=str(events)))
    before = plan_of(recipe)
    events.write_text(text.replace("\n1,", "\n2,"))
    after = plan_of(recipe)
    assert before["VideoLogExampleGen"]["key"] != after["VideoLogExampleGen"]["key"]
    assert before["Transform"]["key"] != after["Transform"]["key"]


def test_a_missing_file_stops_the_plan(tiny):
    with pytest.raises(LogError, match=r"lost\.csv"):
        told(changed(tiny, {**NOTHING, "events": "/nowhere/lost.csv"}), "/shared")


@pytest.mark.parametrize(
    ("bounds", "message"),
    [({"ctr_acu": {}}, "no gate 'ctr_acu'"), ({"ctr_auc": {"min": 0.5}}, "no bound")],
)
def test_bounds_that_do_not_exist_are_refused(tiny, bounds, message):
    with pytest.raises(ValueError, match=message):
        bounded(tiny.gates, bounds)


def test_five_hundred_features_fit_into_one_argument(tiny):
    """Linux takes 128 KB; Kubeflow's launcher hands over all parameters in one."""
    many = tuple(
        dataclasses.replace(tiny.features[2], name=f"f{n}", vocabulary="") for n in range(500)
    )
    many = tuple(dataclasses.replace(f, vocabulary=f.name) for f in many)
    recipe = tiny.replace(features=(*tiny.features, *many))
    assert max(len(each) for each in told(recipe, "/shared").values()) < 100_000
    assert len(packed(recipe.to_json())) < 100_000


# -- artifacts -----------------------------------------------------------------------------------


def test_an_artifact_keeps_what_it_says_of_itself():
    examples = standard_artifacts.Examples()
    examples.uri = "/x"
    examples.split_names = '["train"]'
    examples.span = 3
    examples.set_int_custom_property("rows", 12)
    examples.set_string_custom_property("file_format", "tfrecords_gzip")
    # The metadata store keeps every number as a double.
    stored = {k: float(v) if isinstance(v, int) else v for k, v in metadata_of(examples).items()}
    back = to_tfx(standard_artifacts.Examples, {"uri": "/x", "metadata": stored})
    assert back.split_names == '["train"]'
    assert back.span == 3
    assert back.get_int_custom_property("rows") == 12
    assert back.get_string_custom_property("file_format") == "tfrecords_gzip"


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("gs://b/x", "gs://b/x"),
        ("/mnt/x", "/mnt/x"),
        ("minio://b/x", "/minio/b/x"),
        ("s3://b/x", "/s3/b/x"),
    ],
)
def test_object_stores_that_tfx_cannot_read_are_read_from_the_launchers_copy(uri, path):
    assert path_of(uri) == path
