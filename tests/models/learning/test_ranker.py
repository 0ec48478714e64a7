"""What a training step moves, and what it does not."""

import contextlib

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models.layers import losses
from ncs4cvr.models.layers.network import SHARINGS
from ncs4cvr.models.layers.sharing import get_ticket, set_ticket
from ncs4cvr.models.learning.ranker import Ranker
from ncs4cvr.models.pruning import starts
from ncs4cvr.models.sparsity import full_ticket
from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.tasks import Task

SHAPES = [(9, 6), (6, 4)]  # (2 fields x 4 + 1 dot product) -> hidden


def _tickets(seed=1):
    """One random ticket of about a third of the connections per task."""
    rng = np.random.default_rng(seed)
    return [[rng.random(shape) < 0.35 for shape in SHAPES] for _ in range(2)]


def _kernels(model):
    return [kernel.numpy() for kernel, _ in model.sharing.connections(0)]


def _moved(before, after):
    return [a != b for a, b in zip(before, after, strict=True)]


@pytest.fixture
def with_momentum(small):
    """A model whose optimizer has momentum on every connection, then given sparse tickets."""
    model, batch = small(schedule="alternating")
    for _ in range(3):
        model.train_step(batch)
    for task, ticket in enumerate(_tickets()):
        set_ticket(model.sharing.connections(task), ticket)
    return model, batch


def test_the_ids_of_a_batch_are_the_rows_that_its_gradient_has(world, recipe):
    batch = next(iter(world.valid.in_order(64)))
    model = starts.build(recipe, world.sizes, batch)
    trunk = model.trunks[0]
    with tf.GradientTape() as tape:
        loss = model.compute_loss(batch)
    gradient = tape.gradient(loss, trunk.embedding.table)
    assert set(trunk.ids(batch).numpy()) == set(gradient.indices.numpy())


@pytest.mark.parametrize("task", [0, 1])
def test_a_step_of_one_task_moves_no_connection_outside_its_ticket(with_momentum, task):
    model, batch = with_momentum
    before = _kernels(model)
    model._step(batch, [task], model.agree(batch))
    for moved, mask in zip(_moved(before, _kernels(model)), _tickets()[task], strict=True):
        assert not moved[~mask].any()
        assert moved[mask].any()


def test_without_the_freeze_leftover_momentum_would_move_them(with_momentum, monkeypatch):
    model, batch = with_momentum
    monkeypatch.setattr(Ranker, "_only_tickets_move", lambda *_: contextlib.nullcontext())
    before = _kernels(model)
    model._step(batch, [0], model.agree(batch))
    for moved, mask in zip(_moved(before, _kernels(model)), _tickets()[0], strict=True):
        assert moved[~mask].any()


def test_a_joint_step_moves_only_the_union_of_the_tickets(small):
    model, batch = small(tickets=_tickets())
    before = _kernels(model)
    for _ in range(3):
        model.train_step(batch)
    for moved, a, b in zip(_moved(before, _kernels(model)), *_tickets(), strict=True):
        assert not moved[~(a | b)].any()
        assert moved[a & ~b].any()
        assert moved[b & ~a].any()


def test_the_freeze_holds_in_a_compiled_step_too(with_momentum):
    model, batch = with_momentum
    before = _kernels(model)
    model.compiled_step(batch)
    for moved, a, b in zip(_moved(before, _kernels(model)), *_tickets(), strict=True):
        assert not moved[~(a | b)].any()
        assert moved[a | b].any()


def test_what_carries_no_mask_learns_under_empty_tickets(small):
    nothing = [np.zeros(shape, bool) for shape in SHAPES]
    model, batch = small(tickets=[nothing, nothing])
    bias = model.sharing.mlp.biases[-1]
    bias.assign(tf.ones_like(bias))  # or the last ReLU is closed
    before = [v.numpy() for v in (bias, *model.heads[0].weights, *model.heads[1].weights)]
    model.train_step(batch)
    after = [v.numpy() for v in (bias, *model.heads[0].weights, *model.heads[1].weights)]
    assert all((a != b).any() for a, b in zip(before, after, strict=True))


