"""Soft labels: the rounds' mean logit, of the right rows, learned in place of the labels."""

import json

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models import trainer
from ncs4cvr.models.layers import losses
from ncs4cvr.models.learning import batches
from ncs4cvr.models.pruning import soft_labels, starts
from ncs4cvr.models.pruning.soft_labels import SoftLabels
from ncs4cvr.models.pruning.tickets import Tickets

TASKS = ("ctr", "cvr")


def _facts(**changes):
    return Tickets(
        {}, [], {soft_labels.FACTS: {"rounds": 2, "workers": 1, "tasks": list(TASKS)}, **changes}
    )


def _mean(models, batch):
    """{task: sigmoid of the models' mean logit}, row by row."""
    both = [model.logits(batch) for model in models]
    return {t: tf.sigmoid((a + b) / 2).numpy() for t, a, b in zip(TASKS, *both, strict=True)}


@pytest.fixture
def teachers(world, recipe):
    batch = world.train.no_rows()
    return [starts.build(recipe.replace(seed=seed), world.sizes, batch) for seed in (1, 2)]


@pytest.fixture(params=[16384, 70], ids=["one block", "several"])
def taught(request, world, recipe, teachers, tmp_path, monkeypatch):
    """The training split with the mean of two models as soft labels."""
    monkeypatch.setattr(batches, "BLOCK", request.param)
    monkeypatch.setattr(soft_labels, "BLOCK", request.param)
    train = world.train
    soft = SoftLabels(recipe, train)
    for model in teachers:
        soft.add(model)
    facts = soft.save(str(tmp_path))
    assert facts == {"rounds": 2, "workers": 1, "tasks": list(TASKS)}
    split, rounds = soft_labels.given(recipe, train, 300, _facts(), str(tmp_path))
    assert rounds == 2
    return split


def test_every_shuffled_row_has_the_mean_of_the_rounds(taught, teachers):
    rows = 0
    for batch in taught.epoch(3, 64, seed=1):
        for task, expected in _mean(teachers, batch).items():
            np.testing.assert_allclose(batch[losses.soft(task)], expected, rtol=1e-5)
        rows += len(batch["click"])
    assert rows == 300


def test_the_split_itself_is_left_as_it_was(world, taught):
    assert losses.soft("ctr") in taught.no_rows()
    assert losses.soft("ctr") not in world.train.no_rows()


def test_the_loss_is_cross_entropy_against_the_soft_labels_of_all_rows(small):
    model, batch = small()
    rng = np.random.default_rng(1)
    soft = {t: rng.uniform(0.1, 0.9, 32) for t in TASKS}
    given = {**batch, **{losses.soft(t): tf.constant(v, tf.float32) for t, v in soft.items()}}
    got = model.task_losses(given, training=False)
    for loss, logit, y in zip(got, model.logits(batch), soft.values(), strict=True):
        p = 1 / (1 + np.exp(-logit.numpy().astype(np.float64)))
        expected = -np.mean(y * np.log(p) + (1 - y) * np.log(1 - p))  # clicked or not
        assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.fixture
def saved(world, recipe, teachers, tmp_path):
    soft = SoftLabels(recipe, world.train)
    soft.add(teachers[0])
    soft.save(str(tmp_path))
    return str(tmp_path)


def test_soft_labels_of_other_rows_are_refused(world, recipe, saved):
    with pytest.raises(ValueError, match="damaged, or not of these rows; search again"):
        soft_labels.given(recipe, world.valid, 150, _facts(), saved)


def test_a_file_that_lost_its_end_is_refused(world, recipe, teachers, tmp_path, monkeypatch):
    for module in (batches, soft_labels):
        monkeypatch.setattr(module, "BLOCK", 100)
    train = world.train
    soft = SoftLabels(recipe, train)
    soft.add(teachers[0])
    soft.save(str(tmp_path))
    (path,) = tmp_path.glob("soft_labels*")
    whole = list(tf.data.TFRecordDataset(str(path)))
    with tf.io.TFRecordWriter(str(path)) as out:
        for record in whole[:2]:
            out.write(record.numpy())
    with pytest.raises(ValueError, match="200 rows have soft labels, the training split has 300"):
        soft_labels.given(recipe, train, 300, _facts(), str(tmp_path))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="not of these rows"):
        soft_labels.given(recipe, train, 300, _facts(), str(tmp_path))


def test_a_file_that_is_gone_is_refused(world, recipe, tmp_path):
    with pytest.raises(ValueError, match="damaged, or not of these rows; search again"):
        soft_labels.given(recipe, world.train, 300, _facts(), str(tmp_path))


def test_a_recipe_with_the_tasks_in_another_order_learns_each_from_its_own(
    world, recipe, teachers, saved
):
    other = recipe.replace(tasks=recipe.tasks[::-1])
    split, _ = soft_labels.given(other, world.train, 300, _facts(), saved)
    batch = next(iter(split.in_order()))
    for task, expected in teachers[0](batch).items():
        np.testing.assert_allclose(batch[losses.soft(task)], expected, rtol=1e-5)


def test_tickets_of_a_search_without_them_are_refused(world, recipe):
    with pytest.raises(ValueError, match="have no soft labels; search with soft_labels=rounds"):
        soft_labels.given(recipe, world.train, 300, Tickets({}, [], {}), "folder")


def test_soft_labels_for_other_workers_are_refused(world, recipe):
    found = Tickets({}, [], {soft_labels.FACTS: {"rounds": 2, "workers": 3}})
    with pytest.raises(ValueError, match="for 3 workers, and 1 train"):
        soft_labels.given(recipe, world.train, 300, found, "folder")


def test_where_tickets_are_kept_the_labels_are_learned(world, recipe):
    found, train = _facts(decision={"searched": False}), world.train
    assert soft_labels.given(recipe, train, 300, found, "nowhere") == (train, 0)


def _found_and_trained(world, recipe, fn_args, folder):
    splits = (f"{world.folder}/train*", f"{world.folder}/valid*", f"{world.folder}/graph")
    trainer.search_fn(recipe.to_json(), *splits, str(folder / "found"))
    trainer.run_fn(fn_args(recipe, folder, tickets=str(folder / "found")))
    return json.loads((folder / "run" / "training.json").read_text())


def test_the_steps_search_teach_and_train(world, recipe, fn_args, tmp_path, monkeypatch):
    seen = []
    true = trainer.training.fit

    def fit(model, train, *args, **by_name):
        seen.append(train.no_rows().keys())
        return true(model, train, *args, **by_name)

    monkeypatch.setattr(trainer.training, "fit", fit)
    recipe = recipe.replace(rounds=1, max_epochs=1, soft_labels="rounds")
    assert _found_and_trained(world, recipe, fn_args, tmp_path)["soft_labels"] == 2
    assert {losses.soft(t) for t in TASKS} < seen[0]


def test_without_them_the_labels_are_learned(world, recipe, fn_args, tmp_path):
    recipe = recipe.replace(rounds=1, max_epochs=1)
    assert _found_and_trained(world, recipe, fn_args, tmp_path)["soft_labels"] == 0
    assert not list((tmp_path / "found").glob("soft_labels*"))
