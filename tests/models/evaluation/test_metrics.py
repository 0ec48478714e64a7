"""Metrics against their definitions."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ncs4cvr.models.evaluation.metrics import (
    calibration_error,
    evaluate,
    grouped_auc,
    log_loss,
    outputs_of,
    weighted_auc,
)
from ncs4cvr.schemas.tasks import Product, Task


@pytest.fixture
def split():
    """200 rows with many tied predictions: (predictions, labels)."""
    rng = np.random.default_rng(2)
    click = rng.integers(0, 2, 200)
    labels = {
        "click": click,
        "conversion": click * rng.integers(0, 2, 200),
        "completion": rng.random(200),
    }
    predictions = {name: rng.integers(1, 9, 200) / 10 for name in ("ctr", "cvr")}
    return predictions, labels


def _auc_by_pairs(p, y):
    positive, negative = p[y > 0][:, None], p[y == 0][None, :]
    return np.mean((positive > negative) + 0.5 * (positive == negative))


def test_auc_is_the_share_of_pairs_in_order(recipe, split):
    predictions, labels = split
    got = evaluate(recipe, predictions, labels)
    assert got["ctr_auc"] == pytest.approx(_auc_by_pairs(predictions["ctr"], labels["click"]))


def test_a_conditional_task_is_judged_on_its_own_rows(recipe, split):
    predictions, labels = split
    got = evaluate(recipe, predictions, labels)
    rows = labels["click"] == 1
    p, y = predictions["cvr"][rows], labels["conversion"][rows]
    assert got["cvr_auc"] == pytest.approx(_auc_by_pairs(p, y))
    assert got["cvr_calibration"] == pytest.approx(p.mean() / y.mean())


def test_a_product_is_judged_on_every_row(recipe, split):
    predictions, labels = split
    got = evaluate(recipe, predictions, labels)
    p = predictions["ctr"] * predictions["cvr"]
    assert got["ctcvr_auc"] == pytest.approx(_auc_by_pairs(p, labels["conversion"]))
    assert got["ctcvr_calibration"] == pytest.approx(p.mean() / labels["conversion"].mean())


@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_a_ratio_is_judged_by_its_squared_error_whatever_its_loss(recipe, split, loss):
    predictions, labels = split
    watch = recipe.replace(tasks=(Task("ctr", "completion", loss=loss),), products=())
    got = evaluate(watch, predictions, labels)
    expected = np.mean((predictions["ctr"] - labels["completion"]) ** 2)
    assert got["ctr_mse"] == pytest.approx(expected)
    assert "ctr_auc" not in got


def test_a_yes_or_no_is_judged_by_its_auc_whatever_its_loss(recipe, split):
    predictions, labels = split
    brier = recipe.replace(tasks=(Task("ctr", "click", loss="mse"),), products=())
    got = evaluate(brier, predictions, labels)
    assert got["ctr_auc"] == pytest.approx(_auc_by_pairs(predictions["ctr"], labels["click"]))
    assert "ctr_mse" not in got


def test_a_product_with_a_ratio_is_judged_by_its_squared_error(recipe, split):
    predictions, labels = split
    watch = recipe.replace(
        tasks=(Task("ctr", "click"), Task("cvr", "completion", given="click", loss="mse")),
        products=(Product("ctcvr", ("ctr", "cvr"), "completion"),),
    )
    got = evaluate(watch, predictions, labels)
    p = predictions["ctr"] * predictions["cvr"]
    assert got["ctcvr_mse"] == pytest.approx(np.mean((p - labels["completion"]) ** 2))


def test_products_multiply_their_factors(recipe):
    out = outputs_of(recipe, {"ctr": np.array([0.5, 0.2]), "cvr": np.array([0.5, 1.0])})
    assert out["ctcvr"].tolist() == [0.25, 0.2]


def test_one_class_is_an_error_that_names_output_and_label(recipe, split):
    predictions, labels = split
    with pytest.raises(ValueError, match="ctr: label 'click' has one class on its 200 rows"):
        evaluate(recipe, predictions, {**labels, "click": np.ones(200)})


@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_a_split_without_rows_of_a_task_is_an_error(recipe, split, loss):
    predictions, labels = split
    conditional = recipe.replace(
        tasks=(Task("cvr", "conversion", given="click", loss=loss),), products=()
    )
    with pytest.raises(ValueError, match=r"cvr: .* 0 rows"):
        evaluate(conditional, predictions, {**labels, "click": np.zeros(200)})


@pytest.mark.parametrize("decimals", [1, 9])  # many ties, no ties
def test_weighted_auc_is_that_of_scikit_learn(decimals):
    rng = np.random.default_rng(5)
    labels, scores = rng.integers(0, 2, 300), rng.random(300).round(decimals)
    groups, weights = rng.integers(0, 40, 300), rng.poisson(1, (150, 40))  # in two steps
    got = weighted_auc(labels, scores, weights, groups)
    expected = [roc_auc_score(labels, scores, sample_weight=w[groups]) for w in weights]
    assert got == pytest.approx(expected)


def test_weighted_auc_without_one_class_is_nan():
    labels, scores, groups = np.array([0, 1]), np.array([0.1, 0.2]), np.array([0, 1])
    got = weighted_auc(labels, scores, np.array([[1, 0], [2, 3]]), groups)
    assert np.isnan(got[0])
    assert got[1] == 1.0


def test_grouped_auc_weighs_users_by_their_rows():
    users = np.array(["a", "b", "a", "c", "b", "a", "c", "b"])
    labels = np.array([1, 0, 0, 1, 1, 1, 1, 0])
    scores = np.array([0.9, 0.5, 0.4, 0.1, 0.5, 0.3, 0.2, 0.1])
    # a: .9 over .4, .3 below it: 1/2, 3 rows. b: .5 ties .5 and is over .1: 3/4, 3 rows. c: clicks
    # only.
    assert grouped_auc(labels, scores, users) == pytest.approx((3 * 0.5 + 3 * 0.75) / 6)


def test_grouped_auc_without_a_user_of_both_classes_is_nan():
    assert np.isnan(grouped_auc(np.array([0, 1]), np.array([0.1, 0.2]), np.array([1, 2])))


def test_calibration_error_of_hand_made_bins():
    predictions = np.array([0.8, 0.1, 0.3, 0.6])
    labels = np.array([1, 0, 1, 0])
    # Two bins: {.1, .3} against {0, 1}, and {.6, .8} against {0, 1}: |.2 - .5| and |.7 - .5|.
    assert calibration_error(labels, predictions, bins=2) == pytest.approx((0.3 + 0.2) / 2)


def test_log_loss_of_two_rows():
    got = log_loss(np.array([1, 0]), np.array([0.5, 0.75]))
    assert got == pytest.approx((np.log(2) + np.log(4)) / 2)
