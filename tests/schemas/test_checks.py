"""Plain data becomes rows, or an error that names the place; secrets are found."""

import json

import pytest

from ncs4cvr.pipeline.recipes.kuairand import RECIPE
from ncs4cvr.schemas.checks import from_plain, without_secrets
from ncs4cvr.schemas.recipe import Recipe


def changed(path, value):
    """The recipe as plain data with one value changed."""
    plain = json.loads(RECIPE.to_json())
    *way, last = path
    place = plain
    for step in way:
        place = place[step]
    place[last] = value
    return plain


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (["rounds"], "4", "rounds: expected int, came '4'"),
        (["rounds"], True, "rounds: expected int, came True"),
        (["keep"], "0.1", "keep: expected float, came '0.1'"),
        (["hidden"], 256, "hidden: expected a list, came 256"),
        (["hidden", 1], 0.5, r"hidden\[1\]: expected int, came 0.5"),
        (["features", 3], "tab", r"features\[3\]: expected an object with name, source"),
        (["features", 3, "bins"], None, r"features\[3\].bins: expected int, came None"),
        (["features", 0, "kind"], "categry", "did you mean 'category'"),
        (["log", "columns"], [["time_ms"]], r"log.columns\[0\]: expected a list of 2"),
        (["log", "evens"], "x", "unknown Log key 'evens'; did you mean 'events'"),
        (["gates", 0, "at_least"], "x", r"gates\[0\].at_least: expected float or NoneType"),
        (["tasks", 0], {"name": "ctr"}, r"tasks\[0\] lacks label; add it"),
    ],
)
def test_a_wrong_value_is_refused_by_its_place(path, value, told):
    with pytest.raises(ValueError, match=told):
        from_plain(Recipe, changed(path, value))


@pytest.mark.parametrize("value", [[], "recipe", 3, None])
def test_what_is_no_object_is_no_recipe(value):
    with pytest.raises(ValueError, match="Recipe: expected an object with name, log"):
        from_plain(Recipe, value)


def test_a_whole_number_may_stand_for_a_float():
    assert from_plain(Recipe, changed(["keep"], 1)).keep == 1


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("s3://id:pass@bucket/x", "s3://id:***@bucket/x"),
        ("--db_password=pass --runner=Direct", "--db_password=*** --runner=Direct"),
        ('{"api_key": "pass", "a": 1}', '{"api_key": "***", "a": 1}'),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        (
            "at 2022-05-01T10:00:00 gs://bucket/a@b.csv",
            "at 2022-05-01T10:00:00 gs://bucket/a@b.csv",
        ),
        ("http://localhost:8501/v1/models/m", "http://localhost:8501/v1/models/m"),
        ("the token is missing", "the token is missing"),
    ],
)
def test_secrets_are_hidden_and_nothing_else(text, shown):
    assert without_secrets(text) == shown


def test_a_known_secret_is_hidden_wherever_it_stands():
    assert without_secrets("x-hunter2-y", ["hunter2", ""]) == "x-***-y"
