"""A trained ranker on disk, to be exported again or trained on."""

from __future__ import annotations

import re
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_transform as tft

from ncs4cvr.models.learning import npz
from ncs4cvr.models.learning.ranker import Ranker
from ncs4cvr.models.preprocessing import vocabulary_sizes
from ncs4cvr.models.pruning import starts
from ncs4cvr.schemas.recipe import Recipe

RECIPE, WEIGHTS, GRAPH = "recipe.json", "weights.npz", "transform_graph.txt"


def save(model: Ranker, transform_graph: str, folder: str) -> None:
    """Writes the recipe and all weights, masks included; a bucket will do.

    Args:
      model: a trained ranker.
      transform_graph: URI of the artifact that it was trained with; noted without what lies above
        the folders component/output/number, as runs may be moved.
      folder: to write to.
    """
    weights = ((f"{i:03d}", w.numpy()) for i, w in enumerate(model.weights))
    npz.write(f"{folder}/{WEIGHTS}", weights)
    for name, content in (
        (RECIPE, model.recipe.to_json()),
        (GRAPH, "/".join(transform_graph.rstrip("/").split("/")[-3:])),
    ):
        with tf.io.gfile.GFile(f"{folder}/{name}", "w") as out:
            out.write(content)


def recipe_of(folder: str) -> Recipe:
    """What the model in a folder was trained by: the recipe without gates and files."""
    with tf.io.gfile.GFile(f"{folder}/{RECIPE}") as text:
        return Recipe.from_json(text.read())


def transform_graph_of(folder: str) -> str:
    """Where the transform graph lies, below the artifacts of the run.

    Raises:
      ValueError: what is written there leads elsewhere.
    """
    with tf.io.gfile.GFile(f"{folder}/{GRAPH}") as text:
        found = text.read()
    if not re.fullmatch(r"\w+/\w+/\d+", found):
        raise ValueError(
            f"{folder}/{GRAPH} holds {found!r}, expected <component>/<output>/<number>; do "
            "`ncs4cvr run` again"
        )
    return found


def load(
    folder: str,
    recipe: Recipe,
    transform_graph: tft.TFTransformOutput,
    raw_examples: Sequence[bytes],
) -> Ranker:
    """The ranker that `save` wrote, under a recipe that may differ in how it is exported.

    Args:
      folder: where it was saved.
      recipe: see `recipe_of`.
      transform_graph: the one that it was trained with.
      raw_examples: serialized tf.Examples, at least one: layers are built by what they are given.

    Raises:
      ValueError: the weights in the folder are of another model.
    """
    rows = tf.io.parse_example(raw_examples, transform_graph.raw_feature_spec())
    batch = transform_graph.transform_features_layer()(rows)
    sizes = vocabulary_sizes(recipe, transform_graph)
    model = starts.build(recipe, sizes, batch, learns=False)
    values = weights(folder)
    expected, got = [tuple(w.shape) for w in model.weights], [w.shape for w in values]
    if expected != got:
        raise ValueError(
            f"{folder} holds weights of shapes {got}, expected {expected}: the code has changed "
            "since; do `ncs4cvr run` again"
        )
    for variable, value in zip(model.weights, values, strict=True):
        variable.assign(value)
    return model


def weights(folder: str) -> npz.Stored:
    """All weights in a folder, masks included, in the model's order."""
    return npz.Stored(f"{folder}/{WEIGHTS}")
