"""Raw columns as a served model takes them: parsed from tf.Examples, or dense, one tensor each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from ncs4cvr.schemas.log import MISSING
from ncs4cvr.schemas.recipe import Recipe


def raw_spec(recipe: Recipe, transform_graph: tft.TFTransformOutput) -> dict[str, Any]:
    """How raw examples are parsed: the columns that features need, no labels."""
    spec = transform_graph.raw_feature_spec()
    return {f.column: spec[f.column] for f in recipe.features}


def dense_inputs(
    recipe: Recipe, spec: Mapping[str, Any], ranking: bool = False
) -> dict[str, tf.TensorSpec]:
    """The inputs of `predict`: [batch] or, for sequences, [batch, n]; see MISSING for gaps.

    For `rank` the batch of the columns that a request has once is 1.
    """
    inputs = {}
    for f in recipe.features:
        batch = 1 if ranking and recipe.per_request(f) else None
        shape = [batch, None] if f.kind == "sequence" else [batch]
        inputs[f.column] = tf.TensorSpec(shape, spec[f.column].dtype, f.column)
    return inputs


def any_batch(spec) -> tf.TypeSpec:
    """What parse_example gives for a column."""
    if isinstance(spec, tf.io.FixedLenFeature):
        return tf.TensorSpec([None, *spec.shape], spec.dtype)
    return tf.SparseTensorSpec([None, None], spec.dtype)


def as_many_rows(columns: Mapping[str, tf.Tensor]) -> tf.Operation:
    """Fails where dense columns differ in their rows: sums and products would repeat a lone one."""
    names = sorted(columns)
    inputs = [columns[name] for name in names]
    counts = tf.stack([tf.shape(x)[0] if x.shape.rank > 1 else tf.size(x) for x in inputs])
    told = f"ncs4cvr: a request has as many rows in every column; rows of {', '.join(names)}:"
    return tf.debugging.Assert(
        tf.reduce_all(counts == counts[0]), [told, counts], summarize=len(names)
    )


def as_parsed(spec, x: tf.Tensor):
    """A dense column as parse_example would give it: missing entries left out where sparse."""
    if isinstance(spec, tf.io.FixedLenFeature):
        return tf.reshape(x, [-1, *spec.shape])
    x = tf.reshape(x, [tf.shape(x)[0], -1])
    if x.dtype == tf.string:
        present = x != MISSING["string"]
    elif x.dtype == tf.int64:
        present = x != tf.constant(MISSING["int"], tf.int64)
    else:
        present = ~tf.math.is_nan(x)
    where = tf.where(present)
    return tf.SparseTensor(where, tf.gather_nd(x, where), tf.shape(x, tf.int64))
