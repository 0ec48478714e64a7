"""What TFX calls: the search and the training as steps, on files and artifacts alone."""

import dataclasses
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import tensorflow as tf
from tfx import types
from tfx.types import artifact_utils, standard_artifacts

from ncs4cvr.components import ticket_search, unfinished
from ncs4cvr.components import trainer as trainer_component
from ncs4cvr.components.artifacts import TaskTickets
from ncs4cvr.models import trainer
from ncs4cvr.models.layers.sharing import get_ticket
from ncs4cvr.models.pruning import starts
from ncs4cvr.models.pruning.tickets import Tickets
from ncs4cvr.models.serving.export import export
from ncs4cvr.schemas.log import TIMES


def test_search_fn_writes_tickets_of_every_task(trained):
    found = Tickets.load(trained.found)
    assert sorted(found.tickets) == ["ctr", "cvr"]
    assert len(found.facts["rounds"]) == 2
    assert found.facts["made_from"]["recipe"] == "tiny"


def test_run_fn_trains_under_the_tickets(trained):
    found = Tickets.load(trained.tickets)
    for task, name in enumerate(("ctr", "cvr")):
        got = get_ticket(trained.model.sharing.connections(task))
        assert all((a == b).all() for a, b in zip(got, found.tickets[name], strict=True))


def test_run_fn_tells_every_epoch_and_the_best(trained):
    facts = json.loads((trained.folder / "run" / "training.json").read_text())
    assert len(facts["epochs"]) == 2
    watched = [epoch["watched"] for epoch in facts["epochs"]]
    assert watched[facts["best_epoch"] - 1] == max(watched)


def test_run_fn_leaves_no_checkpoint_behind(trained):
    assert not (trained.folder / "checkpoint").exists()


def test_run_fn_writes_every_epoch_for_tensorboard(trained):
    seen = {}
    for path in sorted((trained.folder / "run").glob("events*")):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                assert value.metadata.plugin_data.plugin_name == "scalars"
                seen.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    told = json.loads((trained.folder / "run" / "training.json").read_text())["epochs"]
    assert list(seen["loss"]) == [1, 2]
    aucs = [epoch["cvr_auc"] for epoch in told]
    assert list(seen["validation/cvr_auc"].values()) == pytest.approx(aucs)


def test_run_fn_refuses_tickets_of_another_model(trained, recipe, fn_args, tmp_path):
    args = fn_args(recipe.replace(hidden=(4, 4)), tmp_path, tickets=trained.tickets)
    with pytest.raises(
        ValueError, match=r"another model: hidden was \(8, 4\), is \(4, 4\)\. Search"
    ):
        trainer.run_fn(args)


def test_run_fn_refuses_tickets_whose_masks_fit_but_whose_embedding_rows_are_others(
    trained, recipe, fn_args, tmp_path
):
    user, *others = recipe.features
    features = (dataclasses.replace(user, hash_buckets=1), *others)
    args = fn_args(recipe.replace(features=features), tmp_path, tickets=trained.tickets)
    with pytest.raises(ValueError, match="features 'user': hash_buckets was 2, is 1"):
        trainer.run_fn(args)


def test_an_export_tells_how_its_log_writes_times(trained, world, recipe, tmp_path):
    told = {"column": "time_ms", "unit": "ms", "utc_offset_hours": 8}
    assert json.loads(Path(trained.saved, TIMES).read_text()) == told
    log = dataclasses.replace(recipe.log, time_unit="s", utc_offset_hours=5.5)
    changed = recipe.replace(log=log, sharing="shared_bottom")
    model = starts.build(changed, world.sizes, next(iter(world.valid.in_order())))
    export(model, world.graph, str(tmp_path), plain=True)
    told = {"column": "time_ms", "unit": "s", "utc_offset_hours": 5.5}
    assert json.loads((tmp_path / TIMES).read_text()) == told


@pytest.mark.parametrize("kind", ["ple", "aitm"])
def test_run_fn_trains_and_exports_any_sharing(recipe, fn_args, tmp_path, kind):
    trainer.run_fn(fn_args(recipe.replace(sharing=kind, max_epochs=1), tmp_path))
    assert (tmp_path / "Format-Serving" / "saved_model.pb").is_file()


@pytest.mark.parametrize("control", ["new_start", "union"])
def test_run_fn_trains_a_control(trained, recipe, fn_args, tmp_path, control, monkeypatch):
    models = []
    monkeypatch.setattr(trainer, "export", lambda model, *_, **__: models.append(model))
    recipe = recipe.replace(control=control, max_epochs=1, warmup_steps=2)
    trainer.run_fn(fn_args(recipe, tmp_path, tickets=trained.tickets))
    found = Tickets.load(trained.tickets).tickets
    either = [a | b for a, b in zip(found["ctr"], found["cvr"], strict=True)]
    for task, name in enumerate(("ctr", "cvr")):
        got = get_ticket(models[0].sharing.connections(task))
        expected = either if control == "union" else found[name]
        assert all((a == b).all() for a, b in zip(got, expected, strict=True))


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
        "transform_graph": [_artifact(standard_artifacts.TransformGraph, "/graph")],
        "schema": [_artifact(standard_artifacts.Schema, "/schema")],
        **({"tickets": [_artifact(TaskTickets, tickets)]} if tickets else {}),
    }


