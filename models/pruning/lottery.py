"""Runs the ticket search on real batches: all tasks at once, one pass over the data a round."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ncs4cvr.models import sparsity
from ncs4cvr.models.layers import sharing
from ncs4cvr.models.layers.keys import Words
from ncs4cvr.models.learning import training
from ncs4cvr.models.learning.batches import Batches
from ncs4cvr.models.learning.ranker import Ranker
from ncs4cvr.models.pruning import starts
from ncs4cvr.models.pruning.search import Round, RoundEnd, best_round, keep_schedule, search
from ncs4cvr.models.pruning.search_state import SearchState
from ncs4cvr.models.pruning.soft_labels import SoftLabels
from ncs4cvr.models.pruning.tickets import Tickets, describe
from ncs4cvr.models.sparsity import Ticket
from ncs4cvr.models.together.shards import whole
from ncs4cvr.schemas.recipe import Recipe
from ncs4cvr.schemas.tasks import Task

log = logging.getLogger("ncs4cvr")


class Search(NamedTuple):
    """What rounds of training and pruning gave.

    first: per kept share, the tickets that pruning to it at once after the first round gives.
    """

    rounds: list[Round]
    start: list[np.ndarray]
    first: list[list[Ticket]]


def find_tickets(
    recipe: Recipe,
    sizes: Mapping[str, int],
    train: Batches,
    valid: Batches,
    rows: int,
    made_from: Mapping[str, Any],
    soft: SoftLabels | None = None,
    checkpoint: str = "",
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
      soft: hears what every round says of the training split.
      checkpoint: folder where a search of the same inputs that was cut off goes on.
    """
    keeps, of = keep_schedule(recipe), (sizes, train, valid, rows)
    rounds, start, first = search_rounds(recipe, *of, keeps, soft, checkpoint)
    chosen = [
        best_round(rounds, task_metric(t, rounds[0].metrics), recipe.ticket_tie)
        for t in recipe.tasks
    ]
    names = [t.name for t in recipe.tasks]
    final = [rounds[k].tickets[t] for t, k in enumerate(chosen)]
    at_once = [(first[k - 1] if k else rounds[0].tickets)[t] for t, k in enumerate(chosen)]
    facts = describe(names, rounds, chosen, made_from)
    by_task = (dict(zip(names, each, strict=True)) for each in (final, at_once))
    return Tickets(next(by_task), start, facts, next(by_task))


