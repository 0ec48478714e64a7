"""Rows of a recipe held against each other: features, tasks, products and gates by their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ncs4cvr.schemas.checks import one_of, unique
from ncs4cvr.schemas.tasks import Gate

if TYPE_CHECKING:
    from ncs4cvr.schemas.recipe import Recipe


def check_rows(recipe: Recipe) -> None:
    """Raises ValueError where rows contradict each other; says which, and the cure."""
    _check_vocabularies(recipe)
    _check_outputs(recipe)
    _check_gates(recipe)
    _check_given(recipe)


def check_trainable(recipe: Recipe) -> None:
    """Raises ValueError for what fits the recipe, but not its sharing: the Trainer refuses it."""
    if recipe.weights != "f32" and recipe.sharing != "ncs4cvr":
        raise ValueError(
            f"weights={recipe.weights!r} is for the weights that tickets keep, and sharing="
            f"{recipe.sharing!r} has no tickets; set weights=f32"
        )
    labels = [task.label for task in recipe.tasks]
    if recipe.sharing == "esmm" and not any(task.given in labels for task in recipe.tasks):
        raise ValueError(
            "sharing='esmm' learns pCTCVR = pCTR * pCVR: it needs a task whose `given` is another "
            f"task's label, and these are of {', '.join(labels)}; use another sharing"
        )


def _check_vocabularies(recipe: Recipe) -> None:
    unique("feature", [f.name for f in recipe.features])
    names = [f.name for f in recipe.features]
    for f in recipe.features:
        one_of(f"vocabulary of feature {f.name!r} (it must name a feature)", f.vocabulary, names)
        owner = recipe.features[names.index(f.vocabulary)]
        if owner.vocabulary != owner.name or owner.has_words != f.has_words:
            raise ValueError(
                f"vocabulary {f.vocabulary!r} of feature {f.name!r}: that feature must have a "
                "vocabulary of its own, and both words (category, tags, sequence) or neither; "
                "name another one"
            )


def _check_outputs(recipe: Recipe) -> None:
    unique("output", [t.name for t in recipe.tasks] + [p.name for p in recipe.products])
    labels = [label.name for label in recipe.log.labels]
    for task in recipe.tasks:
        one_of(f"label of task {task.name!r}", task.label, labels)
        if task.given:
            one_of(f"given of task {task.name!r}", task.given, labels)
    for product in recipe.products:
        one_of(f"label of product {product.name!r}", product.label, labels)
        for factor in product.factors:
            one_of(f"factor of {product.name!r}", factor, [t.name for t in recipe.tasks])


def _check_gates(recipe: Recipe) -> None:
    outputs = [t.name for t in recipe.tasks] + [p.name for p in recipe.products]
    for gate in recipe.gates:
        one_of("gate output", gate.output, outputs)
        _check_metric(recipe, gate)
        if gate.slice_worse_by >= 0 and not (gate.slices or recipe.slices):
            raise ValueError(
                f"gate {gate.metric!r}: slice_worse_by looks at slices, and there are none; "
                "name columns in the recipe's or the gate's slices"
            )
        for column in gate.slices:
            one_of(f"slice of gate {gate.metric!r}", column, recipe.slices)


def _check_metric(recipe: Recipe, gate: Gate) -> None:
    (output,) = (output for output in recipe.outputs if output.name == gate.output)
    if gate.metric.endswith("_auc") and recipe.metric_of(output) != "auc":
        raise ValueError(
            f"gate {gate.metric!r}: label {output.label!r} is a ratio, which has no AUC; gate "
            f"{gate.output}_calibration"
        )


def _check_given(recipe: Recipe) -> None:
    ratios = [label.name for label in recipe.log.labels if label.over]
    for task in recipe.tasks:
        if task.given in ratios:
            raise ValueError(
                f"given of task {task.name!r}: {task.given!r} is a ratio; name a label of 0 and 1"
            )
