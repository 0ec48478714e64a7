"""Cells, budgets and the page of the quality benchmark."""

import dataclasses
import json

import numpy as np
import pytest

from ncs4cvr.pipeline.recipes.kuairand import RECIPE

INPUTS = 200


@pytest.fixture
def plan(tmp_path):
    from quality_parts.plan import Plan

    return Plan(RECIPE, "data", tmp_path / "cells", INPUTS, {})


@pytest.fixture
def models():
    from quality_parts.models import all_models

    return all_models(RECIPE)


@pytest.fixture
def cell(plan, models):
    return plan.cell(models["shared_bottom"], 1)


def test_every_trial_meets_the_budget(plan, models):
    from quality_parts import sizes

    for model in models.values():
        if not model.tried or model.name == "lightgbm":
            continue
        for number in range(3):
            recipe = plan.recipe.replace(**{**plan.trial(model, number), **model.fixed})
            assert sizes.dense_parameters(recipe, INPUTS) == pytest.approx(plan.budget, rel=0.1)


def test_dense_parameters_are_those_of_the_layers(plan):
    from quality_parts import sizes

    recipe = RECIPE.replace(sharing="shared_bottom", hidden=(8, 4))
    by_hand = (INPUTS * 8 + 8) + (8 * 4 + 4) + 2 * (4 + 1)
    assert sizes.dense_parameters(recipe, INPUTS) == by_hand


def test_the_default_of_ncs4cvr_is_the_recipe(plan, models):
    recipe = plan.cell(models["ncs4cvr"], RECIPE.seed).recipe
    assert recipe == RECIPE.replace(soft_labels="off")  # a row of its own has them


def test_controls_take_the_tickets_of_ncs4cvr(plan, models):
    ours = plan.cell(models["ncs4cvr"], 1)
    for name in ("random", "new_start", "union", "only_ctr", "only_cvr"):
        assert plan.cell(models[name], 1).search.path == ours.search.path
    assert plan.cell(models["ncs4cvr"], 2).search.path != ours.search.path


def test_what_learns_soft_labels_takes_the_search_of_ncs4cvr(plan, models):
    ours = plan.cell(models["ncs4cvr"], 1)
    assert ours.recipe.soft_labels == "off"
    for name in ("soft", "soft_random", "soft_mmoe"):
        cell = plan.cell(models[name], 1)
        assert cell.recipe.soft_labels == "rounds"
        assert cell.search.path == ours.search.path
    assert ours.search.recipe.soft_labels == "rounds"


def test_a_recipe_with_soft_labels_changes_no_other_row(plan, models):
    taught = dataclasses.replace(plan, recipe=RECIPE.replace(soft_labels="rounds"))
    for name in ("ncs4cvr", "mmoe", "random", "soft"):
        assert taught.cell(models[name], 1).path == plan.cell(models[name], 1).path


def test_a_cell_is_another_with_another_seed_setting_or_data(plan, models, cell):
    others = [
        plan.cell(models["shared_bottom"], 2),
        plan.cell(models["mmoe"], 1),
        dataclasses.replace(cell, data="other"),
        dataclasses.replace(cell, recipe=cell.recipe.replace(dropout=0.1)),
    ]
    assert len({c.path for c in [cell, *others]}) == 5


def test_a_cell_does_not_depend_on_gates_and_files(cell):
    moved = dataclasses.replace(RECIPE.log, events="elsewhere")
    recipe = cell.recipe.replace(log=moved, gates=())
    assert dataclasses.replace(cell, recipe=recipe).path == cell.path


def test_only_cells_with_tickets_depend_on_how_the_recipe_searches(plan, models):
    from ncs4cvr.models.days.warm import SEARCH

    other = {"prune_scope": "layer", "pruning": "polynomial", "ticket_block": 16}
    for field in SEARCH:
        value = other.get(field, 0.5 if isinstance(getattr(RECIPE, field), float) else 7)
        moved = dataclasses.replace(plan, recipe=RECIPE.replace(**{field: value}))
        for name in ("shared_bottom", "lightgbm"):
            assert moved.cell(models[name], 1).path == plan.cell(models[name], 1).path
        chosen = dict(moved.settings(models["ncs4cvr"]), **{field: value})
        ours = plan.cell(models["ncs4cvr"], 1, chosen)
        assert ours.path != plan.cell(models["ncs4cvr"], 1).path
        assert ours.search.path != plan.cell(models["ncs4cvr"], 1).search.path


