"""The training loop: epochs, validation, early stop, checkpoints, progress, TensorBoard."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
import tensorflow as tf

from ncs4cvr.models.evaluation.metrics import evaluate
from ncs4cvr.models.learning.batches import Batches
from ncs4cvr.models.learning.checkpoints import Checkpoints
from ncs4cvr.models.learning.ranker import Ranker
from ncs4cvr.models.together.shards import Shard
from ncs4cvr.schemas.recipe import Recipe

log = logging.getLogger("ncs4cvr")
PROGRESS_SECONDS = 2.0
STEPS_A_CALL = 10  # in one call of the compiled loop


@dataclass
class History:
    """What every epoch's validation said, and which epoch was best."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    best: int = -1

    def stale(self) -> int:
        """Epochs since the best one."""
        return len(self.epochs) - 1 - self.best


def predict(model: Ranker, batches: Batches) -> tuple[dict, dict]:
    """({task: [rows]}, {label: [rows]}): predictions and labels of this worker's rows."""
    names = {label.name for label in model.recipe.log.labels}
    predictions: dict[str, list] = {t.name: [] for t in model.recipe.tasks}
    labels: dict[str, list] = {}
    for batch, answers in _answers(model, batches):
        for name, value in answers.items():
            predictions[name].append(value.numpy())
        for name in names & batch.keys():
            labels.setdefault(name, []).append(batch[name].numpy().ravel())
    join = np.concatenate
    return {k: join(v) for k, v in predictions.items()}, {k: join(v) for k, v in labels.items()}


def _answers(model: Ranker, batches: Batches) -> Iterator[tuple[dict, dict]]:
    """Batches and what the model says of them.

    Where tables are cut among the workers, all go on together until nobody has rows.
    """
    if not model.sharded:
        yield from ((batch, model.compiled_call(batch)) for batch in batches.in_order())
        return
    for batch in batches.in_order(endless=True):
        answers, rows = model.compiled_answers(batch)
        yield batch, answers
        if not rows:
            return


def validate(model: Ranker, batches: Batches) -> dict[str, float]:
    """The recipe's metrics over one split, of which every worker predicts its own rows."""
    gather = batches.workers.gather
    predictions, labels = predict(model, batches)
    return evaluate(
        model.recipe,
        {name: gather(predictions[name]) for name in sorted(predictions)},
        {name: gather(labels[name]) for name in sorted(labels)},
    )


def watched(recipe: Recipe, metrics: Mapping[str, float]) -> float:
    """What early stopping maximises: the mean of the outputs' AUC (minus MSE for ratios)."""
    values = [
        metrics.get(f"{o.name}_auc", -metrics.get(f"{o.name}_mse", 0)) for o in recipe.outputs
    ]
    return float(np.mean(values))


def train_epoch(
    model: Ranker,
    batches: tf.data.Dataset,
    rows: int,
    title: str,
    stop: Callable[[int], bool] = lambda steps: False,
    steps_a_call: int = 0,
) -> float:
    """One pass over the data; returns the mean loss.

    Args:
      model: a compiled ranker that has been called once.
      batches: what `Batches.epoch` gives.
      rows: how many there are, for the progress display (0: unknown).
      title: of the progress display.
      stop: asked after every call of the compiled loop, told the steps taken by it; True ends the
        pass early.
      steps_a_call: at most; 0 means STEPS_A_CALL.

    Raises:
      ValueError: the loss is not finite, or there is no row; says the step and the cures.
    """
    started = shown = time.monotonic()
    losses: list[float] = []
    left, seen = iter(batches), 0
    asked = steps_a_call or STEPS_A_CALL
    while True:
        taken, rows_taken = model.compiled_steps(left, tf.constant(asked))
        losses.extend(taken.numpy())
        seen += int(rows_taken)
        ended = len(taken) > 0 and stop(len(taken))
        if losses and (now := time.monotonic()) - shown >= PROGRESS_SECONDS:
            shown = now
            rate = seen / (now - started)
            share = f"{seen / rows:4.0%}" if rows else f"{seen:,} rows"
            told = f"{title}  {share}  {rate:,.0f} examples/s  loss {losses[-1]:.4f}"
            log.info(told, extra={"fleeting": True})  # shown live on a terminal only
        if ended or len(taken) < asked or not np.isfinite(losses[-1]):  # NaN stays NaN
            break
    if not losses:
        raise ValueError(f"{title}: the training split has no rows; widen its days")
    values = np.array(losses)
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise ValueError(
            f"the loss is {values[bad[0]]} at step {bad[0] + 1} of {title}: lower learning_rate "
            f"(now {model.recipe.learning_rate}), or look for NaN and huge values in unbinned "
            "number features"
        )
    return float(values.mean())


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

    With warm_start the optimizer's state of that epoch, too: the next day goes on from both.

    `patience` epochs in a row may be no better than the best one; the next such epoch is the last.
    A run that was stopped goes on after its last finished epoch, from `checkpoint`, and without
    dropout ends with the same weights as one that was not. A damaged checkpoint is thrown away.

    Args:
      model: a compiled ranker that has been called once.
      train, valid: the splits.
      rows: rows of the training split, for the progress display (0: unknown).
      checkpoint: a folder of this very training's own, which all workers can read.
      after_epoch: told epoch, mean loss and validation metrics by the chief, e.g. for TensorBoard.
    """
    recipe, history, workers = model.recipe, History(), train.workers
    kept = [v.own if isinstance(v, Shard) else v for v in model.trainable_variables]
    if recipe.warm_start == "on":
        kept += model.optimizer_state
    best = [tf.Variable(w, trainable=False) for w in kept]
    # Weights and story lie in one checkpoint, so that they cannot disagree.
    story = tf.Variable("", trainable=False)
    state = tf.train.Checkpoint(model=model, optimizer=model.optimizer, best=best, story=story)
    saved = Checkpoints(state, checkpoint, workers, bool(model.sharded))
    if saved.restored():
        history = History(**json.loads(story.numpy()))
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
            _copy(kept, best)
        if workers.chief:
            after_epoch(epoch, loss, metrics)
        story.assign(json.dumps(asdict(history)))
        saved.save(epoch + 1)
        aucs = "  ".join(f"{k} {v:.4f}" for k, v in metrics.items() if k.endswith("_auc"))
        log.info("%s  loss %.4f  validation %s", title, loss, aucs)
    _copy(best, kept)
    return history


def _copy(source, target) -> None:
    for a, b in zip(source, target, strict=True):
        b.assign(a)
