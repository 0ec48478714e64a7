"""Tickets from day to day: searched for or kept, and where kept ones begin."""

import numpy as np
import pytest

from ncs4cvr.models.days import renewal
from ncs4cvr.models.preprocessing import vocabularies
from ncs4cvr.models.pruning import lottery, starts
from ncs4cvr.models.pruning.controls import OTHER_SEED
from ncs4cvr.models.pruning.tickets import Tickets
from training_days import place_of_table


def test_the_first_day_searches_and_the_next_keeps(first, second):
    before, now = (Tickets.load(str(day[0])) for day in (first, second))
    assert before.facts["decision"] == {
        "searched": True,
        "why": "no model of an earlier day was pushed",
        "changed": {},
    }
    assert now.facts["decision"] == {
        "searched": False,
        "why": "they are 1 days old; search_every_days is 9",
        "changed": {},
        "searched_on": "2022-01-03",
    }
    for task, ticket in before.tickets.items():
        for a, b in zip(ticket, now.tickets[task], strict=True):
            np.testing.assert_array_equal(a, b)


def decision(days, first, changes, shares=0.0):
    recipe = days[1].recipe.replace(**changes)
    found, facts = renewal.kept(recipe, str(first[1]), lambda _: {"ctr": shares, "cvr": 0.0})
    assert (found is None) == facts["searched"]
    return facts


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"search_every_days": 0}, "search_every_days is 0"),
        ({"search_every_days": 1}, "they are 1 days old; search_every_days is 1"),
        ({"keep": 0.3}, "keep changed from 0.2 to 0.3 since the last model"),
        ({"hidden": (9, 4)}, "hidden changed from (8, 4) to (9, 4) since the last model"),
    ],
)
def test_a_search_is_due_when_the_recipe_says_so(days, first, changes, why):
    assert decision(days, first, changes) == {"searched": True, "why": why, "changed": {}}


@pytest.mark.parametrize(("share", "searched"), [(0.2, False), (0.3, True)])
def test_a_search_is_due_when_one_round_changes_too_much(days, first, share, searched):
    facts = decision(days, first, {"search_when_changed": 0.25}, share)
    assert facts["searched"] is searched
    assert facts["changed"] == {"ctr": share, "cvr": 0.0}
    assert f"one round changes {share:.1%} of ctr, the bound is 25.0%" in facts["why"]


def test_on_the_data_of_the_search_one_round_changes_nothing(days, first):
    found = Tickets.load(str(first[0]))
    assert any(not mask.all() for ticket in found.first.values() for mask in ticket)
    assert changed(days[0], found) == {"ctr": 0.0, "cvr": 0.0}


def test_on_other_data_one_round_changes_some_connections_of_every_pruned_task(days, first):
    found = Tickets.load(str(first[0]))
    pruned = [t for t, ticket in found.first.items() if not all(mask.all() for mask in ticket)]
    shares = changed(days[1], found)
    assert pruned
    assert all(0 < shares[task] < 1 for task in pruned)


def changed(day, found):
    words = vocabularies(day.recipe, day.world.graph)
    rows = len(day.world.rows)
    return lottery.changed(day.recipe, day.world.sizes, day.world.train, rows, found, words)


def test_kept_tickets_rewind_to_their_start_with_every_row_at_its_own_word(days, first):
    """Dense layers to the common start bit for bit; known words' rows to theirs."""
    day, found = days[1], Tickets.load(str(first[0]))
    words = vocabularies(day.recipe, day.world.graph)
    batch = next(iter(day.world.valid.in_order()))
    model = starts.build(day.recipe, day.world.sizes, batch)
    starts.apply_tickets(model, found, words)
    table = place_of_table(model)
    for place, (variable, start) in enumerate(zip(model.trainable_variables, found.start)):
        if place != table:
            np.testing.assert_array_equal(variable, start)
    old, new = found.words["user"], words["user"]
    (word,) = [w for w in new if w in old][:1]
    begin = first[2].trunks[0].embedding.starts["user"], model.trunks[0].embedding.starts["user"]
    row = found.start[table][begin[0] + 1 + old.index(word)]
    np.testing.assert_array_equal(
        model.trainable_variables[table][begin[1] + 1 + new.index(word)], row
    )


def test_kept_tickets_on_a_new_start_begin_with_all_of_todays_rows(days, first):
    day, found = days[1], Tickets.load(str(first[0]))
    words = vocabularies(day.recipe, day.world.graph)
    sizes, train = day.world.sizes, day.world.train
    assert len(found.words["user"]) != len(words["user"])
    recipe = day.recipe.replace(control="new_start")
    kept = starts.joint_model(recipe, sizes, train, 300, found, words)
    fresh = starts.build(recipe.replace(seed=recipe.seed + OTHER_SEED), sizes, train.no_rows())
    for a, b in zip(kept.trainable_variables, fresh.trainable_variables, strict=True):
        np.testing.assert_array_equal(a, b)