def search_rounds(
    recipe: Recipe,
    sizes: Mapping[str, int],
    train: Batches,
    valid: Batches,
    rows: int,
    keeps: Sequence[float],
    soft: SoftLabels | None = None,
    checkpoint: str = "",
) -> Search:
    """All rounds of a search, and the common start that they rewind to.

    Args:
      recipe, sizes, train, valid, rows, soft, checkpoint: see `find_tickets`.
      keeps: the share of connections kept after each round, falling.
    """
    batch, workers = train.no_rows(), train.workers
    warms = recipe.warmup_steps > 0
    joint = starts.build(recipe.replace(sharing="ncs4cvr"), sizes, batch, workers, learns=warms)
    starts.warm_up(joint, train, rows)
    start = [whole(w) for w in joint.trainable_variables]
    copies = starts.build(recipe.replace(sharing="single_task"), sizes, batch, workers)
    tasks = recipe.tasks
    connections = [copies.sharing.connections(t) for t in range(len(tasks))]
    full = [sparsity.full_ticket([k.shape for k, _ in c]) for c in connections]
    state = SearchState(full, len(keeps), checkpoint, workers, soft)
    longest = max((r.steps for r in state.rounds), default=0)

    def rewind(tickets: Sequence[Ticket]) -> None:
        starts.copy_start(joint, copies)
        starts.fresh_optimizer(copies)
        for t, ticket in enumerate(tickets):
            sharing.set_ticket(connections[t], ticket)

    def train_round(k: int, tickets: Sequence[Ticket]) -> tuple[dict[str, float], int]:
        nonlocal longest
        began = time.monotonic()
        title = f"round {k}/{len(keeps)}"
        stop = RoundEnd(recipe, k == len(keeps), longest, lambda: draw(tickets, keeps[k]))
        asked_after = 1 if recipe.early_bird else 0
        for epoch in range(recipe.search_epochs):
            number = 1000 + k * recipe.search_epochs + epoch
            batches = train.epoch(number, recipe.batch_size, recipe.seed)
            training.train_epoch(copies, batches, rows, title, stop, asked_after)
            if stop.ended:
                break
        longest = max(longest, stop.steps)
        if k == 0:
            state.first = [draw(tickets, keep) for keep in keeps]
        metrics = training.validate(copies, valid)
        if soft:
            soft.add(copies)
        chosen = {name: metrics[name] for name in (task_metric(t, metrics) for t in tasks)}
        kept = [sparsity.density(ticket) for ticket in tickets]
        told = [f"keeps {k:.1%}: {m} {v:.4f}" for k, (m, v) in zip(kept, chosen.items())]
        took = f"{stop.steps} steps, {time.monotonic() - began:.0f} s"
        log.info("%s  %s  (%s)", title, "  ".join(told), took)
        return chosen, stop.steps

    def prune(task: int, ticket: Ticket, keep: float) -> Ticket:
        return pruned(copies, task, ticket, keep)

    def draw(tickets: Sequence[Ticket], keep: float) -> list[Ticket]:
        return [prune(t, ticket, keep) for t, ticket in enumerate(tickets)]

    rounds = search(
        state.tickets,
        keeps,
        rewind=rewind,
        train=train_round,
        prune=prune,
        done=state.rounds,
        after_round=state.keep,
    )
    return Search(rounds, start, state.first)


def pruned(copies: Ranker, task: int, ticket: Ticket, keep: float) -> Ticket:
    """The largest of a task's own connections, as many as `keep` says."""
    kernels = [kernel.numpy() for kernel, _ in copies.sharing.connections(task)]
    recipe = copies.recipe
    return sparsity.prune_blocks(kernels, ticket, keep, recipe.prune_scope, recipe.ticket_block)


def changed(
    recipe: Recipe,
    sizes: Mapping[str, int],
    train: Batches,
    rows: int,
    found: Tickets,
    words: Words,
) -> dict[str, float]:
    """Per task, the share of connections that a search of one round would change today.

    A full search costs rounds + 1 trainings; this costs one, from the same common start as the
    tickets that are kept, and prunes to their density at once. It is compared with what pruning at
    once gave when they were searched for, not with the tickets themselves: those came about in
    several rounds, so they would differ on the same data, too.

    Args:
      recipe, sizes, train, rows: today's; see `find_tickets`.
      found: the tickets that are kept.
      words: of today's vocabularies.
    """
    batch, workers = train.no_rows(), train.workers
    joint = starts.build(recipe.replace(sharing="ncs4cvr"), sizes, batch, workers, learns=False)
    starts.apply_tickets(joint, found, words)
    copies = starts.build(recipe.replace(sharing="single_task"), sizes, batch, workers)
    starts.copy_start(joint, copies)
    stop = RoundEnd(recipe, True, found.facts["rounds"][0]["steps"], list)
    for epoch in range(recipe.search_epochs):
        batches = train.epoch(1000 + epoch, recipe.batch_size, recipe.seed)
        title = "one round for comparison"
        training.train_epoch(copies, batches, rows, title, stop, 1 if recipe.early_bird else 0)
        if stop.ended:
            break
    shares = {}
    for t, task in enumerate(recipe.tasks):
        before = found.first[task.name]
        full = sparsity.full_ticket([mask.shape for mask in before])
        now = pruned(copies, t, full, sparsity.density(before))
        shares[task.name] = sparsity.moved([before], [now])
    return shares


def task_metric(task: Task, metrics: Mapping[str, float]) -> str:
    """The metric a task is judged by: AUC, or MSE for a ratio."""
    return next(m for m in (f"{task.name}_auc", f"{task.name}_mse") if m in metrics)
