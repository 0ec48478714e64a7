# No `from __future__ import annotations` here: TFX's @component reads the annotations as objects.
"""ModelGate: may this model be pushed, and why?"""

import json
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import io_utils, path_utils

from ncs4cvr.components.artifacts import MODEL_ID

FILE = "verdict.json"
BATCH_ROWS = 4096
MISSING = "missing"  # the slice of rows without a value
DTYPES = {schema_pb2.INT: tf.int64, schema_pb2.FLOAT: tf.float32, schema_pb2.BYTES: tf.string}


@component
def ModelGate(
    examples: InputArtifact[standard_artifacts.Examples],
    schema: InputArtifact[standard_artifacts.Schema],
    model: InputArtifact[standard_artifacts.Model],
    evaluated: InputArtifact[standard_artifacts.ModelBlessing],
    blessing: OutputArtifact[standard_artifacts.ModelBlessing],
    split: Parameter[str],
    recipe: Parameter[str],
    code_version: Parameter[str],
    baseline: InputArtifact[standard_artifacts.Model] = None,
):
    """Blesses a model that keeps the recipe's gates on a split, and says why or why not.

    Scores the split's rows with the exported model and, where there is one, with the last blessed
    model. Intervals are of 95 %, from a bootstrap over users (models/evaluation/intervals.py).
    `blessing` gets `verdict.json`; what cannot be known is null:

      verdict: `blessed`; `first model`: blessed, but there was nothing to compare it with;
        `not blessed`; `too few to judge`: no gate failed, but one had too few rows of a class.
      blessed: whether it may be pushed. why: the verdict in one line. reasons: a line for
        everything that did not hold.
      compared: whether it was compared with the last blessed model. Where that reads columns which
        this one does not, or of another type, it cannot be: `why` names them. split, rows, users:
        what it was judged on. replicates, level: of the intervals.
      outputs: output ->
        label, given: the label, and the label without which a row does not count. metric: `auc`, or
          `mse` for a ratio. rows, positives, share: of the rows that count; share = mean label.
        value, interval [low, high]: the metric. before: null without a blessed model, else its
          value on the same rows, the difference (value - before's value) and its interval, paired.
        gauc, gauc_before: the mean of every user's own AUC, weighted by rows.
        calibration: predicted and observed, the means; ratio = predicted / observed.
        deciles: ten parts of the rows, by prediction: rows, predicted, observed.
        slices: column, slice (the column's value), and rows, positives, value, interval and before
          as above; where a gate holds it to something, allowed: the smallest value, and holds.
      gates: the recipe's: metric, at_least, at_most, worse_by, confidence, slice_worse_by, slices,
        min_positives (ncs4cvr.schemas.tasks.Gate), holds, and why: what was wrong, a line each.

    Args:
      examples: of which the split is read, before Transform.
      schema: the types of their columns.
      model: the Trainer's.
      evaluated: the Evaluator's blessing; a model that it did not bless is not blessed here.
      blessing: `blessed` 1 or 0, and the model's id.
      split: the split to judge on.
      recipe: as JSON: outputs, gates, slices.
      code_version: of this gate, for TFX's cache.
      baseline: the last blessed model.

    Raises:
      ValueError: a column that is needed is not in the schema.
    """
    from ncs4cvr.models.evaluation.verdict import NOT_BLESSED, verdict
    from ncs4cvr.schemas.recipe import Recipe

    parsed = Recipe.from_json(recipe)
    files = sorted(fileio.glob(f"{artifact_utils.get_split_uri([examples], split)}/*"))
    expected = io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(schema.uri))
    models, alone = [_loaded(model.uri)], ""
    if baseline is not None:
        last = _loaded(baseline.uri)
        alone = _not_comparable(_columns(models[0]), _columns(last))
        models += [] if alone else [last]
    rows, (scores, *before) = scored(parsed, files, expected, [_answer(m) for m in models])
    found = verdict(parsed, rows, scores, before[0] if before else None, alone)
    found = {"split": split, **found}
    # Without a threshold the Evaluator judges nothing, and names no model.
    judged = evaluated.get_int_custom_property(MODEL_ID)
    if found["blessed"] and judged and not evaluated.get_int_custom_property("blessed"):
        why = "the Evaluator did not bless it: its evaluation says which threshold it missed"
        found |= {"verdict": NOT_BLESSED, "blessed": False, "reasons": [why]}
        found["why"] = f"{NOT_BLESSED}: {why}"
    io_utils.write_string_file(f"{blessing.uri}/{FILE}", json.dumps(found, indent=1) + "\n")
    blessing.set_int_custom_property(MODEL_ID, model.id)
    blessing.set_int_custom_property("blessed", int(found["blessed"]))


