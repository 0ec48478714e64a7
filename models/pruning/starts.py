"""How a model begins: from the seed, after a warm-up, under tickets, or as a copy of another."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from ncs4cvr.models.layers import sharing
from ncs4cvr.models.layers.keys import Words, moves
from ncs4cvr.models.layers.structure import OF_TICKETS, changes, told
from ncs4cvr.models.learning import training
from ncs4cvr.models.learning.batches import Batches
from ncs4cvr.models.learning.ranker import Ranker, compiled
from ncs4cvr.models.pruning.controls import OTHER_SEED, controlled
from ncs4cvr.models.pruning.tickets import Tickets
from ncs4cvr.models.together.shards import Shard, put
from ncs4cvr.models.together.workers import Workers, alone
from ncs4cvr.schemas.recipe import Recipe

log = logging.getLogger("ncs4cvr")
LISTED = 5  # differences between two models that a message lists


def build(
    recipe: Recipe,
    sizes: Mapping[str, int],
    batch: Mapping[str, tf.Tensor],
    workers: Workers | None = None,
    learns: bool = True,
) -> Ranker:
    """A compiled ranker with all its variables, initialised from the recipe's seed alone.

    Args:
      recipe: what to build.
      sizes: ids per vocabulary.
      batch: any rows, or none.
      workers: who train it; this process alone if not given.
      learns: False for one that is only given its weights: no moments, which take twice their
        memory.
    """
    workers = workers or alone()
    tf.keras.utils.set_random_seed(recipe.seed)
    tf.config.experimental.enable_op_determinism()
    with workers.strategy.scope():
        model = compiled(recipe, sizes, workers)
        model(batch)
        if learns:
            model.optimizer.build(model.trainable_variables)
    for table in model.sharded:
        table.make(learns)
    return model


def on_one_device(
    model: Ranker, sizes: Mapping[str, int], batch: Mapping[str, tf.Tensor], workers: Workers
) -> Ranker | None:
    """A copy of a trained model without the strategy that it was trained under, for export.

    Returns:
      It, or the model itself, in the chief; None in other workers, which must call this, too.
    """
    if model.distribute_strategy is tf.distribute.get_strategy():
        return model
    copy = build(model.recipe, sizes, batch, learns=False) if workers.chief else None
    for i, source in enumerate(model.weights):
        if isinstance(source, Shard):
            for first, rows in source.blocks():  # all bring their part
                if copy:
                    numbers = np.arange(len(rows))
                    put(copy.weights[i], first + numbers, rows, numbers)
        elif copy:
            copy.weights[i].assign(source.numpy())
    return copy


def joint_model(
    recipe: Recipe,
    sizes: Mapping[str, int],
    train: Batches,
    rows: int,
    found: Tickets | None,
    words: Words | None = None,
) -> Ranker:
    """The model as joint training begins: its tickets, or a control of them, and their start.

    Args:
      recipe: what to build; `control` says what becomes of the tickets.
      sizes: ids per vocabulary.
      train: the training split, used only to warm up a new start.
      rows: of the training split.
      found: by `find_tickets`; None for sharings without tickets.
      words: of the vocabularies, where the tickets may be of another day.

    Raises:
      ValueError: the tickets do not fit the recipe.
    """
    batch, workers = train.no_rows(), train.workers
    start: list[Any] = []
    if found and recipe.control == "new_start":
        other = build(recipe.replace(seed=recipe.seed + OTHER_SEED), sizes, batch, workers)
        warm_up(other, train, rows)
        start = other.trainable_variables
    model = build(recipe, sizes, batch, workers)
    if found:
        apply_tickets(model, controlled(found, recipe.control, recipe.seed, start), words)
    return model


def warm_up(model: Ranker, train: Batches, rows: int) -> None:
    """`recipe.warmup_steps` joint steps, in as many passes over the `rows` as that takes."""
    recipe, epoch, left = model.recipe, 0, model.recipe.warmup_steps

    def count(steps: int) -> bool:
        nonlocal left
        left -= steps
        return False

    while left > 0:
        batches = train.epoch(epoch, recipe.batch_size, recipe.seed + 1).take(left)
        shown = min(rows, left * recipe.batch_size)
        training.train_epoch(model, batches, shown, "warm-up", count)
        epoch += 1


def apply_tickets(model: Ranker, found: Tickets, words: Words | None = None) -> None:
    """Puts masks and the common start into the model that will be trained jointly.

    Embedding rows go to the same words (`words`: of this model's vocabularies). Where those of the
    search are not known and the vocabularies grew since, the embeddings keep their own start.

    Raises:
      ValueError: the model has no common masks, or the tickets were found for other tasks, another
        model or other layers; says both.
    """
    recipe = model.recipe
    if recipe.sharing != "ncs4cvr":
        raise ValueError(f"sharing {recipe.sharing!r} takes no tickets; use sharing='ncs4cvr'")
    names = [t.name for t in recipe.tasks]
    if sorted(found.tickets) != sorted(names):
        raise ValueError(
            f"these tickets are for tasks {sorted(found.tickets)}, the recipe has {sorted(names)}; "
            "search again for this recipe"
        )
    _check_model(recipe, found)
    for t, name in enumerate(names):
        sharing.set_ticket(model.sharing.connections(t), found.tickets[name])
    tables = {trunk.embedding.table.ref(): trunk.embedding for trunk in model.trunks}
    anew = []
    for variable, value in zip(model.trainable_variables, found.start, strict=True):
        if words and found.words and variable.ref() in tables:
            moves(tables[variable.ref()], found.words, words).carry(value, variable)
        elif variable.shape == value.shape:
            variable.assign(value)
        else:
            anew.append(variable.name)
    if anew:
        log.warning("the vocabularies changed since the search: %s start anew", ", ".join(anew))


def _check_model(recipe: Recipe, found: Tickets) -> None:
    """Masks' shapes do not tell which features, and which of their ids, lie where."""
    if not (then := found.searched_by):
        return
    differ = [each for key in changes(then, recipe, OF_TICKETS) for each in told(*key)]
    if differ:
        more = f"; and {len(differ) - LISTED} more" if len(differ) > LISTED else ""
        raise ValueError(
            f"these tickets belong to another model: {'; '.join(differ[:LISTED])}{more}. Search "
            "again, or use the recipe that the tickets were found with"
        )


def copy_start(joint: Ranker, copies: Ranker) -> None:
    """Gives every task's own network the joint model's weights."""
    for t, mlp in enumerate(copies.sharing.mlps):
        common = joint.sharing.mlp
        pairs = [
            *zip(joint.trunks[0].weights, copies.trunks[t].weights, strict=True),
            *zip(common.kernels + common.biases, mlp.kernels + mlp.biases, strict=True),
            *zip(joint.towers[t].weights, copies.towers[t].weights, strict=True),
            *zip(joint.heads[t].weights, copies.heads[t].weights, strict=True),
        ]
        for source, target in pairs:
            target.assign(source)


def fresh_optimizer(model: Ranker) -> None:
    """Sets moments and step counter to zero; the learning rate stays."""
    for variable in model.optimizer_state:
        if "learning_rate" not in variable.name:
            variable.assign(tf.zeros_like(variable))
