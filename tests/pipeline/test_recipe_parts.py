"""What no component is told, so that a change of it makes nothing anew."""

import dataclasses

import pytest

from ncs4cvr.pipeline import recipe_files
from ncs4cvr.pipeline.recipe_parts import (
    for_data_gate,
    for_gate,
    for_search,
    for_training,
    for_transform,
)


@pytest.fixture
def recipe(tiny_recipe_file):
    return recipe_files.load(str(tiny_recipe_file))


def test_training_and_gate_do_not_know_how_far_the_log_goes_on(recipe):
    longer = recipe.replace(log=dataclasses.replace(recipe.log, until="2022-01-09"))
    assert for_training(longer) == for_training(recipe)
    assert for_gate(longer) == for_gate(recipe)


def test_the_search_does_not_know_how_training_starts(recipe):
    changed = recipe.replace(warm_start="on", warm_rows="all", warm_learning_rate=0.1)
    changed = changed.replace(warm_label_share=0.5)
    assert for_search(changed) == for_search(recipe)


def test_how_long_vocabularies_are_kept_concerns_transform_and_training_alone(recipe):
    changed = recipe.replace(analyze_every_days=3)
    for part in (for_search, for_data_gate, for_gate):
        assert part(changed) == part(recipe)
    for part in (for_transform, for_training):
        assert part(changed).analyze_every_days == 3


def test_training_does_not_know_gates_slices_checks_and_files(recipe):
    changed = recipe.replace(gates=recipe.gates[:1], slices=(), drift_threshold=0.5)
    assert for_training(changed) == for_training(recipe)
    assert for_training(recipe.replace(keep=0.3)) != for_training(recipe)


def test_transform_does_not_know_the_model(recipe):
    changed = recipe.replace(hidden=(4,), learning_rate=0.5, sharing="single_task", seed=9)
    assert for_transform(changed) == for_transform(recipe)
    assert for_transform(recipe.replace(features=recipe.features[:-1])) != for_transform(recipe)
