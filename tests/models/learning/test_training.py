"""The loop around the steps: early stop, errors, going on after an interruption."""

import logging

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models.learning import training
from ncs4cvr.models.pruning import starts
from ncs4cvr.models.together.workers import alone

LONG = {"patience": 9, "max_epochs": 5, "learning_rate": 0.03}


@pytest.fixture
def build(world, recipe):
    def build(**changes):
        batch = next(iter(world.valid.in_order(64)))
        return starts.build(recipe.replace(**changes), world.sizes, batch)

    return build


def _weights(model):
    return [v.numpy() for v in model.trainable_variables]


def _same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def _fit(model, world, checkpoint, after_epoch=lambda *_: None):
    return training.fit(
        model,
        world.train,
        world.valid,
        rows=len(world.rows),
        checkpoint=str(checkpoint),
        after_epoch=after_epoch,
    )


def _scripted(monkeypatch, aucs):
    """Validation says these AUCs, epoch after epoch."""
    said = iter(aucs)

    def validate(*_):
        return dict.fromkeys(("ctr_auc", "cvr_auc", "ctcvr_auc"), next(said))

    monkeypatch.setattr(training, "validate", validate)


@pytest.mark.parametrize(
    ("patience", "aucs", "epochs", "best"),
    [
        (0, [0.6, 0.7, 0.65], 3, 1),
        (1, [0.7, 0.6, 0.65], 3, 0),
        (1, [0.6, 0.5, 0.7, 0.6, 0.6], 5, 2),
        (9, [0.5, 0.6, 0.7], 3, 2),  # max_epochs
        (0, [0.6, 0.6], 2, 0),  # as good is not better
    ],
)
def test_training_stops_when_patience_is_over_and_keeps_the_best_epoch(
    build, world, tmp_path, monkeypatch, patience, aucs, epochs, best
):
    model = build(patience=patience, max_epochs=3 if patience == 9 else 20)
    monkeypatch.setattr(training, "train_epoch", lambda model, *_: _nudge(model))
    _scripted(monkeypatch, aucs)
    after = []
    history = _fit(model, world, tmp_path, lambda *_: after.append(_weights(model)))
    assert (len(history.epochs), history.best) == (epochs, best)
    assert _same(_weights(model), after[best])
    assert not _same(after[0], after[1])


def _nudge(model):
    for variable in model.trainable_variables:
        variable.assign_add(tf.ones_like(variable))
    return 0.5


@pytest.fixture(scope="module")
def whole(world, recipe, tmp_path_factory):
    """A training of five epochs that nothing interrupts: (model, history)."""
    long = recipe.replace(**LONG)
    model = starts.build(long, world.sizes, next(iter(world.valid.in_order(64))))
    return model, _fit(model, world, tmp_path_factory.mktemp("whole"))


def test_an_interrupted_training_ends_with_the_weights_of_one_that_was_not(
    whole, build, world, tmp_path
):
    expected, history = whole
    model = build(**LONG)

    def stop_in_the_second_epoch(epoch, *_):
        if epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _fit(model, world, tmp_path, stop_in_the_second_epoch)
    epochs = []
    starts.fresh_optimizer(model)
    for variable in model.trainable_variables:  # the checkpoint has the word
        variable.assign(tf.zeros_like(variable))
    assert _fit(model, world, tmp_path, lambda epoch, *_: epochs.append(epoch)) == history
    assert epochs == [1, 2, 3, 4]
    assert _same(_weights(model), _weights(expected))