def test_alternating_trains_every_task_on_the_same_batch(small):
    model, batch = small(schedule="alternating")
    before = [head.kernel.numpy() for head in model.heads]
    model.train_step(batch)
    assert all((a != head.kernel.numpy()).any() for a, head in zip(before, model.heads))
    assert int(model.optimizer.iterations) == 2


def test_a_step_of_one_task_leaves_the_other_head_alone(small):
    model, batch = small(schedule="alternating")
    model.train_step(batch)
    before = [w.numpy() for w in model.heads[1].weights]
    model._step(batch, [0], model.agree(batch))
    assert all((a == w.numpy()).all() for a, w in zip(before, model.heads[1].weights))


def test_labels_outside_the_sample_space_change_nothing(small):
    model, batch = small()
    flipped = tf.where(batch["click"] == 0, 1 - batch["conversion"], batch["conversion"])
    other = {**batch, "conversion": flipped}
    assert (flipped != batch["conversion"]).numpy().any()
    np.testing.assert_array_equal(model.task_losses(batch, False), model.task_losses(other, False))


def test_a_conditional_loss_is_the_mean_over_its_own_rows(small):
    model, batch = small()
    p = model(batch)["cvr"].numpy()
    click, y = batch["click"].numpy() == 1, batch["conversion"].numpy()
    expected = -np.mean(np.where(y == 1, np.log(p), np.log(1 - p))[click])
    assert float(model.task_losses(batch, False)[1]) == pytest.approx(expected, rel=1e-5)


def test_a_batch_without_clicks_trains_on_and_stays_finite(small):
    model, batch = small()
    empty = {**batch, "click": tf.zeros_like(batch["click"])}
    told = model.train_step(empty)
    assert float(told["cvr_loss"]) == 0
    assert np.isfinite(float(told["loss"]))
    assert all(np.isfinite(v.numpy()).all() for v in model.trainable_variables)


def test_a_tasks_weight_multiplies_its_loss(small, recipe):
    plain, batch = small()
    tasks = (recipe.tasks[0], Task("cvr", "conversion", given="click", weight=1.5))
    tf.keras.utils.set_random_seed(1)
    weighted, _ = small(tasks=tasks)
    weighted.set_weights(plain.get_weights())
    a, b = plain.task_losses(batch, False), weighted.task_losses(batch, False)
    assert float(b[0]) == float(a[0])
    assert float(b[1]) == pytest.approx(1.5 * float(a[1]))


def test_the_told_loss_is_the_sum_of_the_tasks(small):
    model, batch = small()
    told = model.train_step(batch)
    assert float(told["loss"]) == pytest.approx(float(told["ctr_loss"]) + float(told["cvr_loss"]))


def test_single_tasks_learn_nothing_from_each_other(small):
    model, batch = small(sharing="single_task", schedule="alternating")
    for _ in range(2):
        model.train_step(batch)  # momentum
    other = [
        *model.trunks[1].trainable_variables,
        *model.sharing.mlps[1].trainable_variables,
        *model.heads[1].trainable_variables,
    ]
    before = [v.numpy() for v in other]
    model._step(batch, [0], model.agree(batch))
    assert all((a == v.numpy()).all() for a, v in zip(before, other, strict=True))
    assert len(other) * 2 == len(model.trainable_variables)


HISTORY = Feature("videos", "history", "sequence", column="history_video", vocabulary="video")


@pytest.mark.parametrize(
    "sequences",
    [
        [HISTORY],
        [HISTORY, Feature("history_action", "history", "sequence")],
        [HISTORY, Feature("history_gap_s", "history", "sequence", bins=9)],
    ],
)
def test_a_history_that_no_layer_reads_is_refused(small, recipe, sequences):
    with pytest.raises(ValueError, match=r"history_video and history_action .* got \['history_"):
        small(features=(Feature("user"), Feature("video"), *sequences))


def test_sharings_differ_in_nothing_but_the_dense_layers(small):
    shared, _ = small(sharing="shared_bottom")
    ours, batch = small(sharing="ncs4cvr")
    for a, b in zip(shared.trainable_variables, ours.trainable_variables, strict=True):
        b.assign(a)
    for task in ("ctr", "cvr"):
        np.testing.assert_array_equal(shared(batch)[task], ours(batch)[task])


