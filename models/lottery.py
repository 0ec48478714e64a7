"""Runs the ticket search on real batches: all tasks at once, one pass over the data a round."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from ncs4cvr.models import sharing, sparsity, training
from ncs4cvr.models.batches import Batches
from ncs4cvr.models.ranker import Ranker, compiled
from ncs4cvr.models.search import best_round, keep_schedule, search
from ncs4cvr.models.sparsity import Ticket
from ncs4cvr.models.tickets import Tickets, describe
from ncs4cvr.schemas.recipe import Recipe
from ncs4cvr.schemas.tasks import Task

log = logging.getLogger("ncs4cvr")


def build(recipe: Recipe, sizes: Mapping[str, int], batch: Mapping[str, tf.Tensor]) -> Ranker:
    """A compiled ranker with all its variables, initialised from the recipe's seed alone."""
    tf.keras.utils.set_random_seed(recipe.seed)
    tf.config.experimental.enable_op_determinism()
    model = compiled(recipe, sizes)
    model(batch)
    model.optimizer.build(model.trainable_variables)
    return model


def find_tickets(
    recipe: Recipe,
    sizes: Mapping[str, int],
    train: Batches,
    valid: Batches,
    rows: int,
    made_from: Mapping[str, Any],
) -> Tickets:
    """One ticket per task by iterative magnitude pruning with rewinding (section 1.6 of LT4REC).

    The common start theta_w is the joint model as the Trainer will build it, after
    `recipe.warmup_steps` joint steps; every round of every task rewinds to it bit for bit, with a
    fresh optimizer, and so will the Trainer.

    Args:
      recipe: the tasks and how to search.
      sizes: ids per vocabulary.
      train, valid: the splits.
      rows: rows of the training split.
      made_from: facts to keep with the tickets.
    """
    batch = next(iter(valid.in_order(recipe.batch_size)))
    joint = build(recipe.replace(sharing="ncs4cvr"), sizes, batch)
    warm_up(joint, train, rows)
    start = [w.numpy() for w in joint.trainable_variables]
    copies = build(recipe.replace(sharing="single_task"), sizes, batch)
    tasks = recipe.tasks
    connections = [copies.sharing.connections(t) for t in range(len(tasks))]

    def rewind(tickets: Sequence[Ticket]) -> None:
        copy_start(joint, copies)
        fresh_optimizer(copies)
        for t, ticket in enumerate(tickets):
            sharing.set_ticket(connections[t], ticket)

    def train_round(k: int) -> dict[str, float]:
        began = time.monotonic()
        title = f"round {k}/{recipe.rounds}"
        for epoch in range(recipe.search_epochs):
            number = 1000 + k * recipe.search_epochs + epoch
            training.train_epoch(
                copies, train.epoch(number, recipe.batch_size, recipe.seed), rows, title
            )
        metrics = training.validate(copies, valid)
        chosen = {name: metrics[name] for name in (task_metric(t, metrics) for t in tasks)}
        kept = [sparsity.density(sharing.get_ticket(c)) for c in connections]
        told = [f"keeps {k:.1%}: {m} {v:.4f}" for k, (m, v) in zip(kept, chosen.items())]
        log.info("%s  %s  (%.0f s)", title, "  ".join(told), time.monotonic() - began)
        return chosen

    def prune(task: int, ticket: Ticket, keep: float) -> Ticket:
        return sparsity.prune_smallest([k.numpy() for k, _ in connections[task]], ticket, keep)

    full = [sparsity.full_ticket([k.shape for k, _ in c]) for c in connections]
    rounds = search(full, keep_schedule(recipe), rewind=rewind, train=train_round, prune=prune)
    chosen = [
        best_round(rounds, task_metric(t, rounds[0].metrics), recipe.ticket_tie) for t in tasks
    ]
    names = [t.name for t in tasks]
    final = [rounds[k].tickets[t] for t, k in enumerate(chosen)]
    facts = describe(names, rounds, chosen, made_from)
    return Tickets(dict(zip(names, final, strict=True)), start, facts)


def warm_up(model: Ranker, train: Batches, rows: int) -> None:
    """`recipe.warmup_steps` joint steps, in as many passes over the `rows` as that takes."""
    recipe = model.recipe
    pass_steps = math.ceil(rows / recipe.batch_size)
    for epoch in range(math.ceil(recipe.warmup_steps / pass_steps)):
        left = recipe.warmup_steps - epoch * pass_steps
        batches = train.epoch(epoch, recipe.batch_size, recipe.seed + 1).take(left)
        training.train_epoch(model, batches, min(left, pass_steps) * recipe.batch_size, "warm-up")


def task_metric(task: Task, metrics: Mapping[str, float]) -> str:
    """The metric a task is judged by: AUC, or MSE for a ratio."""
    return next(m for m in (f"{task.name}_auc", f"{task.name}_mse") if m in metrics)


def copy_start(joint: Ranker, copies: Ranker) -> None:
    """Gives every task's own network the joint model's weights."""
    for t, mlp in enumerate(copies.sharing.mlps):
        common = joint.sharing.mlp
        pairs = [
            *zip(joint.trunks[0].weights, copies.trunks[t].weights, strict=True),
            *zip(common.kernels + common.biases, mlp.kernels + mlp.biases, strict=True),
            *zip(joint.heads[t].weights, copies.heads[t].weights, strict=True),
        ]
        for source, target in pairs:
            target.assign(source)


def fresh_optimizer(model: Ranker) -> None:
    """Sets moments and step counter to zero; the learning rate stays."""
    for variable in model.optimizer.variables:
        if "learning_rate" not in variable.name:
            variable.assign(tf.zeros_like(variable))


def apply_tickets(model: Ranker, found: Tickets) -> None:
    """Puts masks and the common start into the model that will be trained jointly.

    Where the vocabularies grew since the search, the embeddings keep their own start.

    Raises:
      ValueError: the model has no common masks, or the tickets were found for other tasks or other
        layers; says both.
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
    for t, name in enumerate(names):
        sharing.set_ticket(model.sharing.connections(t), found.tickets[name])
    anew = []
    for variable, value in zip(model.trainable_variables, found.start, strict=True):
        if variable.shape == value.shape:
            variable.assign(value)
        else:
            anew.append(variable.name)
    if anew:
        log.warning("the vocabularies changed since the search: %s start anew", ", ".join(anew))
