"""A compiled pipeline, run step by step as Kubeflow does, on two days of a log with a file a day.

kubeflow_launcher.py says which parts of Kubeflow's contract that is.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma

from kubeflow_launcher import Launcher
from ncs4cvr.pipeline import recipe_files
from ncs4cvr.pipeline.cli import main
from ncs4cvr.pipeline.status import PUSHED
from tiny_log import write_tiny_days

pytestmark = pytest.mark.e2e

TESTS = Path(__file__).parents[1]
DAY, NEXT = "2022-01-06", "2022-01-07"
SETTINGS = ("warm_start=on", "search_every_days=7", "analyze_every_days=7")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kubeflow")
    recipe = write_tiny_days(folder / "log")
    file = folder / "pipeline.yaml"
    arguments = ["--image", "ncs4cvr:1", "--root", str(folder / "shared"), "--retries", "0"]
    arguments += [part for setting in SETTINGS for part in ("--set", setting)]
    assert main(["compile", str(recipe), *arguments, "--output", str(file)]) == PUSHED
    return folder, Launcher(file, folder / "artifacts", {})


def succeeded(run):
    failed = {name: task.log[-2000:] for name, task in run.tasks.items() if task.state == "FAILED"}
    assert run.state == "SUCCEEDED", "\n".join(f"{name}: {log}" for name, log in failed.items())
    return run


@pytest.fixture(scope="module")
def first(world):
    return succeeded(world[1].run(date=DAY))


@pytest.fixture(scope="module")
def second(world, first):
    return succeeded(world[1].run(date=NEXT))


@pytest.fixture(scope="module")
def worse(world, second):
    """A model that learns nothing, under gates that all but the comparison would let through."""
    gates = {"ctr_auc": {"at_least": 0.0, "worse_by": 0.05}, "cvr_auc": {"at_least": 0.0}}
    settings = ["learning_rate=1e-7", "max_epochs=1", "control=random"]  # a fresh start
    return succeeded(world[1].run(date=NEXT, gates=gates, settings=settings))


def report(world, run):
    return json.loads((world[0] / f"shared/reports/{run.id}.json").read_text())


def metrics(run):
    """{metric: value}, as the Evaluator found it."""
    evaluation = run.tasks["evaluator"].artifacts["evaluation"]["uri"]
    (overall,) = tfma.load_metrics(evaluation)
    return {
        each.key.name: each.value.double_value.value
        for each in overall.metric_keys_and_values
        if not each.key.is_diff
    }


def verdict(run):
    blessing = run.tasks["model-gate"].artifacts["blessing"]["uri"]
    return json.loads(Path(blessing, "verdict.json").read_text())


def versions(world):
    return sorted(path.name for path in (world[0] / "shared/serving").iterdir())


def test_a_run_pushes_its_model_and_reports_it(world, first):
    told = report(world, first)
    assert (told["state"], told["date"]) == ("SUCCEEDED", DAY)
    assert Path(told["pushed_to"], "saved_model.pb").is_file()
    assert Path(told["pushed_to"]).parent == world[0] / "shared/serving"


def test_the_first_run_compares_with_nothing(first):
    assert first.tasks["last-blessed-model"].artifacts["earlier"]["metadata"]["absent"] == 1
    assert verdict(first)["verdict"] == "first model"


def test_the_model_is_the_local_runners(world, first):
    arguments = ["--root", str(world[0] / "runs"), "--date", DAY]
    arguments += [part for setting in SETTINGS for part in ("--set", setting)]
    assert main(["run", str(world[0] / "log/tiny.py"), *arguments]) == PUSHED
    summary = json.loads((world[0] / "runs/tiny/summary.json").read_text())
    here = examples(first.tasks["video-log-example-gen"].artifacts["examples"]["uri"])
    mine, theirs = (
        scores(summary["pushed_to"], here),
        scores(report(world, first)["pushed_to"], here),
    )
    for name in ("ctr", "cvr", "ctcvr"):
        assert np.abs(mine[name] - theirs[name]).max() < 1e-5


def examples(uri):
    files = sorted(str(path) for path in Path(uri, "Split-test").iterdir())
    return tf.constant([r.numpy() for r in tf.data.TFRecordDataset(files, "GZIP").take(200)])


def scores(model, rows):
    signature = tf.saved_model.load(model).signatures["serving_default"]
    (name,) = signature.structured_input_signature[1]
    return {key: value.numpy() for key, value in signature(**{name: rows}).items()}


def test_the_same_file_runs_another_day(second):
    log = second.tasks["plan"].log
    assert "test: 2022-01-07 to 2022-01-07" in log
    counts = Path(
        second.tasks["video-log-example-gen"].artifacts["dead_letters"]["uri"], "counts.json"
    )
    assert json.loads(counts.read_text())["events"]["rows"] == 6 * 500  # six days of seven


def test_the_second_run_compares_with_the_first_ones_model(first, second):
    found, outputs = metrics(second), verdict(second)["outputs"]
    for name, output in outputs.items():
        assert output["value"] == pytest.approx(found[f"{name}_auc"], abs=1e-3)
    assert verdict(second)["verdict"] == "blessed"
    # The first one's was measured on other rows than here, but it is no coin.
    before = outputs["ctr"]["before"]["value"]
    assert before == pytest.approx(metrics(first)["ctr_auc"], abs=0.1)
    pushed = first.tasks["pusher"].artifacts["pushed_model"]["metadata"]["pushed_destination"]
    copy = second.tasks["last-blessed-model"].artifacts["earlier"]["uri"]
    one, other = (Path(p) / "variables/variables.index" for p in (pushed, f"{copy}/Format-Serving"))
    assert one.read_bytes() == other.read_bytes()


def training(run):
    """What a run's Trainer says of its start."""
    folder = Path(run.tasks["trainer"].artifacts["model_run"]["uri"])
    return json.loads((folder / "training.json").read_text())["start"]


