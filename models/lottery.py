"""Runs the ticket search on real batches: all tasks at once, one pass over the data a round."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ncs4cvr.models import sharing, sparsity, training
from ncs4cvr.models.batches import Batches
from ncs4cvr.models.controls import OTHER_SEED, controlled
from ncs4cvr.models.ranker import Ranker, compiled
from ncs4cvr.models.search import EarlyBird, Round, best_round, keep_schedule, search
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


def joint_model(
    recipe: Recipe,
    sizes: Mapping[str, int],
    train: Batches,
    valid: Batches,
    rows: int,
    found: Tickets | None,
) -> Ranker:
    """The model as joint training begins: its tickets, or a control of them, and their start.

    Args:
      recipe: what to build; `control` says what becomes of the tickets.
      sizes: ids per vocabulary.
      train, valid: the splits; the first is used only to warm up a new start.
      rows: rows of the training split.
      found: by `find_tickets`; None for sharings without tickets.

    Raises:
      ValueError: the tickets do not fit the recipe.
    """
    batch = next(iter(valid.in_order(recipe.batch_size)))
    start: list[np.ndarray] = []
    if found and recipe.control == "new_start":
        other = build(recipe.replace(seed=recipe.seed + OTHER_SEED), sizes, batch)
        warm_up(other, train, rows)
        start = [w.numpy() for w in other.trainable_variables]
    model = build(recipe, sizes, batch)
    if found:
        apply_tickets(model, controlled(found, recipe.control, recipe.seed, start))
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
    rounds, start = search_rounds(recipe, sizes, train, valid, rows, keep_schedule(recipe))
    chosen = [
        best_round(rounds, task_metric(t, rounds[0].metrics), recipe.ticket_tie)
        for t in recipe.tasks
    ]
    names = [t.name for t in recipe.tasks]
    final = [rounds[k].tickets[t] for t, k in enumerate(chosen)]
    facts = describe(names, rounds, chosen, made_from)
    return Tickets(dict(zip(names, final, strict=True)), start, facts)


def search_rounds(
    recipe: Recipe,
    sizes: Mapping[str, int],
    train: Batches,
    valid: Batches,
    rows: int,
    keeps: Sequence[float],
) -> tuple[list[Round], list[np.ndarray]]:
    """All rounds of a search, and the common start that they rewind to.

    Args:
      recipe, sizes, train, valid, rows: see `find_tickets`.
      keeps: the share of connections kept after each round, falling.
    """
    batch = next(iter(valid.in_order(recipe.batch_size)))
    joint = build(recipe.replace(sharing="ncs4cvr"), sizes, batch)
    warm_up(joint, train, rows)
    start = [w.numpy() for w in joint.trainable_variables]
    copies = build(recipe.replace(sharing="single_task"), sizes, batch)
    tasks = recipe.tasks
    connections = [copies.sharing.connections(t) for t in range(len(tasks))]
    longest = 0

    def rewind(tickets: Sequence[Ticket]) -> None:
        copy_start(joint, copies)
        fresh_optimizer(copies)
        for t, ticket in enumerate(tickets):
            sharing.set_ticket(connections[t], ticket)

    def train_round(k: int, tickets: Sequence[Ticket]) -> tuple[dict[str, float], int]:
        nonlocal longest
        began = time.monotonic()
        title = f"round {k}/{len(keeps)}"
        stop = _RoundEnd(recipe, k == len(keeps), longest, lambda: draw(tickets, keeps[k]))
        asked_after = 1 if recipe.early_bird else 0
        for epoch in range(recipe.search_epochs):
            number = 1000 + k * recipe.search_epochs + epoch
            batches = train.epoch(number, recipe.batch_size, recipe.seed)
            training.train_epoch(copies, batches, rows, title, stop, asked_after)
            if stop.ended:
                break
        longest = max(longest, stop.steps)
        metrics = training.validate(copies, valid)
        chosen = {name: metrics[name] for name in (task_metric(t, metrics) for t in tasks)}
        kept = [sparsity.density(ticket) for ticket in tickets]
        told = [f"keeps {k:.1%}: {m} {v:.4f}" for k, (m, v) in zip(kept, chosen.items())]
        took = f"{stop.steps} steps, {time.monotonic() - began:.0f} s"
        log.info("%s  %s  (%s)", title, "  ".join(told), took)
        return chosen, stop.steps

    def prune(task: int, ticket: Ticket, keep: float) -> Ticket:
        kernels = [k.numpy() for k, _ in connections[task]]
        return sparsity.PRUNERS[recipe.prune_scope](kernels, ticket, keep)

    def draw(tickets: Sequence[Ticket], keep: float) -> list[Ticket]:
        return [prune(t, ticket, keep) for t, ticket in enumerate(tickets)]

    full = [sparsity.full_ticket([k.shape for k, _ in c]) for c in connections]
    return search(full, keeps, rewind=rewind, train=train_round, prune=prune), start


class _RoundEnd:
    """Counts a round's steps over its epochs and says when to stop.

    Without early bird never; with it, when the next tickets have settled. The last round draws
    none: it is as long as the longest before it, so that what they validate at can be compared.
    """

    def __init__(
        self, recipe: Recipe, last: bool, longest: int, draw: Callable[[], Sequence[Ticket]]
    ):
        self.steps, self.ended = 0, False
        self.settled: Callable[[int], bool] = lambda step: False
        if recipe.early_bird and not last:
            self.settled = EarlyBird(recipe.early_bird, draw)
        elif recipe.early_bird and longest:
            self.settled = lambda step: step >= longest

    def __call__(self, taken: int) -> bool:
        self.steps += taken
        self.ended = self.settled(self.steps)
        return self.ended


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
            *zip(joint.towers[t].weights, copies.towers[t].weights, strict=True),
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
