"""Days in a chain: a fresh start, then a warm start a day, each judged on the day after.

Training is what TicketSearch and Trainer do, on the same vocabularies every day.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ncs4cvr.models.learning import training
from ncs4cvr.models.learning.batches import Batches
from ncs4cvr.models.learning.ranker import Ranker
from ncs4cvr.models.preprocessing import vocabulary_sizes
from ncs4cvr.models.pruning import lottery, soft_labels, starts
from ncs4cvr.models.pruning.soft_labels import SoftLabels
from ncs4cvr.models.pruning.tickets import Tickets
from ncs4cvr.schemas.recipe import Recipe
from warm_start_parts.days import Days

Metrics = Mapping[str, float]
FRESH, STALE, WARM = "fresh", "stale", "warm"


def results(
    recipe: Recipe,
    days: Days,
    base: int,
    settings: Sequence[tuple[float, float]],
    tell: Callable[[str], None],
) -> Iterator[dict[str, Any]]:
    """One seed's rows: arm, settings, the day judged on, its metrics.

    Args:
      recipe: with the seed; `warm_start` on.
      days: at least two more than `base`.
      base: days of the fresh start.
      settings: of warm starts, (warm_label_share, warm_learning_rate).
      tell: says what is done.
    """
    dates = list(days.files)
    sizes = vocabulary_sizes(recipe, days.graph)
    steps = list(zip(dates[base:-1], dates[base + 1 :], strict=True))
    # The next day's rows, validated on the day after.
    splits = [(days.rows(d, d), days.rows(after, after), after) for d, after in steps]

    def rows(arm: str, found: Sequence[Metrics], **of: float) -> Iterator[dict[str, Any]]:
        for (*_, after), metrics in zip(splits, found, strict=True):
            yield {"arm": arm, **of, "day": after, "metrics": dict(metrics)}
        shown = ", ".join(f"{name} {value:g}" for name, value in of.items())
        tell(f"{arm} {shown}: {np.mean([m['watched'] for m in found]):.4f}")

    known = days.rows(dates[0], dates[base - 1])
    model, found, _ = fresh(recipe, sizes, known, days.rows(dates[base], dates[base]))
    start = _state(model)
    yield from rows(STALE, [_judged(model, valid) for _, valid, _ in splits])
    for share, rate in settings:
        if model.label_share != share:
            taught = recipe.replace(warm_label_share=share)
            model = starts.joint_model(taught, sizes, known, 0, found)
            model.label_share = share
        _put(model, start)
        model.optimizer.learning_rate.assign(rate)
        got = [_on(model, train, valid) for train, valid, _ in splits]
        yield from rows(WARM, got, warm_label_share=share, warm_learning_rate=rate)
    got = []
    for (day, _), (_, valid, _) in zip(steps, splits, strict=True):
        got.append(fresh(recipe, sizes, days.rows(dates[0], day), valid)[2])
    yield from rows(FRESH, got)


def fresh(
    recipe: Recipe, sizes: Mapping[str, int], train: Batches, valid: Batches
) -> tuple[Ranker, Tickets | None, Metrics]:
    """Searches and trains from nothing: the model, its tickets, validation."""
    rows = train.count()
    found = None
    with tempfile.TemporaryDirectory() as folder:
        taught = train
        if recipe.sharing == "ncs4cvr":
            soft = SoftLabels(recipe, train) if recipe.soft_labels == "rounds" else None
            found = lottery.find_tickets(recipe, sizes, train, valid, rows, {}, soft)
            if soft:
                facts = {**found.facts, soft_labels.FACTS: soft.save(folder)}
                found = dataclasses.replace(found, facts=facts)
                taught, _ = soft_labels.given(recipe, train, rows, found, folder)
        model = starts.joint_model(recipe, sizes, train, rows, found)
        metrics = _fit(model, taught, valid, rows)
    return model, found, metrics


def _on(model: Ranker, train: Batches, valid: Batches) -> Metrics:
    rows = train.count()
    taught = soft_labels.of_model(model.recipe, train, model) if model.label_share < 1 else train
    return _fit(model, taught, valid, rows)


def _fit(model: Ranker, train: Batches, valid: Batches, rows: int) -> Metrics:
    with tempfile.TemporaryDirectory() as checkpoint:
        history = training.fit(
            model, train, valid, rows=rows, checkpoint=checkpoint, after_epoch=lambda *_: None
        )
    return history.epochs[history.best]


def _judged(model: Ranker, valid: Batches) -> Metrics:
    metrics = training.validate(model, valid)
    return {**metrics, "watched": training.watched(model.recipe, metrics)}


def _state(model: Ranker) -> list[np.ndarray]:
    """What a warm start carries over: weights, moments, step count."""
    return [v.numpy() for v in (*model.weights, *model.optimizer.variables)]


def _put(model: Ranker, state: Sequence[np.ndarray]) -> None:
    for variable, value in zip((*model.weights, *model.optimizer.variables), state, strict=True):
        variable.assign(value)
