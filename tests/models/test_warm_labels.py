"""A warm start may learn labels mixed with what the model that it goes on from says."""

import json

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models import batches, losses, soft_labels, starts, trainer
from ncs4cvr.models.batches import Batches
from ncs4cvr.models.network import Network

AFTER = 20220103


@pytest.fixture(params=[16384, 70], ids=["one block", "several"])
def mixed(request, days, tmp_path, monkeypatch):
    """The second day's new rows, 100 of 300 in two of five blocks; the model; its soft labels."""
    for module in (batches, soft_labels):
        monkeypatch.setattr(module, "BLOCK", request.param)
    _, day = days
    recipe = day.recipe.replace(warm_label_share=0.25)
    train = Batches(f"{day.world.folder}/train*", day.world.graph, AFTER)
    model = starts.build(recipe, day.world.sizes, train.no_rows())
    return model, soft_labels.mixed(recipe, train, model, str(tmp_path))


def test_soft_labels_are_a_quarter_of_the_label_and_the_rest_of_what_the_model_says(mixed):
    model, split = mixed
    rows = clicks = 0
    for batch in split.epoch(3, 64, seed=1):
        said = model(batch)
        clicked = batch["click"].numpy().ravel() > 0
        for task, label in (("ctr", "click"), ("cvr", "conversion")):
            p, y = said[task].numpy(), batch[label].numpy().ravel()
            expected = 0.25 * y + 0.75 * p
            if task == "cvr":
                expected = np.where(clicked, expected, p)
            np.testing.assert_allclose(batch[losses.soft(task)], expected, rtol=1e-5)
        rows += len(clicked)
        clicks += clicked.sum()
    assert rows == 100
    assert 0 < clicks < rows


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
    seen = []
    true = trainer.training.fit

    def fit(model, train, *args, **by_name):
        seen.append({losses.soft(t) for t in ("ctr", "cvr")} & train.no_rows().keys())
        return true(model, train, *args, **by_name)

    monkeypatch.setattr(trainer.training, "fit", fit)
    start = _went_on(days, fn_args, tmp_path, warm_label_share=share)
    assert (start["from"], start["rows"]) == ("2022-01-03", 100)
    assert start.get("label_share", 1.0) == share
    assert seen == [set(), {"soft/ctr", "soft/cvr"} if share < 1 else set()]


@pytest.mark.parametrize("sharing", ["aitm", "esmm", "shared_bottom"])
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
