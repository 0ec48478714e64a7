"""What makes two recipes' models the same: their variables, and what these mean."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from ncs4cvr.schemas.recipe import Recipe

#: What decides which connections tickets are of, and what their common start holds.
OF_TICKETS = ("features", "tasks", "embedding_dim", "interaction", "hidden", "tower")
#: What decides which variables a model has and what they mean.
STRUCTURE = (*OF_TICKETS, "sharing", "experts", "control")
#: What decides what the log's columns mean.
OF_LOG = ("labels", "tallies", "history_actions", "columns")


def changes(then: Recipe, now: Recipe, names: Sequence[str]) -> Iterator[tuple[str, Any, Any]]:
    """(key, what it was, what it is) of those of some keys, and of OF_LOG, that differ."""
    for name in names:
        a, b = (getattr(recipe, name) for recipe in (then, now))
        if name == "features":  # another threshold only changes which words are known
            a, b = (tuple(dataclasses.replace(f, min_count=1) for f in each) for each in (a, b))
        if a != b:
            yield name, a, b
    for name in OF_LOG:
        a, b = (getattr(recipe.log, name) for recipe in (then, now))
        if a != b:
            yield name, a, b


def told(key: str, then: Any, now: Any) -> Iterator[str]:
    """Says what differs in a key; in rows, such as features, which fields of which row.

    >>> from ncs4cvr.schemas.tasks import Task
    >>> list(told("hidden", (8, 4), (9, 4)))
    ['hidden was (8, 4), is (9, 4)']
    >>> list(told("tasks", (Task("ctr", "click"),), (Task("ctr", "like"),)))
    ["tasks 'ctr': label was 'click', is 'like'"]
    >>> list(told("tasks", (Task("ctr", "click"),), ()))
    ["tasks[0] was 'ctr', is nothing"]
    """
    if not any(dataclasses.is_dataclass(row) for row in (*_rows(then), *_rows(now))):
        yield f"{key} was {then!r}, is {now!r}"
        return
    for place, (a, b) in enumerate(itertools.zip_longest(then, now)):
        was, is_ = (repr(row.name) if row else "nothing" for row in (a, b))
        if was != is_:
            yield f"{key}[{place}] was {was}, is {is_}"
            return  # what comes after has moved
        for field in dataclasses.fields(a):
            x, y = (getattr(row, field.name) for row in (a, b))
            if x != y:
                yield f"{key} {was}: {field.name} was {x!r}, is {y!r}"


def _rows(value: Any) -> tuple:
    return value if isinstance(value, tuple) else ()
