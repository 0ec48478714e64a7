"""A day goes on from the day before: weights, rows by key, optimizer."""

import re
from dataclasses import replace

import numpy as np
import pytest

from ncs4cvr.models.days import trained, warm
from ncs4cvr.models.learning.batches import Batches
from ncs4cvr.models.preprocessing import vocabularies
from ncs4cvr.models.pruning import starts
from ncs4cvr.models.pruning.tickets import Tickets
from training_days import fitted, place_of_table


def carried(days, first):
    """The second day's model as its training begins."""
    _, day = days
    words = vocabularies(day.recipe, day.world.graph)
    model = starts.build(day.recipe, day.world.sizes, next(iter(day.world.valid.in_order())))
    fresh = model.trunks[0].embedding.table.numpy()
    return model, fresh, warm.carry(model, str(first[1]), words)


def state(model, place):
    variable = model.trainable_variables[place]
    return [v.numpy() for v in (variable, *model.optimizer.moments(variable))]


def test_a_run_says_up_to_which_day_it_was_trained(first):
    assert trained.recipe_of(str(first[1])).trained_to == "2022-01-03"


def test_the_first_day_is_a_fresh_start_and_says_why(first):
    assert first[3] == {"from": "", "why": "no model of an earlier day was pushed", "rows": 300}


def test_the_next_day_trains_on_the_rows_of_its_new_day(second):
    assert second[3]["from"] == "2022-01-03"
    assert second[3]["rows"] == 100
    assert second[3]["words_new"] > 0
    assert second[3]["words_kept"] > 0


def test_all_rows_are_trained_on_where_the_recipe_says_so(days, first, fn_args, tmp_path):
    day = replace(days[1], recipe=days[1].recipe.replace(warm_rows="all"))
    _, start = fitted(day, fn_args, tmp_path, tickets=str(first[0]), last_run=str(first[1]))
    assert (start["from"], start["rows"]) == ("2022-01-03", 300)


def test_a_new_day_without_rows_is_an_error_that_names_the_days(days, first, fn_args, tmp_path):
    day = replace(days[0], recipe=days[1].recipe)
    with pytest.raises(ValueError, match=r"ends on 2022-01-04 and has no row after 2022-01-03"):
        fitted(day, fn_args, tmp_path, tickets=str(first[0]), last_run=str(first[1]))


def test_a_words_row_and_its_moments_go_to_its_new_place(days, first):
    model, fresh, _ = carried(days, first)
    before, after = (vocabularies(day.recipe, day.world.graph)["user"] for day in days)
    starts = [m.trunks[0].embedding.starts["user"] for m in (first[2], model)]
    assert before != after
    place = place_of_table(model)
    for old, new, anew in zip(
        state(first[2], place), state(model, place), (fresh, 0 * fresh, 0 * fresh), strict=True
    ):
        for number, word in enumerate(after):
            row = starts[1] + 1 + number
            expected = old[starts[0] + 1 + before.index(word)] if word in before else anew[row]
            np.testing.assert_array_equal(new[row], expected)


def test_dense_layers_heads_and_their_moments_are_carried_over_as_they_are(days, first):
    model, _, _ = carried(days, first)
    for place in set(range(len(model.trainable_variables))) - {place_of_table(model)}:
        for old, new in zip(state(first[2], place), state(model, place), strict=True):
            np.testing.assert_array_equal(new, old)
    assert int(model.optimizer.iterations) == int(first[2].optimizer.iterations) > 0


def test_going_on_is_the_same_as_not_having_stopped(days, first):
    """On the same day's data no row moves: one more step gives the same weights."""
    day = days[0]
    batch = next(iter(day.world.valid.in_order(64)))
    again = starts.build(day.recipe, day.world.sizes, batch)
    starts.apply_tickets(again, Tickets.load(str(first[0])))
    warm.carry(again, str(first[1]), vocabularies(day.recipe, day.world.graph))
    kept = [w.numpy() for w in first[2].weights], [w.numpy() for w in first[2].optimizer.variables]
    for model in (again, first[2]):
        model.train_step(batch)
    for mine, theirs in zip(again.trainable_variables, first[2].trainable_variables, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for variables, values in zip((first[2].weights, first[2].optimizer.variables), kept):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def test_a_warm_start_may_have_a_learning_rate_of_its_own(days, first):
    day = days[0]
    recipe = day.recipe.replace(warm_learning_rate=0.125)
    model = starts.build(recipe, day.world.sizes, next(iter(day.world.valid.in_order())))
    warm.carry(model, str(first[1]), vocabularies(recipe, day.world.graph))
    assert float(model.optimizer.learning_rate) == 0.125


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"hidden": (9, 4)}, r"hidden changed from \(8, 4\) to \(9, 4\) since the last model"),
        ({"embedding_dim": 8}, "embedding_dim changed from 4 to 8"),
        ({"features": "fewer"}, "features changed since the last model"),
        ({"log": "other"}, "the log's labels changed since the last model"),
    ],
)
def test_a_changed_model_is_a_fresh_start_that_names_the_change(days, first, changes, why):
    recipe = days[1].recipe
    if "features" in changes:
        changes = {"features": recipe.features[:-1]}
    if "log" in changes:
        labels = [replace(label, column=f"other_{label.column}") for label in recipe.log.labels]
        changes = {"log": replace(recipe.log, labels=tuple(labels))}
    found = Tickets.load(str(first[0]))
    assert re.search(why, warm.why_fresh(recipe.replace(**changes), str(first[1]), found))


def test_another_threshold_of_a_vocabulary_is_no_other_model(days, first):
    recipe = days[1].recipe
    rarer = tuple(replace(f, min_count=f.min_count + 1) for f in recipe.features)
    found = Tickets.load(str(first[0]))
    assert warm.why_fresh(recipe.replace(features=rarer), str(first[1]), found) == ""


def test_a_model_without_its_optimizers_state_is_a_fresh_start(days, first, fn_args, tmp_path):
    day = replace(days[0], recipe=days[0].recipe.replace(warm_start="off"))
    fitted(day, fn_args, tmp_path, tickets=str(first[0]))
    found = Tickets.load(str(first[0]))
    assert "warm_start=off" in warm.why_fresh(days[1].recipe, f"{tmp_path}/run", found)


# -- vocabularies ----------------------------------------------------------------------------


def test_with_kept_vocabularies_a_warm_start_begins_with_exactly_the_pushed_weights(days, first):
    """Nothing moves: every row of the table, and its moments, is where it was."""
    graph = days[0].world.graph
    words, sizes = vocabularies(days[1].recipe, graph), days[0].world.sizes
    train = Batches(f"{days[1].world.folder}/train.gz", graph)
    tickets = Tickets.load(str(first[0]))
    model = starts.joint_model(days[1].recipe, sizes, train, 300, tickets, words)
    told = warm.carry(model, str(first[1]), words)
    assert told["words_new"] == 0
    for mine, pushed in zip(model.weights, trained.weights(str(first[1])), strict=True):
        np.testing.assert_array_equal(mine, pushed)
    for place in range(len(model.trainable_variables)):
        for mine, theirs in zip(state(model, place), state(first[2], place), strict=True):
            np.testing.assert_array_equal(mine, theirs)