def test_every_schedule_lowers_the_loss(small):
    for schedule in ("joint", "alternating"):
        model, batch = small(schedule=schedule)
        losses = [float(model.compiled_step(batch)["loss"]) for _ in range(30)]
        assert losses[-1] < 0.9 * losses[0]


def test_tickets_stay_as_they_are_in_training(small):
    model, batch = small(tickets=_tickets())
    model.train_step(batch)
    for task, ticket in enumerate(_tickets()):
        got = get_ticket(model.sharing.connections(task))
        assert all((a == b).all() for a, b in zip(got, ticket, strict=True))
    assert [k.shape for k in full_ticket(SHAPES)] == [k.shape for k in _kernels(model)]


def _bce(label, p):
    return -np.mean(label * np.log(p) + (1 - label) * np.log(1 - p))


def test_esmm_learns_the_product_on_every_impression(small):
    model, batch = small(sharing="esmm")
    p = {name: values.numpy() for name, values in model(batch).items()}
    click, conversion = batch["click"].numpy(), batch["conversion"].numpy()
    expected = [_bce(click, p["ctr"]), _bce(click * conversion, p["ctr"] * p["cvr"])]
    np.testing.assert_allclose(model.task_losses(batch, training=False), expected, rtol=1e-4)


def test_esmm_learns_the_product_of_all_that_lies_before_a_task(small):
    chain = (
        Task("ctr", "click"),
        Task("cvr", "conversion", given="click"),
        Task("deep", "completion", given="conversion"),
    )
    model, batch = small(sharing="esmm", tasks=chain, products=())
    p = {name: values.numpy() for name, values in model(batch).items()}
    label = batch["conversion"].numpy() * batch["completion"].numpy()
    expected = _bce(label, p["ctr"] * p["cvr"] * p["deep"])
    assert float(model.task_losses(batch, training=False)[2]) == pytest.approx(expected, rel=1e-4)


def test_aitm_learns_the_marginal_and_answers_the_conditional(small):
    model, batch = small(sharing="aitm")
    model.heads[1].bias.assign([-1.0])  # conversions below clicks, so that no ratio is cut
    ctr, ctcvr = (1 / (1 + np.exp(-z.numpy())) for z in model.logits(batch))
    p = model(batch)
    np.testing.assert_allclose(p["cvr"], ctcvr / ctr, rtol=1e-5)
    label = batch["click"].numpy() * batch["conversion"].numpy()
    expected = [_bce(batch["click"].numpy(), ctr), _bce(label, ctcvr)]
    np.testing.assert_allclose(model.task_losses(batch, training=False), expected, rtol=1e-4)


def test_aitm_pays_for_conversions_likelier_than_clicks(small):
    model, batch = small(sharing="aitm")
    model.heads[1].bias.assign([3.0])
    click, conversion = model.logits(batch)
    label = tf.cast(batch["click"] * batch["conversion"], tf.float32)
    plain = tf.reduce_mean(losses.bce(label, conversion))
    got = model.task_losses(batch, training=False)[1]
    added = float(tf.reduce_mean(losses.above(conversion, click)))
    assert float(got - plain) == pytest.approx(added, rel=1e-3)
    assert float(tf.reduce_max(model(batch)["cvr"])) == 1.0


def test_esmm_without_a_post_click_task_is_refused(small):
    tasks = (Task("ctr", "click"), Task("watch", "completion", loss="mse"))
    with pytest.raises(ValueError, match="'esmm' learns pCTCVR"):
        small(sharing="esmm", tasks=tasks, products=())


@pytest.mark.parametrize("kind", SHARINGS)
@pytest.mark.parametrize("tower", [(), (3,)])
def test_every_sharing_learns(small, kind, tower):
    model, batch = small(sharing=kind, tower=tower, experts=2)
    first = float(model.train_step(batch)["loss"])
    for _ in range(40):
        last = float(model.train_step(batch)["loss"])
    assert last < first


def test_snr_pays_for_open_connections(small):
    free, batch = small(sharing="snr", snr_penalty=0.0)
    paying, _ = small(sharing="snr", snr_penalty=0.5)
    for model in (free, paying):
        for _ in range(30):
            model.train_step(batch)
    open_ = [sum(float(tf.reduce_sum(g)) for g in m.sharing.gates) for m in (free, paying)]
    assert open_[1] < open_[0]
