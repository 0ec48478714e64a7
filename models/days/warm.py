"""A training goes on from the model of an earlier day: weights, optimizer and tickets.

What that takes is saved beside the weights (trained.py) in the folder of a model run.
"""

from __future__ import annotations

import collections
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from ncs4cvr.models.days import trained
from ncs4cvr.models.layers import keys
from ncs4cvr.models.layers.structure import OF_LOG, STRUCTURE, changes
from ncs4cvr.models.learning import npz
from ncs4cvr.models.learning.ranker import Ranker
from ncs4cvr.models.packed.store import compute_of
from ncs4cvr.models.pruning.tickets import Tickets
from ncs4cvr.models.together.shards import whole
from ncs4cvr.models.together.workers import Workers
from ncs4cvr.schemas.recipe import Recipe

STATE, TICKETS, COMPUTE = "state.npz", "tickets", "compute.json"

#: What decides which tickets a search finds, besides; nothing but the search reads it.
SEARCH = (
    "keep",
    "rounds",
    "prune_scope",
    "ticket_block",
    "warmup_steps",
    "search_epochs",
    "early_bird",
    "pruning",
    "ticket_tie",
)


def save(
    model: Ranker, words: keys.Words, found: Tickets | None, folder: str, workers: Workers
) -> None:
    """The chief writes the optimizer's state, the vocabularies' words, and tickets in a folder."""
    state = _state(model, words)
    if not workers.chief:
        collections.deque(state, 0)  # what is cut among the workers, all must bring
        return
    npz.write(f"{folder}/{STATE}", state)
    if found:
        found.save(f"{folder}/{TICKETS}")


def _state(model: Ranker, words: keys.Words) -> Iterator[tuple[str, np.ndarray]]:
    yield from keys.packed(words).items()
    if model.recipe.warm_start == "off":
        return
    yield "iterations", model.optimizer.iterations.numpy()
    for i, variable in enumerate(model.weights):
        if variable.trainable:
            for letter, moment in zip("mv", model.optimizer.moments(variable), strict=True):
                yield f"{letter}_{i:03d}", whole(moment)


def save_compute(exported: str, folder: str) -> None:
    """Keeps what an export says of how it is computed, for the next one (see store.Packing)."""
    with tf.io.gfile.GFile(f"{folder}/{COMPUTE}", "w") as out:
        out.write(json.dumps(compute_of(exported)))


def compute(folder: str) -> dict[str, Any]:
    """What `save_compute` kept in the folder of an earlier model's run; {} for none."""
    if not folder or not tf.io.gfile.exists(f"{folder}/{COMPUTE}"):
        return {}
    with tf.io.gfile.GFile(f"{folder}/{COMPUTE}") as text:
        return json.loads(text.read())


def why_fresh(recipe: Recipe, folder: str, found: Tickets | None) -> str:
    """Why a training cannot go on from the model in a folder; "" where it can.

    Args:
      recipe: today's.
      folder: of the last pushed model's run; "" where there is none.
      found: today's tickets; None for sharings without.
    """
    if not folder:
        return "no model of an earlier day was pushed"
    if why := difference(recipe, trained.recipe_of(folder), STRUCTURE):
        return why
    state = f"{folder}/{STATE}"
    if not tf.io.gfile.exists(state) or "iterations" not in npz.Stored(state).names:
        return "the last model was trained with warm_start=off, which keeps no optimizer state"
    if found and not _same(found, Tickets.load(f"{folder}/{TICKETS}")):
        return "the tickets are new"
    return ""


def difference(now: Recipe, then: Recipe, names: tuple[str, ...]) -> str:
    """Says which of some keys, or of OF_LOG, differ; "" where none does."""
    for name, a, b in changes(then, now, names):
        if name in OF_LOG:
            return f"the log's {name} changed since the last model"
        told = "" if name in ("features", "tasks") else f" from {a} to {b}"
        return f"{name} changed{told} since the last model"
    return ""


def carry(model: Ranker, folder: str, words: keys.Words) -> dict[str, Any]:
    """Puts the weights and the optimizer's state of an earlier model into this one.

    Dense layers and heads as they are, rows of embeddings and of their moments by key (see
    keys.moves); a row without a past keeps its fresh start, with moments of 0. Masks stay.

    Args:
      model: of the same structure, built by today's vocabularies.
      folder: of the earlier model's run.
      words: of today's vocabularies.

    Returns:
      words_kept and words_new: how many words are in both, and in today's vocabularies only.
    """
    path = f"{folder}/{STATE}"
    state, weights = npz.Stored(path), trained.weights(folder)
    tables = {trunk.embedding.table.ref() for trunk in model.trunks}
    then = keys.unpacked(dict(npz.Stored(path, keys.PREFIX).items()))
    moves = keys.moves(model.trunks[0].embedding, then, words)
    for i, (variable, name) in enumerate(zip(model.weights, weights.names, strict=True)):
        if not variable.trainable:
            continue
        m, v = model.optimizer.moments(variable)
        for target, stored, key in (
            (variable, weights, name),
            (m, state, f"m_{i:03d}"),
            (v, state, f"v_{i:03d}"),
        ):
            if variable.ref() in tables:
                moves.carry(stored.array(key), target)
            else:
                target.assign(stored.array(key))
    model.optimizer.iterations.assign(int(state.array("iterations")))
    if model.recipe.warm_learning_rate:
        model.optimizer.learning_rate.assign(model.recipe.warm_learning_rate)
    return {"words_kept": moves.kept, "words_new": moves.new}


def _same(a: Tickets, b: Tickets) -> bool:
    return a.tickets.keys() == b.tickets.keys() and all(
        np.array_equal(x, y)
        for task, ticket in a.tickets.items()
        for x, y in zip(ticket, b.tickets[task], strict=True)
    )
