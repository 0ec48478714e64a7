"""Which recipes make the same model, and what is told of those that do not."""

from dataclasses import replace

import pytest

from ncs4cvr.models.layers.structure import OF_TICKETS, changes, told


def differences(then, now):
    return [each for change in changes(then, now, OF_TICKETS) for each in told(*change)]


def with_feature(recipe, name, **fields):
    features = tuple(replace(f, **fields) if f.name == name else f for f in recipe.features)
    return recipe.replace(features=features)


def test_what_only_says_how_to_train_search_and_serve_makes_no_other_model(recipe):
    other = recipe.replace(
        seed=9, keep=0.5, rounds=1, control="union", learning_rate=0.1, weights="bf16", name="mine"
    )
    assert differences(recipe, other) == []
    assert differences(recipe, with_feature(recipe, "user", min_count=9)) == []


@pytest.mark.parametrize(
    ("name", "fields", "said"),
    [
        ("user", {"hash_buckets": 1}, "features 'user': hash_buckets was 2, is 1"),
        ("age", {"bins": 5}, "features 'age': bins was 4, is 5"),
        ("spent", {"zero_apart": False}, "features 'spent': zero_apart was True, is False"),
    ],
)
def test_a_features_ids_are_part_of_the_model(recipe, name, fields, said):
    assert differences(recipe, with_feature(recipe, name, **fields)) == [said]


def test_so_is_the_order_of_features(recipe):
    first, second, *others = recipe.features
    assert differences(recipe, recipe.replace(features=(second, first, *others))) == [
        "features[0] was 'user', is 'history_video'"
    ]


def test_so_is_their_number(recipe):
    *others, last = recipe.features
    assert last.name == "history_action"
    place = len(others)
    fewer = recipe.replace(features=tuple(others))
    assert differences(recipe, fewer) == [f"features[{place}] was 'history_action', is nothing"]
    assert differences(fewer, recipe) == [f"features[{place}] was nothing, is 'history_action'"]


def test_so_are_sizes_and_what_the_log_means_and_all_is_told(recipe):
    labels = tuple(replace(label, column=f"my_{label.column}") for label in recipe.log.labels[:1])
    log = replace(recipe.log, labels=labels + recipe.log.labels[1:])
    assert differences(recipe, recipe.replace(log=log, tower=(3,), embedding_dim=8)) == [
        "embedding_dim was 4, is 8",
        "tower was (), is (3,)",
        "labels 'click': column was 'click', is 'my_click'",
    ]
