"""The part of a recipe that each component is told.

What a component is told is part of its cache key, so it is told no more than it needs.
"""

from __future__ import annotations

import dataclasses

from ncs4cvr.schemas.recipe import Recipe

SERVING_BOUNDS = (
    "serving_auc_tolerance",
    "max_p99_ms",
    "max_load_s",
    "max_model_mb",
    "max_serving_mb",
)


def for_training(recipe: Recipe) -> Recipe:
    """The recipe without what training does not depend on: gates, checks and where the log lies."""
    log = dataclasses.replace(recipe.log, events="", users="", videos="", history="", until="")
    unset = dict.fromkeys(SERVING_BOUNDS, 0.0)
    return recipe.replace(
        log=log,
        gates=(),
        slices=(),
        attribution="",
        data_schema="",
        drift_threshold=0.0,
        day_change=Recipe.day_change,
        day_auc_change=Recipe.day_auc_change,
        keep_versions=Recipe.keep_versions,
        beam=(),
        **unset,
    )


def for_data_gate(recipe: Recipe) -> Recipe:
    """What the data gate depends on: columns, days, and how far they may differ."""
    about = {"day_change": recipe.day_change, "day_auc_change": recipe.day_auc_change}
    return for_transform(recipe).replace(analyze_every_days=0, **about)


def for_gate(recipe: Recipe) -> Recipe:
    """What the model gate depends on: outputs, gates and slices."""
    about = dict(recipe.__dict__)
    log = dataclasses.replace(for_training(recipe).log, splits=())
    names = ("name", "tasks", "products", "gates", "slices")
    return Recipe(log=log, features=(), **{name: about[name] for name in names})


def for_search(recipe: Recipe) -> Recipe:
    """What the ticket search depends on: training, but not controls, export and warm start.

    Nor whether vocabularies were kept: it is told what Transform made of that.
    """
    return for_training(recipe).replace(
        control="",
        weights="f32",
        embeddings="f32",
        compute="auto",
        warm_start="off",
        warm_rows="new",
        warm_learning_rate=0.0,
        warm_label_share=1.0,
        analyze_every_days=0,
    )


def for_transform(recipe: Recipe) -> Recipe:
    """What preprocessing depends on: features, labels and how long it is kept."""
    log = for_training(recipe).log
    plain = Recipe(recipe.name, log, recipe.features, recipe.tasks, recipe.products)
    return plain.replace(analyze_every_days=recipe.analyze_every_days)
