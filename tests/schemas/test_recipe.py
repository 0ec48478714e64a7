"""Rows and recipes refuse what cannot work, and survive JSON."""

import dataclasses

import pytest

from ncs4cvr.pipeline.recipes.kuairand import RECIPE
from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.log import Label, Log, Split, Tally
from ncs4cvr.schemas.recipe import Recipe
from ncs4cvr.schemas.tasks import Gate, Product, Task


def test_a_recipe_survives_json():
    assert Recipe.from_json(RECIPE.to_json()) == RECIPE


def test_json_is_the_same_for_equal_recipes():
    assert dataclasses.replace(RECIPE).to_json() == RECIPE.to_json()


@pytest.mark.parametrize(
    ("setting", "key", "value"),
    [
        ("hidden=256,128", "hidden", (256, 128)),
        ("keep=0.1", "keep", 0.1),
        ("rounds=2", "rounds", 2),
        ("sharing=shared_bottom", "sharing", "shared_bottom"),
        ("schedule=alternating", "schedule", "alternating"),
        ("name=trial", "name", "trial"),
    ],
)
def test_settings_take_the_fields_type(setting, key, value):
    assert getattr(RECIPE.with_settings([setting]), key) == value


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("keeep=0.1", "did you mean 'keep'"),
        ("keep", "must read key=value"),
        ("keep=much", "not of the type float"),
        ("log=x", "write it in a recipe file"),
        ("sharing=shared", "did you mean 'shared_bottom'"),
        ("pruning=sudden", "unknown pruning"),
        ("hidden=0", "positive sizes"),
        ("ticket_block=8", r"ticket_block must be 1 \(single connections\) or one of"),
        ("batch_size=0", "batch_size must lie in"),
        (
            "drift_threshold=20",
            r"drift_threshold must lie in \[0.0, 1.0\]",
        ),  # no distance is above 1
        ("analyze_every_days=-1", r"analyze_every_days \(0 is every run\) must lie in"),
    ],
)
def test_a_wrong_setting_says_the_cure(setting, told):
    with pytest.raises(ValueError, match=told):
        RECIPE.with_settings([setting])


def test_blocks_must_fit_the_layers():
    with pytest.raises(ValueError, match=r"must divide every size of hidden, got \(64, 24\)"):
        RECIPE.with_settings(["hidden=64,24", "ticket_block=16"])
    assert RECIPE.with_settings(["hidden=64,48", "ticket_block=16"]).ticket_block == 16


def test_json_with_an_unknown_key_is_refused():
    text = RECIPE.to_json().replace('"keep":', '"kept":')
    with pytest.raises(ValueError, match="did you mean 'keep'"):
        Recipe.from_json(text)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"tasks": ()}, "at least one task"),
        ({"tasks": (Task("ctr", "clik"),)}, "did you mean 'click'"),
        ({"tasks": (Task("ctr", "click", given="clik"),)}, "given of task 'ctr'"),
        ({"tasks": (Task("ctr", "click"), Task("ctr", "like"))}, "given twice: ctr"),
        ({"products": (Product("ctcvr", ("ctr", "vcr"), "conversion"),)}, "did you mean 'cvr'"),
        ({"gates": (Gate("cvrr_auc", at_least=0.5),)}, "did you mean 'cvr'"),
        ({"gates": (Gate("cvr_auc", slices=("tap",)),)}, "did you mean 'tab'"),
        (
            {"tasks": (Task("ctr", "completion"), *RECIPE.tasks[1:])},
            "'completion' is a ratio, which has no AUC; gate ctr_calibration",
        ),
    ],
)
def test_rows_that_name_what_is_not_there_are_refused(changes, told):
    with pytest.raises(ValueError, match=told):
        RECIPE.replace(**changes)


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (lambda: Feature("price", dtype="float"), "cannot be float"),
        (lambda: Feature("tag", kind="tags"), "dtype='string'"),
        (lambda: Feature("city", hash_buckets=0), "hash_buckets"),
        (lambda: Feature("spent", kind="number", zero_apart=True), "give bins"),
        (lambda: Feature("tab", kind="index", bins=4, zero_apart=True), "for a number in bins"),
        (lambda: Feature("spent", kind="number", bins=4, log=True), "quantiles are the same"),
        (lambda: Feature("tab", log=True), "log is for a number"),
        (lambda: Task("ctr", "click", loss="hinge"), "Known: bce, focal, mse"),
        (lambda: Task("ctr", "click", weight=0), "weight must be positive"),
        (lambda: Gate("cvr_f1"), "_auc or <output>_calibration"),
        (lambda: Gate("cvr_auc", confidence=0.05), "must lie in"),
        (lambda: Gate("cvr_auc", min_positives=0), "must be 1 or more, got 0"),
        (lambda: Gate("cvr_calibration", worse_by=0.1), "held to a band"),
        (lambda: Split("train", "2022-01-02", "2022-01-01"), "swap them"),
        (lambda: Split("train.1", "2022-01-01", "2022-01-01"), "a letter or digit first"),
        (lambda: Split("_train", "2022-01-01", "2022-01-01"), "a letter or digit first"),
        (lambda: RECIPE.replace(name="n" * 64), "up to 63 letters"),
        (lambda: Log("e", labels=(Label("buy", "buy", given="click"),)), "given 'click'"),
        (lambda: Log("e", tallies=(Tally("n", "user", "click"),)), "counts 'click'"),
        (lambda: Log("e", max_bad_share=2), "max_bad_share"),
        (lambda: Log("e", orphan_conversions="lose"), "Known: keep, drop"),
        (lambda: Log("e", history_actions=("click",)), "are no labels"),
        (
            lambda: Log(
                "e",
                splits=(
                    Split("a", "2022-01-01", "2022-01-03"),
                    Split("b", "2022-01-03", "2022-01-04"),
                ),
            ),
            "overlap",
        ),
    ],
)
def test_a_row_that_cannot_work_is_refused(build, told):
    with pytest.raises(ValueError, match=told):
        build()


def test_a_rate_needs_a_strength():
    labels = (Label("click", "is_click"),)
    with pytest.raises(ValueError, match="needs strength > 0"):
        Log("e", labels=labels, tallies=(Tally("r", "user", "click", "impression"),))


def test_columns_are_mapped_to_the_files_names():
    log = Log("e", columns=(("time_ms", "ts"),))
    assert (log.column("time_ms"), log.column("user_id")) == ("ts", "user_id")


def test_a_vocabulary_must_name_the_feature_that_is_counted():
    lost = Feature("history_video", "history", "sequence", vocabulary="vidoe_id")
    with pytest.raises(ValueError, match=r"vidoe_id.*did you mean 'video_id'"):
        RECIPE.replace(features=(*RECIPE.features[:-2], lost))