def test_a_kill_right_after_a_checkpoint_repeats_no_epoch(build, world, tmp_path, monkeypatch):
    save = tf.train.CheckpointManager.save

    def killed(self, *args, **kwargs):
        save(self, *args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train_epoch", lambda model, *_: _nudge(model))
    _scripted(monkeypatch, [0.6, 0.7, 0.8])
    with monkeypatch.context() as patch:
        patch.setattr(tf.train.CheckpointManager, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            _fit(build(), world, tmp_path)
    epochs = []
    _fit(build(), world, tmp_path, lambda epoch, *_: epochs.append(epoch))
    assert epochs[0] == 1


def test_a_loss_that_is_not_finite_names_the_step_and_the_cures(small):
    model, batch = small(learning_rate=0.123)
    bad = {**batch, "click": tf.fill(batch["click"].shape, float("nan"))}
    good = {**batch, "click": tf.cast(batch["click"], tf.float32)}
    data = tf.data.Dataset.from_tensors(good).concatenate(tf.data.Dataset.from_tensors(bad))
    with pytest.raises(ValueError, match=r"loss is nan at step 2 of epoch 1.*now 0\.123.*unbinned"):
        training.train_epoch(model, data, 64, "epoch 1")


def test_a_long_epoch_stops_soon_after_the_first_nan(small, monkeypatch):
    monkeypatch.setattr(training, "PROGRESS_SECONDS", 0)
    model, batch = small()
    bad = {**batch, "click": tf.fill(batch["click"].shape, float("nan"))}
    endless = tf.data.Dataset.from_tensors(bad).repeat()
    with pytest.raises(ValueError, match="loss is nan at step 1"):
        training.train_epoch(model, endless, 0, "epoch 1")


def test_an_empty_split_is_an_error(small):
    model, batch = small()
    with pytest.raises(ValueError, match="no rows"):
        training.train_epoch(model, tf.data.Dataset.from_tensors(batch).take(0), 0, "epoch 1")


def test_the_mean_loss_is_the_mean_of_the_steps(small):
    model, batch = small(learning_rate=1e-7)  # as good as standing still
    alone = float(tf.add_n(model.task_losses(batch, False)))
    data = tf.data.Dataset.from_tensors(batch).repeat(3)
    assert training.train_epoch(model, data, 96, "") == pytest.approx(alone, rel=1e-4)


def _in_calls_of(steps_a_call, small):
    """Five steps on different batches: (steps of every call, weights)."""
    tf.keras.utils.set_random_seed(1)
    model, batch = small()
    data = tf.data.Dataset.range(5).map(lambda i: {**batch, "user": (batch["user"] + i) % 5})
    taken = []
    training.train_epoch(model, data, 0, "", taken.append, steps_a_call)
    assert int(model.optimizer.iterations) == 5
    return taken, _weights(model)


@pytest.mark.parametrize(("steps_a_call", "calls"), [(2, [2, 2, 1]), (5, [5]), (0, [5])])
def test_steps_in_one_call_are_the_steps_one_by_one(small, steps_a_call, calls):
    _, alone = _in_calls_of(1, small)
    taken, together = _in_calls_of(steps_a_call, small)
    assert taken == calls
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_a_pass_ends_where_stop_says_so(small):
    model, batch = small()
    data = tf.data.Dataset.from_tensors(batch).repeat(9)
    training.train_epoch(model, data, 0, "", lambda n: model.optimizer.iterations >= 4, 2)
    assert int(model.optimizer.iterations) == 4


def test_progress_tells_share_speed_and_loss(small, monkeypatch, caplog):
    monkeypatch.setattr(training, "PROGRESS_SECONDS", 0)
    monkeypatch.setattr(training, "STEPS_A_CALL", 1)
    model, batch = small()
    with caplog.at_level(logging.INFO, "ncs4cvr"):
        training.train_epoch(model, tf.data.Dataset.from_tensors(batch).repeat(2), 64, "epoch 1")
    told = [r.getMessage() for r in caplog.records if r.name == "ncs4cvr"]
    assert "50%" in told[0]
    assert "100%" in told[1]
    assert all("examples/s" in line and "loss" in line for line in told)


def test_predictions_and_labels_of_a_split_belong_together(whole, world):
    model, _ = whole
    predictions, labels = training.predict(model, world.valid)
    assert labels["click"].tolist() == [row["click"][0] for row in world.valid_rows]
    (batch,) = list(world.valid.in_order())
    np.testing.assert_allclose(predictions["cvr"], model(batch)["cvr"], rtol=1e-5)


def test_training_learns_what_is_in_the_data(whole):
    _, history = whole
    best = history.epochs[history.best]
    # Odd videos are clicked four times as often as even ones: AUC about .8 is there to be had.
    assert best["ctr_auc"] > 0.65
    assert best["watched"] == pytest.approx(
        np.mean([best["ctr_auc"], best["cvr_auc"], best["ctcvr_auc"]])
    )


def test_early_stop_watches_minus_the_error_of_ratios(recipe):
    metrics = {"ctr_auc": 0.8, "cvr_mse": 0.1, "ctcvr_mse": 0.1}
    assert training.watched(recipe, metrics) == pytest.approx((0.8 - 0.1 - 0.1) / 3)


@pytest.mark.parametrize("harm", ["truncate", "flip", "remove", "index", "state"])
def test_a_damaged_checkpoint_begins_the_training_anew(build, world, tmp_path, monkeypatch, harm):
    monkeypatch.setattr(training, "train_epoch", lambda model, *_: _nudge(model))
    _scripted(monkeypatch, [0.6, 0.7] * 5)
    _fit(build(max_epochs=2), world, tmp_path)
    (data,) = tmp_path.glob("*.data-*")
    whole = data.read_bytes()
    if harm == "truncate":
        data.write_bytes(whole[:-100])
    elif harm == "flip":
        data.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    elif harm == "remove":
        data.unlink()
    elif harm == "index":
        next(tmp_path.glob("*.index")).write_bytes(b"noise")
    else:
        (tmp_path / "checkpoint").write_bytes(b"noise")
    epochs = []
    _fit(build(max_epochs=2), world, tmp_path, lambda epoch, *_: epochs.append(epoch))
    assert epochs == [0, 1]
    epochs.clear()
    _fit(build(max_epochs=2), world, tmp_path, lambda epoch, *_: epochs.append(epoch))
    assert epochs == []  # the new checkpoint is whole


def test_the_state_that_is_kept_is_that_of_the_best_epoch(small, tmp_path):
    model, batch = small(warm_start="on", max_epochs=2, patience=1, batch_size=32)
    seen = []

    class Rows:
        workers = alone()

        def epoch(self, *_):
            return tf.data.Dataset.from_tensors(batch)

    def after_epoch(epoch, loss, metrics):
        seen.append((metrics["watched"], int(model.optimizer.iterations)))

    falling = iter([0.9, 0.1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "validate", lambda *_: {"ctr_auc": 0.5})
        patch.setattr(training, "watched", lambda *_: next(falling))
        folder = str(tmp_path)
        training.fit(model, Rows(), None, rows=32, checkpoint=folder, after_epoch=after_epoch)
    assert [steps for _, steps in seen] == [1, 2]
    assert int(model.optimizer.iterations) == 1
