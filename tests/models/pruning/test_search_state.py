"""A search that was cut off goes on after its last finished round, and finds the same."""

import json

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models import trainer
from ncs4cvr.models.learning import training
from ncs4cvr.models.pruning import lottery
from ncs4cvr.models.pruning.soft_labels import SoftLabels
from ncs4cvr.models.pruning.tickets import ARRAYS, FACTS


class Killed(Exception):
    pass


def _search(world, recipe, checkpoint="", killed_in=0):
    """(tickets, soft labels, titles of what was trained); cut off in its n-th training."""
    titles = []

    def train_epoch(model, batches, rows, title, *stop):
        titles.append(title)
        loss = train_epoch_itself(model, batches, rows, title, *stop)
        if len(titles) == killed_in:
            raise Killed
        return loss

    train_epoch_itself = training.train_epoch
    soft = SoftLabels(recipe, world.train)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train_epoch", train_epoch)
        splits = (world.train, world.valid, len(world.rows))
        if not killed_in:
            found = lottery.find_tickets(recipe, world.sizes, *splits, {}, soft, checkpoint)
            return found, soft.table(), titles
        with pytest.raises(Killed):
            lottery.find_tickets(recipe, world.sizes, *splits, {}, soft, checkpoint)
    return None


@pytest.fixture(scope="module", params=[{}, {"early_bird": 0.2}], ids=["whole", "early birds"])
def searched(request, world, recipe):
    return recipe.replace(rounds=2, **request.param)


@pytest.fixture(scope="module")
def undisturbed(world, searched):
    return _search(world, searched)


@pytest.mark.parametrize("killed_in", [1, 3])
def test_it_finds_what_an_undisturbed_search_finds(
    world, searched, undisturbed, tmp_path, killed_in
):
    _search(world, searched, str(tmp_path), killed_in)
    found, soft, titles = _search(world, searched, str(tmp_path))
    assert titles == [f"round {k}/2" for k in range(killed_in - 1, 3)]
    expected, expected_soft, _ = undisturbed
    for ours, theirs in ((found.tickets, expected.tickets), (found.first, expected.first)):
        assert ours.keys() == theirs.keys()
        for task, ticket in ours.items():
            assert all((a == b).all() for a, b in zip(ticket, theirs[task], strict=True))
    assert all((a == b).all() for a, b in zip(found.start, expected.start, strict=True))
    assert found.facts == expected.facts
    np.testing.assert_array_equal(soft, expected_soft)


def test_a_search_that_was_cut_off_after_its_last_round_trains_no_more(world, recipe, tmp_path):
    recipe = recipe.replace(rounds=1)
    first, soft, _ = _search(world, recipe, str(tmp_path))
    found, soft_again, titles = _search(world, recipe, str(tmp_path))
    assert titles == []
    assert found.facts == first.facts
    np.testing.assert_array_equal(soft_again, soft)


def test_the_step_leaves_no_checkpoint_when_its_tickets_are_whole(world, recipe, tmp_path):
    found, checkpoint = tmp_path / "found", tmp_path / "checkpoint"
    splits = (f"{world.folder}/train*", f"{world.folder}/valid*", f"{world.folder}/graph")
    seen = []

    class Manager(tf.train.CheckpointManager):
        def save(self, *args, **kwargs):
            seen.append((found / FACTS).exists())
            return super().save(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.train, "CheckpointManager", Manager)
        recipe = recipe.replace(rounds=1)
        trainer.search_fn(recipe.to_json(), *splits, str(found), "", str(checkpoint))
    assert seen == [False, False]  # one a round, before there are tickets
    assert json.loads((found / FACTS).read_text())["decision"]["searched"]
    assert (found / ARRAYS).exists()
    assert not checkpoint.exists()
