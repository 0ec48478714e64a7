"""Metrics against their definitions."""

import numpy as np
import pytest

from ncs4cvr.models.metrics import evaluate, outputs_of
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


def test_a_ratio_is_judged_by_its_squared_error(recipe, split):
    predictions, labels = split
    watch = recipe.replace(tasks=(Task("ctr", "completion", loss="mse"),), products=())
    got = evaluate(watch, predictions, labels)
    expected = np.mean((predictions["ctr"] - labels["completion"]) ** 2)
    assert got["ctr_mse"] == pytest.approx(expected)
    assert "ctr_auc" not in got


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
