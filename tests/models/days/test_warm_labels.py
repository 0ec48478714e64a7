"""A warm start may learn what the model that it goes on from says, beside the labels."""

import json

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models import trainer
from ncs4cvr.models.layers import losses
from ncs4cvr.models.layers.network import Network
from ncs4cvr.models.learning import batches
from ncs4cvr.models.learning.batches import Batches
from ncs4cvr.models.pruning import soft_labels, starts

AFTER = 20220103


@pytest.fixture(params=[16384, 70], ids=["one block", "several"])
def new_rows(request, days, monkeypatch):
    """The second day's new rows, 100 of 300 in two of five blocks, and what a model says."""
    for module in (batches, soft_labels):
        monkeypatch.setattr(module, "BLOCK", request.param)
    _, day = days
    train = Batches(f"{day.world.folder}/train*", day.world.graph, AFTER)
    model = starts.build(day.recipe, day.world.sizes, train.no_rows())
    return model, soft_labels.of_model(day.recipe, train, model)


def test_every_new_row_has_what_the_model_says_of_it(new_rows):
    model, split = new_rows
    rows = 0
    for batch in split.epoch(3, 64, seed=1):
        for task, p in model(batch).items():
            np.testing.assert_allclose(batch[losses.soft(task)], p, rtol=1e-5)
        rows += len(batch["click"])
    assert rows == 100


def test_it_is_what_the_model_said_before_it_went_on(new_rows):
    model, split = new_rows
    before = [batch["soft/ctr"].numpy() for batch in split.in_order()]
    for batch in split.epoch(0, 32, seed=1):
        model.train_step(batch)
    for batch, said in zip(split.in_order(), before, strict=True):
        np.testing.assert_array_equal(batch["soft/ctr"], said)


@pytest.mark.parametrize("sharing", ["ncs4cvr", "esmm", "aitm"])
def test_the_loss_is_a_share_of_the_labels_and_the_rest_of_the_soft_labels(recipe, world, sharing):
    """Each over its own rows: a click-through rate of 4 % takes nothing from CVR's labels."""
    batch = next(iter(world.train.in_order(32)))
    model = Network(recipe.replace(sharing=sharing), world.sizes)
    soft = {losses.soft(t): tf.random.uniform([32], 0.1, 0.9) for t in ("ctr", "cvr")}
    alone = model.task_losses(batch, False)
    taught = model.task_losses({**batch, **soft}, False)
    model.label_share = 0.25
    for both, a, b in zip(model.task_losses({**batch, **soft}, False), alone, taught, strict=True):
        assert float(both) == pytest.approx(0.25 * float(a) + 0.75 * float(b), rel=1e-5)
        assert float(a) != float(b)


def _went_on(days, fn_args, folder, **changes):
    """What the second day's training says of its start, without tickets as mmoe."""
    for number, day in enumerate(days):
        recipe = day.recipe.replace(sharing="mmoe", **changes)
        args = fn_args(recipe, folder / str(number), last_run=f"{folder}/0/run" if number else "")
        at = day.world.folder
        args.transform_output, args.train_files = f"{at}/graph", [f"{at}/train*"]
        args.eval_files = [f"{at}/valid*"]
        trainer.fitted(args, recipe, day.world.graph, None)
    return json.loads((folder / "1/run/training.json").read_text())["start"]


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_the_trainer_mixes_where_the_recipe_says_so(days, fn_args, tmp_path, monkeypatch, share):
    seen, shares = [], []
    true = trainer.training.fit

    def fit(model, train, *args, **by_name):
        shares.append(model.label_share)
        seen.append({losses.soft(t) for t in ("ctr", "cvr")} & train.no_rows().keys())
        return true(model, train, *args, **by_name)

    monkeypatch.setattr(trainer.training, "fit", fit)
    start = _went_on(days, fn_args, tmp_path, warm_label_share=share)
    assert (start["from"], start["rows"]) == ("2022-01-03", 100)
    assert start.get("label_share", 1.0) == share
    assert shares == [0.0, share if share < 1 else 0.0]
    assert seen == [set(), {"soft/ctr", "soft/cvr"} if share < 1 else set()]


@pytest.mark.parametrize("sharing", ["aitm", "esmm", "ncs4cvr"])
def test_what_a_model_itself_says_pulls_it_nowhere(recipe, world, sharing):
    """In the sample space of every sharing: its own answers as soft labels give no gradient."""
    batch = next(iter(world.train.in_order(32)))
    model = Network(recipe.replace(sharing=sharing), world.sizes)
    model(batch)
    model.heads[1].bias.assign([-2.0])  # fewer conversions than clicks: aitm's ratio is below 1
    own = {losses.soft(task): p for task, p in model(batch).items()}
    with tf.GradientTape() as tape:
        loss = tf.add_n(model.task_losses({**batch, **own}, training=False))
    heads = [v for head in model.heads for v in head.trainable_variables]
    for gradient in tape.gradient(loss, heads):
        np.testing.assert_allclose(gradient, np.zeros(gradient.shape), atol=1e-6)
