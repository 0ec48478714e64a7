"""What the Evaluator measures and demands, from the recipe's outputs and gates."""

from __future__ import annotations

import json

from tensorflow_model_analysis import constants
from tensorflow_model_analysis.proto import config_pb2

from ncs4cvr.pipeline.code_version import code_version
from ncs4cvr.schemas.recipe import Recipe
from ncs4cvr.schemas.tasks import Gate, Product, Task

BATCHED = "ncs4cvr.components.batch_metrics"  # BatchedAUC, BatchedCalibration
EXTRACTORS = "ncs4cvr.components.whole_batches"


def eval_config(recipe: Recipe) -> config_pb2.EvalConfig:
    """AUC (MSE for a ratio) and calibration of every output, on the rows where its label counts.

    A metric's name is the gate's: `<output>_auc` or `<output>_calibration`. Slices and the last
    blessed model are the ModelGate's, which has intervals for both; here every slice would cost as
    much as the whole again, and a blessed model that lacks an output of today's ends the run.
    """
    model = config_pb2.ModelSpec(
        model_type=constants.TF_GENERIC,
        signature_name="serving_default",
        label_keys={output.name: output.label for output in recipe.outputs},
        # 1 or 0 per row: a conversion counts only where there was a click.
        example_weight_keys={
            task.name: task.given
            for task in recipe.outputs
            if isinstance(task, Task) and task.given
        },
    )
    return config_pb2.EvalConfig(
        model_specs=[model],
        slicing_specs=[config_pb2.SlicingSpec()],
        metrics_specs=[
            config_pb2.MetricsSpec(output_names=[output.name], metrics=_metrics(recipe, output))
            for output in recipe.outputs
        ],
        # Keras's own metrics cannot be had where only some outputs are weighted.
        options=config_pb2.Options(include_default_metrics={"value": False}),
    )


def _metrics(recipe: Recipe, output: Task | Product) -> list[config_pb2.MetricConfig]:
    gates = {gate.metric: gate for gate in recipe.gates}
    # TFX's Evaluator has no property of its own that would tell its cache of changed code.
    version = "-".join(code_version(module) for module in (BATCHED, EXTRACTORS))
    metrics = []
    for module, kind, name in (
        ("", "MeanSquaredError", f"{output.name}_mse")
        if recipe.metric_of(output) == "mse"
        else (BATCHED, "BatchedAUC", f"{output.name}_auc"),
        (BATCHED, "BatchedCalibration", f"{output.name}_calibration"),
    ):
        told = {"name": name, "code_version": version} if module == BATCHED else {"name": name}
        metric = config_pb2.MetricConfig(module=module, class_name=kind, config=json.dumps(told))
        gate = gates.get(name)
        if gate and (gate.at_least is not None or gate.at_most is not None):
            # A plain `threshold` would hold every slice to it, however small.
            metric.per_slice_thresholds.add(
                slicing_specs=[config_pb2.SlicingSpec()], threshold=_threshold(gate)
            )
        metrics.append(metric)
    return metrics


def _threshold(gate: Gate) -> config_pb2.MetricThreshold:
    threshold = config_pb2.MetricThreshold()
    if gate.at_least is not None:
        threshold.value_threshold.lower_bound.value = gate.at_least
    if gate.at_most is not None:
        threshold.value_threshold.upper_bound.value = gate.at_most
    return threshold
