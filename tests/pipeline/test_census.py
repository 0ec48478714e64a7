"""The Census recipes: independent tasks, and no feature that defines one of them."""

import pytest

from ncs4cvr.pipeline import recipe_files
from ncs4cvr.pipeline.evaluation import eval_config
from ncs4cvr.pipeline.recipes import census, census_education

#: Label -> the columns of which it is made.
MADE_OF = {
    "income_over_50k": {"income", "income_50k"},
    "is_never_married": {"never_married", "marital_status"},
    "has_degree": {"bachelor", "education"},
}
ADDED = {"row", "split_day"}


@pytest.fixture(params=[census, census_education], ids=lambda m: m.__name__.rpartition(".")[2])
def recipe(request):
    return request.param.RECIPE


def test_no_feature_defines_a_task_or_is_made_for_the_log(recipe):
    read = {f.column for f in recipe.features}
    defining = set().union(*(MADE_OF[task.label] for task in recipe.tasks))
    assert not read & (defining | ADDED | {"instance_weight"})


def test_every_other_original_column_is_a_feature(recipe):
    read = {f.column for f in recipe.features}
    defining = set().union(*(MADE_OF[task.label] for task in recipe.tasks))
    assert len(read) == 40 - len(defining & {"marital_status", "education"})


def test_tasks_are_independent_and_judged_on_every_row(recipe):
    assert not recipe.products
    assert not any(task.given for task in recipe.tasks)
    (model,) = eval_config(recipe).model_specs
    assert dict(model.example_weight_keys) == {}
    assert dict(model.label_keys) == {task.name: task.label for task in recipe.tasks}


@pytest.mark.parametrize("name", ["census", "census_education"])
def test_they_find_their_files_from_everywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = recipe_files.load(name).log.events.split(",")
    assert [f.rpartition("/data/census_income/")[2] for f in files] == [
        "train.parquet",
        "test.parquet",
    ]