def scored(recipe: Any, files: list[str], schema: schema_pb2.Schema, signatures: list) -> tuple:
    """The rows of some files of examples (models.verdict.Rows), and each model's scores of them.

    Args:
      recipe: names the labels, the user and the slices.
      files: gzip TFRecords of tf.Examples.
      schema: the types of their columns.
      signatures: `serving_default` of each model.

    Returns:
      rows, and per model output -> [rows].
    """
    from ncs4cvr.models.evaluation.verdict import Rows

    labels = {output.label for output in recipe.outputs}
    labels |= {task.given for task in recipe.tasks if task.given}
    spec = _spec(schema, sorted({*labels, recipe.log.user, *recipe.slices}))
    columns: dict[str, list[np.ndarray]] = {name: [] for name in spec}
    words = {recipe.log.user, *recipe.slices}  # made text batch by batch, with gaps or without
    scores: list[dict[str, list[np.ndarray]]] = [{} for _ in signatures]
    for batch in tf.data.TFRecordDataset(files, "GZIP").batch(BATCH_ROWS):
        for name, values in tf.io.parse_example(batch, spec).items():
            first = _first(values)
            columns[name].append(first.astype(str) if name in words else first)
        for answers, signature in zip(scores, signatures, strict=True):
            for name, values in signature(batch).items():
                answers.setdefault(name, []).append(values.numpy())
    found = {name: np.concatenate(parts) for name, parts in columns.items()}
    rows = Rows(
        {name: found[name].astype(np.float32) for name in labels},
        np.unique(found[recipe.log.user], return_inverse=True)[1],
        {name: found[name] for name in recipe.slices},
    )
    return rows, [{k: np.concatenate(v) for k, v in each.items()} for each in scores]


def _loaded(uri: str) -> Any:
    return tf.saved_model.load(path_utils.serving_model_path(uri))


def _answer(model: Any) -> Any:
    """Serialized examples -> {output: [rows]}. It holds the model, which a signature does not."""
    (name,) = model.signatures["serving_default"].structured_input_signature[1]
    return lambda batch: model.signatures["serving_default"](**{name: batch})


def _columns(model: Any) -> dict[str, str]:
    """Column -> type of what a model reads."""
    given = model.signatures["predict"].structured_input_signature[1]
    return {name: spec.dtype.name for name, spec in given.items()}


def _not_comparable(now: dict[str, str], before: dict[str, str]) -> str:
    """Why the last blessed model cannot score the rows of this one; "" where it can."""
    if lost := sorted(set(before) - set(now)):
        return f"the last blessed model reads {', '.join(map(repr, lost))}, which this one does not"
    for name, kind in sorted(before.items()):
        if now[name] != kind:
            return f"the last blessed model reads {name!r} as {kind}, this one as {now[name]}"
    return ""


def _spec(schema: schema_pb2.Schema, names: list[str]) -> dict[str, tf.io.VarLenFeature]:
    types = {feature.name: feature.type for feature in schema.feature}
    if lost := [name for name in names if name not in types]:
        raise ValueError(
            f"the examples have no column {lost[0]!r}, which a label, the user or a slice of the "
            f"recipe names; they have {sorted(types)}"
        )
    return {name: tf.io.VarLenFeature(DTYPES[types[name]]) for name in names}


def _first(column: tf.SparseTensor) -> np.ndarray:
    """The first value of each row as [rows]; where a row has none, as text, with MISSING there."""
    rows, positions = column.indices.numpy().T
    values = column.values.numpy()[positions == 0]
    if values.dtype == object:
        values = np.array([value.decode() for value in values], object)
    if len(values) == column.dense_shape[0]:
        return values
    out = np.full(int(column.dense_shape[0]), MISSING, object)
    out[rows[positions == 0]] = values.astype(str)  # as in a batch without gaps
    return out
