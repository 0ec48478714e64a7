"""Whether a run searches for tickets or keeps those of the last pushed model."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping

import tensorflow as tf

from ncs4cvr.models.days import trained, warm
from ncs4cvr.models.layers.structure import STRUCTURE
from ncs4cvr.models.pruning.tickets import Tickets
from ncs4cvr.schemas.recipe import Recipe


def kept(
    recipe: Recipe, folder: str, measure: Callable[[Tickets], Mapping[str, float]]
) -> tuple[Tickets | None, dict]:
    """The tickets of an earlier run, or None where a search is due; and the decision's facts.

    Args:
      recipe: today's; see search_every_days and search_when_changed.
      folder: of the last pushed model's run; "" where there is none.
      measure: tickets -> the share of its connections that each task would change; see
        lottery.changed. Asked only where the answer counts.

    Returns:
      The tickets, and `searched`, `why` and `changed` (empty where it was not measured).
    """
    changed: Mapping[str, float] = {}

    def search(why: str) -> tuple[None, dict]:
        return None, {"searched": True, "why": why, "changed": dict(changed)}

    if not recipe.search_every_days:
        return search("search_every_days is 0")
    if not folder:
        return search("no model of an earlier day was pushed")
    if why := warm.difference(recipe, trained.recipe_of(folder), STRUCTURE + warm.SEARCH):
        return search(why)
    if not tf.io.gfile.exists(f"{folder}/{warm.TICKETS}"):
        return search("the last model was trained with search_every_days=0, which keeps no tickets")
    found = Tickets.load(f"{folder}/{warm.TICKETS}")
    since = found.facts["made_from"].get("trained_to", "")
    if not since:
        return search("the last model's tickets do not say on which day they were searched for")
    days = (dt.date.fromisoformat(recipe.trained_to) - dt.date.fromisoformat(since)).days
    age = f"they are {days} days old; search_every_days is {recipe.search_every_days}"
    if days >= recipe.search_every_days:
        return search(age)
    if recipe.search_when_changed:
        changed = measure(found)
        task, worst = max(changed.items(), key=lambda each: each[1])
        told = f"one round changes {worst:.1%} of {task}, the bound is"
        if worst > recipe.search_when_changed:
            return search(f"{told} {recipe.search_when_changed:.1%}")
        age += f"; {told} {recipe.search_when_changed:.1%}"
    return found, {"searched": False, "why": age, "changed": dict(changed), "searched_on": since}
