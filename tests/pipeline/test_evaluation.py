"""The EvalConfig says what the recipe's gates say."""

import json

import pytest
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.metrics.metric_specs import metric_instance
from tensorflow_model_analysis.proto import config_pb2

from ncs4cvr.components import batch_metrics
from ncs4cvr.pipeline.evaluation import eval_config
from ncs4cvr.pipeline.recipes.kuairand import RECIPE
from ncs4cvr.schemas.tasks import Gate, Task


def metrics_of(config):
    return {
        json.loads(metric.config)["name"]: (spec.output_names, metric)
        for spec in config.metrics_specs
        for metric in spec.metrics
    }


def overall(metric):
    """The threshold on all rows; slices have none, which a plain `threshold` would give them."""
    assert not metric.HasField("threshold")
    (each,) = metric.per_slice_thresholds
    assert list(each.slicing_specs) == [config_pb2.SlicingSpec()]
    return each.threshold


def test_every_output_has_an_auc_and_a_calibration_under_the_gates_names():
    metrics = metrics_of(eval_config(RECIPE))
    outputs, kinds = ("ctr", "cvr", "ctcvr"), ("auc", "calibration")
    assert set(metrics) == {f"{output}_{kind}" for output in outputs for kind in kinds}
    for name, (outputs, metric) in metrics.items():
        assert list(outputs) == [name.split("_")[0]]
        kind = {"auc": batch_metrics.BatchedAUC, "calibration": batch_metrics.BatchedCalibration}
        assert isinstance(metric_instance(metric), kind[name.split("_")[1]])


def test_conversions_count_on_clicked_rows_only_and_products_on_all():
    (model,) = eval_config(RECIPE).model_specs
    assert dict(model.label_keys) == {"ctr": "click", "cvr": "conversion", "ctcvr": "conversion"}
    assert dict(model.example_weight_keys) == {"cvr": "click"}
    assert model.signature_name == "serving_default"
    assert model.model_type == constants.TF_GENERIC


def test_default_metrics_are_off():
    assert not eval_config(RECIPE).options.include_default_metrics.value


def test_slices_are_left_to_the_model_gate():
    assert RECIPE.slices
    assert list(eval_config(RECIPE).slicing_specs) == [config_pb2.SlicingSpec()]


@pytest.mark.parametrize(
    ("gate", "low", "high"),
    [
        (Gate("cvr_auc", at_least=0.66), 0.66, None),
        (Gate("cvr_auc", at_most=0.9), None, 0.9),
        (Gate("cvr_auc", at_least=0.8, at_most=1.25), 0.8, 1.25),
    ],
)
def test_bounds_become_value_thresholds(gate, low, high):
    _, metric = metrics_of(eval_config(RECIPE.replace(gates=(gate,))))["cvr_auc"]
    threshold = overall(metric)
    bounds = threshold.value_threshold
    assert (bounds.lower_bound.value if bounds.HasField("lower_bound") else None) == low
    assert (bounds.upper_bound.value if bounds.HasField("upper_bound") else None) == high
    assert not threshold.HasField("change_threshold")


def test_the_last_blessed_model_is_left_to_the_model_gate():
    gate = Gate("cvr_auc", worse_by=0.003)
    _, metric = metrics_of(eval_config(RECIPE.replace(gates=(gate,))))["cvr_auc"]
    assert not metric.per_slice_thresholds


def test_metrics_without_a_gate_have_no_threshold():
    metrics = metrics_of(eval_config(RECIPE.replace(gates=(Gate("cvr_auc", at_least=0.6),))))
    assert [n for n, (_, m) in metrics.items() if m.per_slice_thresholds] == ["cvr_auc"]


def test_a_ratio_has_a_squared_error_in_place_of_an_auc():
    recipe = RECIPE.replace(
        tasks=(*RECIPE.tasks, Task("watch", "completion", loss="mse")),
        gates=(Gate("cvr_auc", at_least=0.6),),
    )
    _, metric = metrics_of(eval_config(recipe))["watch_mse"]
    assert metric.class_name == "MeanSquaredError"
    assert "watch_auc" not in metrics_of(eval_config(recipe))
