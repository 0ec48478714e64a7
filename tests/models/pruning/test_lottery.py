"""The search on real batches: one common start, nested tickets, the same again."""

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models import sparsity
from ncs4cvr.models.layers.sharing import get_ticket
from ncs4cvr.models.learning import training
from ncs4cvr.models.pruning import lottery, starts
from ncs4cvr.schemas.tasks import Task


def _network(model, task):
    """Every weight that one task's prediction depends on: trunk, kernels and biases, head."""
    single = len(model.trunks) > 1
    mlp = model.sharing.mlp_of(task)
    parts = [model.trunks[task if single else 0], mlp, model.heads[task]]
    return [v.numpy() for part in parts for v in part.trainable_variables]


class Watched:
    """A search, and what its models were at the beginning of every training."""

    def __init__(self, world, recipe):
        self.starts, self.masks, self.slots = [], [], []

        def watch(model, batches, rows, title, *stop):
            if title != "warm-up":
                self.starts.append([_network(model, task) for task in range(2)])
                self.masks.append([get_ticket(model.sharing.connections(t)) for t in range(2)])
                self.slots.append([v.numpy() for v in _slots(model)])
            return train_epoch(model, batches, rows, title, *stop)

        train_epoch = training.train_epoch
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(training, "train_epoch", watch)
            self.found = lottery.find_tickets(
                recipe, world.sizes, world.train, world.valid, len(world.rows), {"from": "a test"}
            )


def _slots(model):
    return [v for v in model.optimizer.variables if "learning_rate" not in v.name]


def _trainers_model(world, recipe, found):
    batch = next(iter(world.valid.in_order(recipe.batch_size)))
    model = starts.build(recipe, world.sizes, batch)
    untouched = [v.numpy() for v in model.trainable_variables]
    starts.apply_tickets(model, found)
    return model, untouched


def _same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="module")
def search(world, recipe):
    return Watched(world, recipe.replace(warmup_steps=2))


@pytest.fixture(scope="module")
def again(world, recipe):
    return Watched(world, recipe.replace(warmup_steps=2))


@pytest.fixture
def untrained(world, recipe, monkeypatch):
    """What a search finds that trains nothing."""
    metrics = {"ctr_auc": 0.5, "cvr_auc": 0.5}
    monkeypatch.setattr(training, "train_epoch", lambda *_: 0.0)
    monkeypatch.setattr(training, "validate", lambda *_: metrics)
    return lottery.find_tickets(recipe, world.sizes, world.train, world.valid, 300, {})


def test_every_round_starts_bit_for_bit_at_the_common_start(search):
    assert len(search.starts) == 3
    for start in search.starts[1:]:
        for task in range(2):
            assert _same(start[task], search.starts[0][task])


def test_every_round_starts_with_a_fresh_optimizer(search):
    for slots in search.slots:
        assert len(slots) > 2
        assert all((slot == 0).all() for slot in slots)


def test_every_round_trains_under_its_own_ticket(search):
    for k, masks in enumerate(search.masks):
        for task, name in enumerate(("ctr", "cvr")):
            kept = search.found.facts["rounds"][k]["kept"][name]
            assert sparsity.density(masks[task]) == kept


def test_tickets_of_the_rounds_are_nested_and_as_dense_as_asked(search, recipe):
    size = sum(mask.size for mask in search.masks[0][0])
    for k, masks in enumerate(search.masks):
        for ticket in masks:
            assert sum(m.sum() for m in ticket) == round(size * recipe.keep ** (k / recipe.rounds))
    for before, after in zip(search.masks, search.masks[1:], strict=False):
        for task in range(2):
            assert all((a <= b).all() for a, b in zip(after[task], before[task], strict=True))


def test_the_chosen_round_is_the_sparsest_good_one_and_its_ticket_the_result(search, recipe):
    facts = search.found.facts
    for task, name in enumerate(("ctr", "cvr")):
        values = [r["metrics"][f"{name}_auc"] for r in facts["rounds"]]
        k = facts["chosen"][name]
        good = [i for i, value in enumerate(values) if value >= max(values) - recipe.ticket_tie]
        assert k == good[-1]
        assert _same(search.found.tickets[name], search.masks[k][task])


def test_tasks_find_different_tickets(search):
    assert not _same(search.masks[-1][0], search.masks[-1][1])


def test_the_same_seed_finds_the_same_tickets_and_metrics(search, again):
    assert search.found.facts == again.found.facts
    for name, ticket in search.found.tickets.items():
        assert _same(ticket, again.found.tickets[name])
    assert _same(search.found.start, again.found.start)


def test_the_trainer_starts_where_the_search_started(world, recipe, search):
    model, _ = _trainers_model(world, recipe, search.found)
    for task in range(2):
        assert _same(_network(model, task), search.starts[0][task])
    assert all((slot.numpy() == 0).all() for slot in _slots(model))


def test_the_trainer_trains_under_the_found_tickets(world, recipe, search):
    model, _ = _trainers_model(world, recipe, search.found)
    for task, name in enumerate(("ctr", "cvr")):
        assert _same(get_ticket(model.sharing.connections(task)), search.found.tickets[name])


