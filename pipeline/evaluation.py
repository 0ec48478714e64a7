"""What the Evaluator measures and demands, from the recipe's outputs, gates and slices."""

from __future__ import annotations

import json

import tensorflow_model_analysis as tfma

from ncs4cvr.schemas.recipe import Recipe
from ncs4cvr.schemas.tasks import Gate, Task

THRESHOLDS = 10_000  # of the AUC's histogram: within 1e-4 of the exact value


def eval_config(recipe: Recipe) -> tfma.EvalConfig:
    """AUC and calibration of every output, on the rows where its label counts.

    A metric's name is the gate's: `<output>_auc` or `<output>_calibration`. The change thresholds
    (`worse_by`) take effect where a model was blessed before.
    """
    model = tfma.ModelSpec(
        model_type=tfma.TF_GENERIC,
        signature_name="serving_default",
        label_keys={output.name: output.label for output in recipe.outputs},
        # 1 or 0 per row: a conversion counts only where there was a click.
        example_weight_keys={
            task.name: task.given
            for task in recipe.outputs
            if isinstance(task, Task) and task.given
        },
    )
    return tfma.EvalConfig(
        model_specs=[model],
        slicing_specs=[
            tfma.SlicingSpec(),
            *(tfma.SlicingSpec(feature_keys=[column]) for column in recipe.slices),
        ],
        metrics_specs=[
            tfma.MetricsSpec(output_names=[output.name], metrics=_metrics(recipe, output.name))
            for output in recipe.outputs
        ],
        # Keras's own metrics cannot be had where only some outputs are weighted.
        options=tfma.Options(include_default_metrics={"value": False}),
    )


def metric_names(recipe: Recipe) -> list[str]:
    """Everything that is measured."""
    return [f"{o.name}_{kind}" for o in recipe.outputs for kind in ("auc", "calibration")]


def _metrics(recipe: Recipe, output: str) -> list[tfma.MetricConfig]:
    gates = {gate.metric: gate for gate in recipe.gates}
    auc = {"name": f"{output}_auc", "num_thresholds": THRESHOLDS}
    calibration = {"name": f"{output}_calibration"}
    return [
        tfma.MetricConfig(
            class_name=kind,
            config=json.dumps(config),
            threshold=_threshold(gates.get(str(config["name"]))),
        )
        for kind, config in (("AUC", auc), ("Calibration", calibration))
    ]


def _threshold(gate: Gate | None) -> tfma.MetricThreshold | None:
    if gate is None:
        return None
    threshold = tfma.MetricThreshold()
    if gate.at_least is not None:
        threshold.value_threshold.lower_bound.value = gate.at_least
    if gate.at_most is not None:
        threshold.value_threshold.upper_bound.value = gate.at_most
    if gate.worse_by >= 0:
        threshold.change_threshold.direction = tfma.MetricDirection.HIGHER_IS_BETTER
        threshold.change_threshold.absolute.value = -gate.worse_by
    return threshold
