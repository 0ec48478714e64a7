"""The training loop: epochs, validation, early stop, checkpoints, progress, TensorBoard."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf
from ncs4cvr.models.batches import Batches
from ncs4cvr.models.metrics import evaluate
from ncs4cvr.models.ranker import Ranker
from ncs4cvr.schemas.recipe import Recipe

log = logging.getLogger("ncs4cvr")
PROGRESS_SECONDS = 2.0


@dataclass
class History:
    """What every epoch's validation said, and which epoch was best."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    best: int = -1

    def stale(self) -> int:
        """Epochs since the best one."""
        return len(self.epochs) - 1 - self.best


def predict(model: Ranker, batches: Batches) -> tuple[dict, dict]:
    """Predictions per task and every label, as arrays over the whole split."""
    forward = tf.function(lambda inputs: model(inputs, training=False))
    names = {label.name for label in model.recipe.log.labels}
    predictions: dict[str, list] = {t.name: [] for t in model.recipe.tasks}
    labels: dict[str, list] = {}
    for batch in batches.in_order():
        for name, value in forward(batch).items():
            predictions[name].append(value.numpy())
        for name in names & batch.keys():
            labels.setdefault(name, []).append(batch[name].numpy().ravel())
    join = np.concatenate
    return {k: join(v) for k, v in predictions.items()}, {k: join(v) for k, v in labels.items()}


def validate(model: Ranker, batches: Batches) -> dict[str, float]:
    """The recipe's metrics over one split."""
    return evaluate(model.recipe, *predict(model, batches))


def watched(recipe: Recipe, metrics: Mapping[str, float]) -> float:
    """What early stopping maximises: the mean of the outputs' AUC (minus MSE for ratios)."""
    values = [metrics.get(f"{o.name}_auc", -metrics.get(f"{o.name}_mse", 0)) for o in recipe.outputs]
    return float(np.mean(values))


def train_epoch(model: Ranker, batches: tf.data.Dataset, rows: int, title: str) -> float:
    """One pass over the data; returns the mean loss.

    Raises:
      ValueError: the loss is not finite; says the step and the cures.
    """
    model.compiled_step = getattr(model, "compiled_step", None) or tf.function(
        model.train_step, reduce_retracing=True
    )
    started = shown = time.monotonic()
    losses, seen = [], 0
    for step, batch in enumerate(batches):
        losses.append(model.compiled_step(batch)["loss"])
        seen += int(next(iter(batch.values())).shape[0])
        if (now := time.monotonic()) - shown >= PROGRESS_SECONDS:
            shown = now
            _check(losses[-1], step, model.recipe)
            rate = seen / (now - started)
            share = f"{seen / rows:4.0%}" if rows else f"{seen:,} rows"
            log.info("%s  %s  %s examples/s  loss %.4f", title, share, f"{rate:,.0f}", losses[-1])
    mean = float(np.mean([float(loss) for loss in losses]))
    _check(mean, len(losses), model.recipe)
    return mean


def _check(loss, step: int, recipe: Recipe) -> None:
    if not math.isfinite(float(loss)):
        raise ValueError(
            f"the loss is {float(loss)} at step {step}: lower learning_rate (now "
            f"{recipe.learning_rate}), or look for NaN and huge values in unbinned number features"
        )


def fit(
    model: Ranker,
    train: Batches,
    valid: Batches,
    *,
    rows: int,
    checkpoint: str,
    after_epoch: Callable[[int, float, Mapping[str, float]], None],
) -> History:
    """Trains until validation stops improving and leaves the best epoch's weights in the model.

    A run that was stopped goes on after its last finished epoch, from `checkpoint`.

    Args:
      model: a compiled ranker that has been called once.
      train, valid: the splits.
      rows: rows of the training split, for the progress display (0: unknown).
      checkpoint: a folder of this very training's own.
      after_epoch: told epoch, mean loss and validation metrics, e.g. for TensorBoard.
    """
    recipe, history = model.recipe, History()
    best = [tf.Variable(w, trainable=False) for w in model.trainable_variables]
    model.optimizer.build(model.trainable_variables)
    state = tf.train.Checkpoint(model=model, optimizer=model.optimizer, best=best)
    manager = tf.train.CheckpointManager(state, checkpoint, max_to_keep=1)
    story = f"{checkpoint}/history.json"
    if manager.latest_checkpoint and tf.io.gfile.exists(story):
        state.restore(manager.latest_checkpoint).expect_partial()
        history = History(**_read(story))
        log.info("going on after epoch %d", len(history.epochs))
    while len(history.epochs) < recipe.max_epochs and history.stale() <= recipe.patience:
        epoch = len(history.epochs)
        title = f"epoch {epoch + 1}/{recipe.max_epochs}"
        loss = train_epoch(model, train.epoch(epoch, recipe.batch_size, recipe.seed), rows, title)
        metrics = validate(model, valid)
        metrics["watched"] = watched(recipe, metrics)
        history.epochs.append(metrics)
        if metrics["watched"] > max((e["watched"] for e in history.epochs[:-1]), default=-np.inf):
            history.best = epoch
            _copy(model.trainable_variables, best)
        after_epoch(epoch, loss, metrics)
        manager.save()
        _write(story, history)
        aucs = "  ".join(f"{k} {v:.4f}" for k, v in metrics.items() if k.endswith("_auc"))
        log.info("%s  loss %.4f  validation %s", title, loss, aucs)
    _copy(best, model.trainable_variables)
    return history


def _copy(source, target) -> None:
    for a, b in zip(source, target, strict=True):
        b.assign(a)


def _read(path: str) -> dict:
    import json

    return json.loads(tf.io.gfile.GFile(path).read())


def _write(path: str, history: History) -> None:
    import json

    with tf.io.gfile.GFile(path, "w") as out:
        out.write(json.dumps({"epochs": history.epochs, "best": history.best}))
