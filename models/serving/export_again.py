"""`ncs4cvr export` calls this: a trained model once more, packed otherwise."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf
import tensorflow_transform as tft

from ncs4cvr.models.days import trained
from ncs4cvr.models.serving import recording
from ncs4cvr.models.serving.export import CHECKED_EXAMPLES, export


def export_again(
    model_run: str, run: str, folder: str, changes: Mapping[str, str], plain: bool
) -> None:
    """Writes the SavedModel, whole or not at all.

    Args:
      model_run: the Trainer's artifact.
      run: the artifacts of its run: there lies the transform graph that it was trained with.
      folder: to write to; must not exist.
      changes: of the recipe: weights, embeddings, compute.
      plain: see `export`.

    Raises:
      ValueError: the artifact is of another model or of an older version of the code.
      OSError: a file cannot be written.
    """
    graph = tft.TFTransformOutput(f"{run}/{trained.transform_graph_of(model_run)}")
    recipe = trained.recipe_of(model_run).replace(**changes)
    examples = recording.examples_of(model_run)[:CHECKED_EXAMPLES]
    model = trained.load(model_run, recipe, graph, examples[:1])
    new = Path(folder).with_name(f".{Path(folder).name}.new")
    shutil.rmtree(new, ignore_errors=True)  # of an export that was broken off
    try:
        export(model, graph, str(new), examples, plain)
        new.rename(folder)
    except tf.errors.OpError as error:  # TensorFlow's own word for a disk that is full
        raise OSError(error.message) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)  # there after a fault: it would fill the disk
