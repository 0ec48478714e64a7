"""Everything below the shared dense layers: embeddings, interests, interaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf

from ncs4cvr.models.layers.embeddings import FieldEmbedding, Lookup
from ncs4cvr.models.layers.interactions import INTERACTIONS
from ncs4cvr.models.layers.interests import MeanInterests
from ncs4cvr.models.together.workers import Workers
from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.recipe import Recipe


class Trunk(tf.keras.layers.Layer):
    """Everything below the shared dense layers: embeddings, interests, interaction.

    Args:
      recipe: its features and the interaction.
      sizes: ids per vocabulary, padding included.
      name: of the layer.
      workers: see FieldEmbedding.

    Raises:
      ValueError: a sequence that no layer reads, or a history without its actions.
    """

    def __init__(
        self, recipe: Recipe, sizes: Mapping[str, int], name: str, workers: Workers | None = None
    ):
        super().__init__(name=name)
        self.history = {f.column: f for f in recipe.features if f.kind == "sequence"}
        _check_history(self.history)
        self.embedding = FieldEmbedding(recipe.features, sizes, recipe.embedding_dim, workers)
        self.interests = MeanInterests()
        self.interaction = INTERACTIONS[recipe.interaction]()

    def build(self, _):
        """Makes the embedding's variables: it is called by its methods, not as a layer."""
        self.embedding.build(None)

    @property
    def fields(self) -> list[Feature]:
        """The feature of every field; a history's interests carry that of its videos."""
        interests = [self.history["history_video"]] * self.interests.FIELDS if self.history else []
        return [*self.embedding.order, *interests]

    def call(self, inputs: Mapping[str, tf.Tensor], training: bool = False):
        """Transformed features -> [batch, inputs of the dense layers]."""
        return self.interaction(self.vectors(inputs, self.fields))

    def ids(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """The rows of the embedding table that `call` looks up, as often as it does: [any]."""
        found = []

        def lookup(ids: tf.Tensor) -> tf.Tensor:
            found.append(tf.reshape(ids, [-1]))
            return tf.zeros([*tf.unstack(tf.shape(ids)), self.embedding.dim])

        self.vectors(inputs, self.fields, lookup)
        return tf.concat(found, 0) if found else tf.zeros([0], tf.int64)

    def vectors(
        self,
        inputs: Mapping[str, tf.Tensor],
        chosen: Sequence[Feature],
        lookup: Lookup | None = None,
    ) -> tf.Tensor:
        """The fields of some features, in the order of all: [batch, fields, d].

        Args:
          inputs: transformed features.
          chosen: whose fields, at least one.
          lookup: what finds embedding rows where the table lies elsewhere.
        """
        parts = []
        if any(f in chosen for f in self.embedding.order):
            parts.append(self.embedding.vectors(inputs, chosen, lookup))
        if self.history and self.history["history_video"] in chosen:
            video = self.history["history_video"]
            vectors, present = self.embedding.sequence(video, inputs[video.name], lookup)
            action = inputs[self.history["history_action"].name]
            engaged = tf.cast(action > 1, tf.float32)  # 0 padding, 1 no action
            parts.append(self.interests(vectors, present, engaged))
        return tf.concat(parts, axis=1)


def _check_history(sequences: Mapping[str, Feature]) -> None:
    if not sequences:
        return
    action = sequences.get("history_action")
    if sorted(sequences) != ["history_action", "history_video"] or not action or not action.bins:
        raise ValueError(
            "a history is the sequences history_video and history_action (the latter with bins), "
            f"got {sorted(sequences)}; no layer reads others"
        )
