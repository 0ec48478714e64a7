"""Requests with the trainer's own answers: what ServingCheck holds an exported model to."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from ncs4cvr.models.evaluation.metrics import outputs_of, own_rows
from ncs4cvr.models.learning.ranker import Ranker

FILE = "recorded.npz"
ROWS = 20_000  # at most: of so many, an AUC says whether .0003 were lost
BATCH_ROWS = 4096


def record(
    model: Ranker, transform_graph: tft.TFTransformOutput, examples: Sequence[bytes], path: str
) -> None:
    """Writes raw examples with what the trained model says of them, and their labels.

    Args:
      model: as it was trained, before any export.
      transform_graph: turns raw columns into the ranker's features.
      examples: serialized tf.Examples before Transform, labels included.
      path: of the file to write.
    """
    recipe, transform = model.recipe, transform_graph.transform_features_layer()
    answers: dict[str, list[np.ndarray]] = {task.name: [] for task in recipe.tasks}
    found: dict[str, list[np.ndarray]] = {output.label: [] for output in recipe.outputs}
    found.update({task.given: [] for task in recipe.tasks if task.given})
    for first in range(0, len(examples), BATCH_ROWS):
        rows = tf.io.parse_example(
            examples[first : first + BATCH_ROWS], transform_graph.raw_feature_spec()
        )
        columns = transform(rows)
        for name, values in model(columns, training=False).items():
            answers[name].append(values.numpy())
        for name, parts in found.items():
            parts.append(columns[name].numpy().astype(np.float32))
    predictions = outputs_of(recipe, {name: np.concatenate(p) for name, p in answers.items()})
    labels = {name: np.concatenate(parts) for name, parts in found.items()}
    save(
        path,
        examples,
        predictions,
        {o.name: np.where(own_rows(o, labels), labels[o.label], np.nan) for o in recipe.outputs},
    )


def save(
    path: str,
    examples: Sequence[bytes],
    predictions: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
) -> None:
    """The file: what `numpy.load` gives, without pickles.

    Arrays: `examples`, uint8: all serialized tf.Examples in a row; `ends`, int64 [rows]: where each
    ends; `prediction/<output>`, float32 [rows]; `label/<output>`, float32 [rows], NaN where a row
    says nothing about the output (a post-click task's rows without a click).
    """
    arrays: dict[str, Any] = {
        # Not numpy's own bytes type: it drops the zeros that a message ends with.
        "examples": np.frombuffer(b"".join(examples), np.uint8),
        "ends": np.cumsum([len(example) for example in examples], dtype=np.int64),
        **{f"prediction/{name}": p.astype(np.float32) for name, p in predictions.items()},
        **{f"label/{name}": label.astype(np.float32) for name, label in labels.items()},
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    with tf.io.gfile.GFile(path, "wb") as out:
        out.write(buffer.getvalue())


def examples_of(folder: str) -> list[bytes]:
    """The serialized examples that were recorded in a folder."""
    with tf.io.gfile.GFile(f"{folder}/{FILE}", "rb") as stream:
        arrays = np.load(io.BytesIO(stream.read()), allow_pickle=False)
        text, ends = arrays["examples"].tobytes(), arrays["ends"].tolist()
    return [text[first:end] for first, end in zip([0, *ends], ends, strict=False)]