def test_the_second_run_goes_on_from_the_first_ones_model_with_its_tickets(first, second):
    assert training(first)["why"] == "no model of an earlier day was pushed"
    assert training(second)["from"] == "2022-01-04"
    assert training(second)["rows"] == 500
    tickets = Path(second.tasks["ticket-search"].artifacts["tickets"]["uri"], "tickets.json")
    assert json.loads(tickets.read_text())["decision"]["searched"] is False


def test_the_second_run_keeps_the_first_ones_vocabularies(first, second):
    mine, before = (
        Path(run.tasks["transform"].artifacts["transform_graph"]["uri"]) for run in (second, first)
    )
    names = {path.relative_to(before) for path in before.rglob("*") if path.is_file()}
    assert names == {path.relative_to(mine) for path in mine.rglob("*") if path.is_file()}
    for name in names - {Path("analysis.json")}:
        assert (mine / name).read_bytes() == (before / name).read_bytes()
    decision = json.loads((mine / "analysis.json").read_text())["decision"]
    assert decision["analyzed_on"] == "2022-01-04"
    assert training(second)["words_new"] == 0


def test_drift_is_against_the_statistics_that_passed_last(first, second):
    kept = Path(second.tasks["last-statistics"].artifacts["earlier"]["uri"])
    made = Path(first.tasks["statistics-gen"].artifacts["statistics"]["uri"])
    files = sorted(path.relative_to(made) for path in made.rglob("*") if path.is_file())
    assert files
    assert all((kept / name).read_bytes() == (made / name).read_bytes() for name in files)


def test_a_model_made_worse_is_not_pushed(world, second, worse):
    before, told = report(world, second)["pushed_to"], report(world, worse)
    assert told["pushed_to"] is None
    assert versions(world)[-1] == Path(before).name
    assert len(versions(world)) == 2
    assert verdict(worse)["outputs"]["ctr"]["before"]["difference"] < -0.05
    assert "below the last blessed model's" in verdict(worse)["why"]


def test_steps_that_nothing_changed_for_come_from_the_cache(worse):
    states = {name: task.state for name, task in worse.tasks.items()}
    for name in ("video-log-example-gen", "statistics-gen", "schema-gen"):
        assert states[name] == "CACHED"
    for name in ("transform", "ticket-search", "trainer", "evaluator", "model-gate", "pusher"):
        assert states[name] == "SUCCEEDED"


def test_a_run_whose_log_is_missing_fails_and_is_reported(world, worse):
    run = world[1].run(date="2022-02-01")
    assert run.state == "FAILED"
    assert run.tasks["plan"].state == "FAILED"
    assert "no file matches" in run.tasks["plan"].log
    assert run.tasks["trainer"].state == "SKIPPED"
    told = report(world, run)
    assert (told["state"], told["date"]) == ("FAILED", "2022-02-01")
    assert told["pushed_to"] is None


def test_recipe_paths_with_a_date_are_found_beside_the_recipe(world):
    recipe = recipe_files.load(str(world[0] / "log/tiny.py"))
    assert recipe.log.events == str(world[0] / "log/events-{DATE}.csv")
