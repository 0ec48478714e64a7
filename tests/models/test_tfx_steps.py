"""What TFX calls: the search and the training as steps, on files and artifacts alone."""

import json
from types import SimpleNamespace

import pytest
import tensorflow as tf
from tfx import types
from tfx.types import artifact_utils, standard_artifacts

from ncs4cvr.components import ticket_search
from ncs4cvr.components import trainer as trainer_component
from ncs4cvr.components.artifacts import TaskTickets
from ncs4cvr.models import trainer, training
from ncs4cvr.models.tickets import Tickets


@pytest.fixture(scope="module")
def short(recipe):
    return recipe.replace(rounds=1, max_epochs=2, patience=9)


@pytest.fixture(scope="module")
def tickets(world, short, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("tickets"))
    trainer.search_fn(
        short.to_json(),
        f"{world.folder}/train*",
        f"{world.folder}/valid*",
        f"{world.folder}/graph",
        folder,
    )
    return folder


def _fn_args(world, recipe, folder, **config):
    return SimpleNamespace(
        custom_config={
            "recipe": recipe.to_json(),
            "checkpoint": f"{folder}/checkpoint",
            "raw_examples": f"{world.folder}/raw_valid*",
            **config,
        },
        transform_output=f"{world.folder}/graph",
        train_files=[f"{world.folder}/train*"],
        eval_files=[f"{world.folder}/valid*"],
        model_run_dir=f"{folder}/run",
        serving_model_dir=f"{folder}/Format-Serving",
    )


@pytest.fixture(scope="module")
def trained(world, short, tickets, tmp_path_factory):
    """run_fn's outputs, after a first try that was stopped in the second epoch."""
    folder = tmp_path_factory.mktemp("trained")
    args = _fn_args(world, short, folder, tickets=tickets)
    validated = []

    def stop(*_):
        validated.append(1)
        if len(validated) == 2:
            raise KeyboardInterrupt
        return validate(*_)

    validate = training.validate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "validate", stop)
        with pytest.raises(KeyboardInterrupt):
            trainer.run_fn(args)
        assert not (folder / "Format-Serving").exists()
    trainer.run_fn(args)
    return folder


def test_search_fn_writes_tickets_of_every_task(tickets, short):
    found = Tickets.load(tickets)
    assert sorted(found.tickets) == ["ctr", "cvr"]
    assert len(found.facts["rounds"]) == 2
    assert found.facts["made_from"]["recipe"] == short.name


def test_run_fn_writes_a_model_that_answers(trained, world):
    model = tf.saved_model.load(str(trained / "Format-Serving"))
    records = tf.data.TFRecordDataset(f"{world.folder}/raw_valid.gz", "GZIP").take(3)
    out = model.signatures["serving_default"](tf.constant(list(records.as_numpy_iterator())))
    assert out["ctcvr"].shape == (3,)


def test_run_fn_goes_on_where_it_was_stopped_and_tells_every_epoch(trained):
    facts = json.loads((trained / "run" / "training.json").read_text())
    assert len(facts["epochs"]) == 2
    watched = [epoch["watched"] for epoch in facts["epochs"]]
    assert watched[facts["best_epoch"] - 1] == max(watched)


def test_run_fn_leaves_no_checkpoint_behind(trained):
    assert not (trained / "checkpoint").exists()


def test_run_fn_writes_every_epoch_for_tensorboard(trained):
    seen = {}
    for path in sorted((trained / "run").glob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                seen.setdefault(value.tag, set()).add(event.step)
    assert seen["loss"] == {1, 2}
    assert seen["validation/cvr_auc"] == {1, 2}


def test_run_fn_refuses_tickets_of_another_model(world, short, tickets, tmp_path):
    args = _fn_args(world, short.replace(hidden=(4, 4)), tmp_path, tickets=tickets)
    with pytest.raises(ValueError, match="belongs to layers"):
        trainer.run_fn(args)


# -- the components around them ------------------------------------------------------------


def _artifact(kind, uri, splits=()):
    artifact = kind()
    artifact.uri = uri
    if splits:
        artifact.split_names = artifact_utils.encode_split_names(list(splits))
    return artifact


def _inputs(tickets="/tickets/1"):
    return {
        "examples": [_artifact(standard_artifacts.Examples, "/examples", ["train", "validate"])],
        "raw_examples": [_artifact(standard_artifacts.Examples, "/raw", ["train", "validate"])],
        "transform_graph": [_artifact(standard_artifacts.TransformGraph, "/graph")],
        "schema": [_artifact(standard_artifacts.Schema, "/schema")],
        **({"tickets": [_artifact(TaskTickets, tickets)]} if tickets else {}),
    }


@pytest.fixture
def fn_args(monkeypatch, tmp_path):
    """The arguments that the Trainer's executor makes of artifacts and its own parameters."""
    component = trainer_component.Trainer(
        types.Channel(standard_artifacts.Examples),
        types.Channel(standard_artifacts.Examples),
        types.Channel(standard_artifacts.TransformGraph),
        types.Channel(standard_artifacts.Schema),
        recipe="{}",
        code_version="1",
        checkpoints=str(tmp_path),
        tickets=types.Channel(TaskTickets),
    )
    common = SimpleNamespace(transform_graph_path="/graph", schema_path="/schema")
    monkeypatch.setattr(
        trainer_component.GenericExecutor,
        "_GetFnArgs",
        lambda self, inputs, outputs, properties: SimpleNamespace(
            **vars(common), custom_config=json.loads(properties["custom_config"])
        ),
    )

    def make(inputs, **changes):
        properties = {**component.exec_properties, **changes}
        return trainer_component.Executor()._GetFnArgs(inputs, {}, properties)

    return make


def test_the_trainer_hands_tickets_and_raw_validation_examples_to_run_fn(fn_args):
    config = fn_args(_inputs()).custom_config
    assert config["tickets"] == "/tickets/1"
    assert config["raw_examples"] == "/raw/Split-validate/*"


def test_the_trainer_runs_without_tickets(fn_args):
    assert "tickets" not in fn_args(_inputs(tickets="")).custom_config


def test_the_checkpoint_belongs_to_inputs_and_parameters(fn_args, tmp_path):
    def checkpoint(*args, **kwargs):
        return fn_args(*args, **kwargs).custom_config["checkpoint"]

    first = checkpoint(_inputs())
    assert first.startswith(str(tmp_path))
    assert checkpoint(_inputs()) == first
    assert checkpoint(_inputs(tickets="/tickets/2")) != first
    assert checkpoint(_inputs(), run_fn="another") != first


def test_the_search_step_calls_search_fn_with_its_splits(monkeypatch):
    called = []
    monkeypatch.setattr(trainer, "search_fn", lambda *args: called.append(args))
    inputs = {k: v for k, v in _inputs().items() if k in ("examples", "transform_graph")}
    component = ticket_search.TicketSearch(
        types.Channel(standard_artifacts.Examples),
        types.Channel(standard_artifacts.TransformGraph),
        recipe="the recipe",
        code_version="1",
    )
    ticket_search.Executor().Do(
        inputs, {"tickets": [_artifact(TaskTickets, "/out")]}, component.exec_properties
    )
    assert called == [
        (
            "the recipe",
            "/examples/Split-train/*",
            "/examples/Split-validate/*",
            "/graph",
            "/out",
        )
    ]