@pytest.fixture
def component_args(monkeypatch, tmp_path):
    """The arguments that the Trainer's executor makes of artifacts and its own parameters."""
    component = trainer_component.Trainer(
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


def test_the_trainer_hands_tickets_to_run_fn(component_args):
    assert component_args(_inputs()).custom_config["tickets"] == "/tickets/1"


def test_the_trainer_runs_without_tickets(component_args):
    assert "tickets" not in component_args(_inputs(tickets="")).custom_config


def test_the_checkpoint_belongs_to_inputs_and_parameters(component_args, tmp_path):
    def checkpoint(*args, **kwargs):
        return component_args(*args, **kwargs).custom_config["checkpoint"]

    first = checkpoint(_inputs())
    assert first.startswith(str(tmp_path))
    assert checkpoint(_inputs()) == first
    assert checkpoint(_inputs(tickets="/tickets/2")) != first
    assert checkpoint(_inputs(), run_fn="another") != first


@pytest.mark.parametrize("days", [0, 3])
def test_a_models_run_keeps_its_graph_where_later_days_may_want_it(
    recipe, tmp_path, monkeypatch, days
):
    monkeypatch.setattr(trainer_component.GenericExecutor, "Do", lambda *_: None)
    (tmp_path / "graph/transform_fn").mkdir(parents=True)
    (tmp_path / "graph/transform_fn/saved_model.pb").write_bytes(b"graph")
    graph = _artifact(standard_artifacts.TransformGraph, str(tmp_path / "graph"))
    run = _artifact(standard_artifacts.ModelRun, str(tmp_path / "run"))
    recipe = recipe.replace(analyze_every_days=days)
    told = json.dumps({"recipe": recipe.to_json(), "checkpoints": str(tmp_path / "none")})
    trainer_component.Executor().Do(
        {"transform_graph": [graph]}, {"model_run": [run]}, {"custom_config": told}
    )
    copy = tmp_path / "run/transform_graph/transform_fn/saved_model.pb"
    assert copy.exists() == bool(days)
    assert not days or copy.read_bytes() == b"graph"


def test_a_training_that_ends_well_removes_what_was_cut_off_a_week_ago(
    recipe, tmp_path, monkeypatch
):
    monkeypatch.setattr(trainer_component.GenericExecutor, "Do", lambda *_: None)
    now, hour = time.time(), 3600
    ages = {
        ("a" * 16, "ckpt-1.index"): 8 * 24 * hour,
        ("b" * 16, "0-of-2/ckpt-1.index"): 8 * 24 * hour,
        ("c" * 16, "ckpt-1.index"): 6 * 24 * hour,
        ("d" * 16, "0-of-2/ckpt-1.index"): 6 * 24 * hour,
        ("mine", "ckpt-1.index"): 8 * 24 * hour,
    }
    for (folder, name), age in ages.items():
        path = tmp_path / folder / name
        path.parent.mkdir(parents=True)
        path.write_bytes(b"weights")
        for each in (path, tmp_path / folder):
            os.utime(each, (now - age, now - age))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (tmp_path / ("e" * 16)).symlink_to(outside)
    for each in (outside / "kept", outside):
        os.utime(each, (now - 8 * 24 * hour,) * 2)
    run = _artifact(standard_artifacts.ModelRun, str(tmp_path / "run"))
    told = json.dumps({"recipe": recipe.to_json(), "checkpoints": str(tmp_path)})
    trainer_component.Executor().Do({}, {"model_run": [run]}, {"custom_config": told})
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"c" * 16, "d" * 16, "mine", "outside"}
    assert (outside / "kept").exists()


def test_a_training_ends_well_where_an_old_checkpoint_cannot_be_removed(
    tmp_path, monkeypatch, caplog
):
    def fails(path):
        raise PermissionError(path)

    (tmp_path / ("a" * 16)).mkdir()
    os.utime(tmp_path / ("a" * 16), (0, 0))
    monkeypatch.setattr(unfinished.checksums, "remove", fails)
    unfinished.forget(str(tmp_path))
    assert "a" * 16 in caplog.text


def test_the_search_step_calls_search_fn_with_its_splits_and_a_checkpoint(monkeypatch, tmp_path):
    called = []
    monkeypatch.setattr(trainer, "search_fn", lambda *args: called.append(args))
    inputs = {k: v for k, v in _inputs().items() if k in ("examples", "transform_graph")}
    component = ticket_search.TicketSearch(
        types.Channel(standard_artifacts.Examples),
        types.Channel(standard_artifacts.TransformGraph),
        recipe="the recipe",
        code_version="1",
        checkpoints=str(tmp_path / "checkpoints"),
    )
    old = tmp_path / "checkpoints" / ("a" * 16)
    old.mkdir(parents=True)
    os.utime(old, (0, 0))
    for recipe in ("the recipe", "the recipe", "another"):
        properties = {**component.exec_properties, "recipe": recipe}
        outputs = {"tickets": [_artifact(TaskTickets, "/out")]}
        ticket_search.Executor().Do(inputs, outputs, properties)
    files = ("/examples/Split-train/*", "/examples/Split-validate/*")
    assert called[0][:-1] == ("the recipe", *files, "/graph", "/out", "")
    first, again, another = (args[-1] for args in called)
    assert os.path.dirname(first) == str(tmp_path / "checkpoints")
    assert first == again != another
    assert not old.exists()
