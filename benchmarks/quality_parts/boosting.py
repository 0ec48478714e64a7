"""LightGBM beside the networks: what a user would try first.

One booster a task on the task's own rows, with the features of the networks as plain columns: ids
of the cut vocabularies and indices as categories, tags and histories position by position, numbers
as the log has them (buckets would only lose). Ids of more than `max_ids` values are left out where
that validates better: trees split badly on them. It stops early on the same validation split.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from ncs4cvr.models.evaluation import metrics
from ncs4cvr.models.learning import training
from ncs4cvr.schemas.recipe import Recipe
from quality_parts.cells import Cell
from quality_parts.data import Rows
from quality_parts.training import Bench, facts, peak_mb, reset_peak

MAX_ROUNDS, PATIENCE = 3000, 50
TAGS, HISTORY = 3, 5  # positions that become columns


def table(recipe: Recipe, rows: Rows) -> tuple[np.ndarray, list[str], list[int]]:
    """([rows, columns] of float64, column names, which are categories).

    Args:
      recipe: its features, those left out that are not wanted.
      rows: a split.
    """
    columns: dict[str, np.ndarray] = {}
    categories = []
    for f in recipe.features:
        x = rows.columns[f.name]
        if f.kind == "number":
            columns[f.name] = rows.raw[f.name]
        elif f.kind in ("hour", "weekday"):
            columns[f.name] = x.ravel()
        elif f.kind in ("tags", "sequence"):
            columns[f"{f.name}_length"] = (x != 0).sum(1)
            ordered = f.kind == "sequence" and f.bins  # an index: small whole numbers
            for i in range(min(x.shape[1], TAGS if f.kind == "tags" else HISTORY)):
                columns[f"{f.name}_{i}"] = x[:, i]
                if not ordered:
                    categories.append(f"{f.name}_{i}")
            if ordered:
                columns[f"{f.name}_engaged"] = (x > 1).sum(1)
        else:
            columns[f.name] = x.ravel()
            categories.append(f.name)
    names = list(columns)
    stacked = np.stack([c.astype(np.float64) for c in columns.values()], axis=1)
    return stacked, names, [names.index(c) for c in categories]


def boost(cell: Cell, bench: Bench, threads: int) -> None:
    """Trains and judges the cell's boosters."""
    recipe = cell.recipe
    train_rows = bench.data.split(recipe, recipe.log.splits[0].name)
    reset_peak()
    began = time.monotonic()
    options = dict(cell.options)
    largest = options.pop("max_ids")
    used = [f for f in recipe.features if bench.sizes.get(f.vocabulary, 0) <= largest]
    narrow = recipe.replace(features=tuple(used))
    x, names, categories = table(narrow, train_rows)
    judged = {split: (table(narrow, rows)[0], rows) for split, rows in bench.judged.items()}
    predicted: dict[str, dict[str, np.ndarray]] = {split: {} for split in judged}
    sums, fitting = np.zeros(3), 0.0
    for task in recipe.tasks:
        mine = metrics.own_rows(task, train_rows.labels(recipe))
        y = train_rows.labels(recipe)[task.label]
        x_valid, valid_rows = judged["validation"]
        labels = valid_rows.labels(recipe)
        theirs = metrics.own_rows(task, labels)
        started = time.monotonic()
        booster = _booster(task.loss == "mse", recipe.seed, options, threads)
        _fit(
            booster,
            (x[mine], y[mine]),
            (x_valid[theirs], labels[task.label][theirs]),
            names,
            categories,
        )
        fitting += time.monotonic() - started
        for split, (columns, _) in judged.items():
            predicted[split][task.name] = _answers(booster, columns)
        sums += _size(booster)
    result = facts(cell, time.monotonic() - began, peak_mb(), predicted, bench)
    trees, nodes, comparisons = (round(x) for x in sums)
    result |= {
        "params": nodes,
        "embedding_params": 0,
        "dense_params": nodes,
        "live_params": nodes,
        "flops": comparisons,
        "live_flops": comparisons,
        "examples_per_s": bench.rows / fitting,
        "trees": trees,
        "best_epoch": trees,
        "watched": training.watched(recipe, result["metrics"]["validation"]),
    }
    cell.store_predictions(predicted)
    cell.store(result)


def _booster(ratio: bool, seed: int, options: Mapping[str, Any], threads: int) -> Any:
    import lightgbm

    kind = lightgbm.LGBMRegressor if ratio else lightgbm.LGBMClassifier
    return kind(
        n_estimators=MAX_ROUNDS,
        subsample_freq=1,
        random_state=seed,
        n_jobs=threads or os.cpu_count(),
        deterministic=True,
        force_row_wise=True,
        verbose=-1,
        **options,
    )


def _fit(booster, train, valid, names: list[str], categories: list[int]) -> None:
    import lightgbm

    booster.fit(
        *train,
        eval_set=[valid],
        eval_metric="l2" if isinstance(booster, lightgbm.LGBMRegressor) else "auc",
        feature_name=names,
        categorical_feature=categories,
        callbacks=[lightgbm.early_stopping(PATIENCE, first_metric_only=True, verbose=False)],
    )


def _size(booster) -> np.ndarray:
    """Trees, their nodes, and the comparisons that a training row takes on average."""
    trees = booster.best_iteration_
    nodes = booster.booster_.trees_to_dataframe()
    nodes = nodes[nodes.tree_index < trees]
    leaves = nodes[nodes.left_child.isna()]
    depth = np.average(leaves.node_depth - 1, weights=np.maximum(leaves["count"], 1))
    return np.array([trees, len(nodes), trees * depth])


def _answers(booster, columns: np.ndarray) -> np.ndarray:
    if hasattr(booster, "predict_proba"):
        return booster.predict_proba(columns)[:, 1].astype(np.float32)
    return np.clip(booster.predict(columns), 0, 1).astype(np.float32)