def test_without_warm_up_the_start_is_the_seeds(world, recipe, untrained):
    _, untouched = _trainers_model(world, recipe, untrained)
    assert _same(untouched, untrained.start)


def test_a_warm_up_moves_the_start(search, world, recipe):
    _, untouched = _trainers_model(world, recipe, search.found)
    assert not any(np.array_equal(a, b) for a, b in zip(untouched[1:], search.found.start[1:]))


def test_a_warm_up_takes_all_its_steps_in_several_passes(world, recipe):
    # 300 rows are 5 steps of 64: seven go on into a second pass.
    steps = []

    def train_epoch(model, batches, rows, title, stop):
        steps.append(sum(1 for _ in batches))
        stop(steps[-1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train_epoch", train_epoch)
        batch = next(iter(world.valid.in_order()))
        model = starts.build(recipe.replace(warmup_steps=7), world.sizes, batch)
        starts.warm_up(model, world.train, len(world.rows))
    assert steps == [5, 2]


def test_another_seed_is_another_start(world, recipe, search):
    model, _ = _trainers_model(world, recipe, search.found)
    batch = next(iter(world.valid.in_order(recipe.batch_size)))
    other = starts.build(recipe.replace(seed=2), world.sizes, batch)
    assert not _same([model.heads[0].kernel], [other.heads[0].kernel])


def test_tickets_of_other_tasks_are_refused(world, recipe, search):
    other = recipe.replace(tasks=(Task("ctr", "click"), Task("watch", "conversion")), products=())
    with pytest.raises(ValueError, match=r"for tasks \['ctr', 'cvr'\], the recipe has .*'watch'"):
        _trainers_model(world, other, search.found)


def test_tickets_of_other_layers_are_refused(world, recipe, search):
    with pytest.raises(ValueError, match=r"this ticket belongs to layers"):
        _trainers_model(world, recipe.replace(hidden=(8, 5)), search.found)


@pytest.mark.parametrize("kind", ["single_task", "shared_bottom"])
def test_a_model_without_common_masks_takes_no_tickets(world, recipe, search, kind):
    with pytest.raises(ValueError, match="ncs4cvr"):
        _trainers_model(world, recipe.replace(sharing=kind), search.found)


def test_new_vocabularies_alone_start_anew(world, recipe, search, caplog):
    grown = {**world.sizes, "user": world.sizes["user"] + 5}
    batch = next(iter(world.valid.in_order(recipe.batch_size)))
    model = starts.build(recipe, grown, batch)
    table = model.trunks[0].embedding.table.numpy()
    starts.apply_tickets(model, search.found)
    assert "vocabularies changed" in caplog.text
    np.testing.assert_array_equal(model.trunks[0].embedding.table, table)
    others = [v for v in model.trainable_variables if v.shape != table.shape]
    start = [w for w in search.found.start if w.shape[0] != table.shape[0] - 5]
    assert _same([v.numpy() for v in others], start)


def test_fresh_optimizer_keeps_the_learning_rate(small):
    model, batch = small()
    model.train_step(batch)
    starts.fresh_optimizer(model)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01)
    assert int(model.optimizer.iterations) == 0
    assert all(float(tf.reduce_sum(tf.abs(tf.cast(v, tf.float32)))) == 0 for v in _slots(model))


def test_early_bird_rounds_end_sooner_and_the_last_is_as_long_as_the_longest(world, recipe):
    # Of 50 steps a round: a bound of 1 is met at once, after four drawings ten steps apart.
    recipe = recipe.replace(early_bird=1.0, batch_size=6)
    found = lottery.find_tickets(recipe, world.sizes, world.train, world.valid, 300, {})
    assert [r["steps"] for r in found.facts["rounds"]] == [40, 40, 40]
    assert [r["kept"]["ctr"] for r in found.facts["rounds"]] == pytest.approx(
        [1, 0.2**0.5, 0.2], abs=0.01
    )


def test_a_new_start_differs_from_the_searchs(world, recipe, search):
    model = starts.joint_model(
        recipe.replace(control="new_start"),
        world.sizes,
        world.train,
        300,
        search.found,
    )
    for value, start in zip(model.trainable_variables, search.found.start, strict=True):
        if "bias" not in value.name:
            assert (value.numpy() != start).mean() > 0.9
    for task, name in enumerate(("ctr", "cvr")):
        assert _same(get_ticket(model.sharing.connections(task)), search.found.tickets[name])


def test_without_a_control_joint_training_begins_at_the_searchs_start(world, recipe, search):
    model = starts.joint_model(recipe, world.sizes, world.train, 300, search.found)
    assert _same([v.numpy() for v in model.trainable_variables], search.found.start)


def test_a_search_in_blocks_finds_tickets_of_whole_blocks(world, recipe):
    recipe = recipe.replace(hidden=(64, 32), ticket_block=32)
    found = lottery.find_tickets(recipe, world.sizes, world.train, world.valid, 300, {})
    for ticket in found.tickets.values():
        assert sparsity.block_of(ticket) == 32
        blocks = sum(mask[:, ::32].size for mask in ticket)
        kept = sum(int(mask[:, ::32].sum()) for mask in ticket)
        # Rounded to whole blocks in each of two layers.
        assert min(abs(kept - keep * blocks) for keep in (1, 0.2**0.5, 0.2)) <= 2