def test_results_of_other_code_are_made_anew_unless_asked_for(cell):
    assert cell.stored() is None
    cell.store({"watched": 0.7})
    assert cell.stored()["watched"] == 0.7
    result = json.loads(cell.path.read_text())
    cell.path.write_text(json.dumps(result | {"code": "other"}))
    assert cell.stored() is None
    assert cell.stored(any_code=True)["watched"] == 0.7


def test_every_worker_gets_searches_and_every_cell_is_made_once(plan, models):
    from quality_parts.workers import jobs_of

    searches = [plan.cell(models["ncs4cvr"], seed).search for seed in range(1, 6)]
    for workers, sizes in ((1, [5]), (2, [2, 3]), (3, [1, 2, 2]), (9, [1] * 5)):
        jobs = jobs_of(searches, workers)
        assert sorted(map(len, jobs)) == sizes
        assert {c.path for job in jobs for c in job} == {c.path for c in searches}
    assert jobs_of([], 2) == []


def test_a_model_stays_in_one_process_where_there_are_enough_models(plan, models):
    from quality_parts.workers import jobs_of

    cells = [plan.cell(models[m], seed) for m in ("mmoe", "ple") for seed in (1, 2, 3)]
    assert jobs_of(cells, 2) == [cells[:3], cells[3:]]


def test_tuning_keeps_the_trial_that_validates_best(plan, models):
    from quality_parts.plan import choose

    mmoe = models["mmoe"]
    for watched, cell in zip([0.70, 0.72, 0.71], plan.trials(mmoe, 3), strict=True):
        cell.store({"watched": watched})
    found = choose(plan, [mmoe], 3)["mmoe"]
    assert (found["trial"], found["validation"], found["trials"]) == (1, 0.72, 3)
    assert found["settings"] == plan.trial(mmoe, 1)


def test_esmm_is_left_out_where_no_task_is_given_another(plan, models):
    ctr, cvr = RECIPE.tasks
    apart = RECIPE.replace(tasks=(ctr, dataclasses.replace(cvr, given="")))
    assert plan.fits(models["esmm"]) == ""
    assert "given" in dataclasses.replace(plan, recipe=apart).fits(models["esmm"])


def test_without_a_run_the_error_says_what_makes_it(tmp_path):
    from quality_parts.data import Data, NoRun

    with pytest.raises(NoRun, match="make them: ncs4cvr run kuairand"):
        Data.of_run(RECIPE, tmp_path, tmp_path, "ncs4cvr run kuairand")


def test_rows_come_back_as_they_were_kept(tmp_path):
    from quality_parts.data import Rows

    rows = Rows({"a": np.arange(6).reshape(3, 2)}, np.array([0, 1, 0]), {"n": np.array([1, 2.5])})
    rows.save(tmp_path / "split.npz")
    again = Rows.load(tmp_path / "split.npz")
    assert (again.columns["a"] == rows.columns["a"]).all()
    assert (again.users == rows.users).all()
    assert (again.raw["n"] == rows.raw["n"]).all()
    assert [len(b["a"]) for b in again.in_order(2)] == [2, 1]


def test_a_new_run_keeps_the_pages_other_text(tmp_path):
    from quality_parts.page import put_block

    page = tmp_path / "quality.md"
    page.write_text("# Title\n\nProse.\n")
    put_block(page, "a", "first")
    put_block(page, "b", "second")
    page.write_text(page.read_text() + "More prose.\n")
    put_block(page, "a", "third")
    text = page.read_text()
    assert "Prose." in text
    assert "More prose." in text
    assert "second" in text
    assert "third" in text
    assert "first" not in text


def test_rows_of_other_data_sets_and_of_a_curve_that_was_not_made_anew_stay(tmp_path):
    from quality_parts.page import put_rows

    def row(dataset, model, seed):
        return {"dataset": dataset, "model": model, "seed": seed}

    path = tmp_path / "quality.json"
    put_rows(path, "a", [row("a", "mmoe", 1)], [row("a", "mmoe@50%", 1)])
    put_rows(path, "b", [row("b", "mmoe", 1)], [])
    put_rows(path, "a", [row("a", "mmoe", 2)], [])
    rows = [row("a", "mmoe@50%", 1), row("b", "mmoe", 1), row("a", "mmoe", 2)]
    assert json.loads(path.read_text()) == rows
    put_rows(path, "a", [row("a", "mmoe", 3)], [row("a", "mmoe@50%", 3)])
    rows = [row("b", "mmoe", 1), row("a", "mmoe", 3), row("a", "mmoe@50%", 3)]
    assert json.loads(path.read_text()) == rows
