"""Transformed features -> field vectors [batch, fields, d], from one embedding table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from ncs4cvr.models.together.shards import Layout, ShardedTable, put
from ncs4cvr.models.together.workers import Workers, alone
from ncs4cvr.schemas.features import Feature

Lookup = Callable[[tf.Tensor], tf.Tensor]  # ids [...] -> rows of the table [..., d]
BLOCK = 1 << 18  # rows of a table that are drawn at once
PADDING = 0  # id of a missing value and of padding; in tags and sequences it counts for nothing


class FieldEmbedding(tf.keras.layers.Layer):
    """One vector a field, all vocabularies stacked in one table so that a batch is one lookup.

    category, index, hour, weekday, number with bins   the row of its id, also of a missing value
    tags                                               the mean of its ids' rows, padding excluded
    number without bins                                the scaled number times a learned vector
    Sequences are looked up here too but pooled by an interests layer: see `sequence`.

    Args:
      features: the recipe's rows.
      sizes: ids per vocabulary, padding included.
      dim: d.
      workers: among whom the table is cut; everyone has it whole if not given.
    """

    def __init__(
        self,
        features: Sequence[Feature],
        sizes: Mapping[str, int],
        dim: int,
        workers: Workers | None = None,
    ):
        super().__init__(name="field_embedding")
        self.dim, self.workers = dim, workers or alone()
        self.ids = [f for f in features if f.kind not in ("tags", "sequence") and not _plain(f)]
        self.tags = [f for f in features if f.kind == "tags"]
        self.plain = [f for f in features if _plain(f)]
        #: A field each, in the order of the fields.
        self.order = [*self.ids, *self.tags, *self.plain]
        used = dict.fromkeys(f.vocabulary for f in features if not _plain(f))
        starts, total = {}, 0
        for vocabulary in used:
            starts[vocabulary] = total
            total += sizes[vocabulary]
        self.starts, self.rows = starts, total
        self.sizes = {vocabulary: sizes[vocabulary] for vocabulary in used}
        self.layout = Layout(total, self.workers.count)

    def build(self, _):
        """Adds the table and the vectors of plain numbers."""
        if self.layout.shards > 1:
            fresh = self._drawn(self.rows)
            self.table = ShardedTable(self.layout, self.dim, self.workers, fresh, "table")
        else:
            self.table = self._add_vectors("table", self.rows)
        self.scales = self._add_vectors("scales", len(self.plain))
        self.built = True

    @property
    def trainable_weights(self) -> list:
        """The table first, cut among workers or whole."""
        return [self.table, self.scales] if self.built else []

    def _add_vectors(self, name: str, count: int) -> tf.Variable:
        blocks, shape = self._drawn(count), (count, self.dim)
        if count <= BLOCK:
            block = next(blocks)
            return self.add_weight(name, shape, initializer=lambda *_, **__: block)
        variable, first = self.add_weight(name, shape, initializer="zeros"), 0
        for block in blocks:
            rows = np.arange(block.shape[0])
            put(variable, first + rows, block.numpy(), rows)
            first += len(rows)
        return variable

    def _drawn(self, count: int) -> Iterator[tf.Tensor]:
        """So many random vectors, in blocks: nobody needs to hold them all."""
        # An initializer of its own: one that is used twice gives the same numbers twice.
        init = tf.keras.initializers.RandomNormal(stddev=self.dim**-0.5 * 0.1)
        yield init((min(count, BLOCK), self.dim))
        for first in range(BLOCK, count, BLOCK):
            part = (min(count - first, BLOCK), self.dim)
            yield init((count, self.dim), partition_shape=part, partition_offset=(first, 0))

    def call(self, inputs: Mapping[str, tf.Tensor]):
        """Returns [batch, fields, d]; fields in the order ids, tags, plain numbers."""
        return self.vectors(inputs, self.order)

    def lookup(self, ids: tf.Tensor) -> tf.Tensor:
        """ids [...] -> rows of the table [..., d]."""
        if isinstance(self.table, ShardedTable):
            return self.table.lookup(ids)
        return tf.gather(here(self.table), ids)

    def vectors(
        self,
        inputs: Mapping[str, tf.Tensor],
        chosen: Sequence[Feature],
        lookup: Lookup | None = None,
    ) -> tf.Tensor:
        """The fields of some features, in the order of all: [batch, chosen, d].

        Args:
          inputs: transformed features.
          chosen: of `order`, at least one.
          lookup: what finds rows where the table lies elsewhere.
        """
        lookup = lookup or self.lookup
        fields = []
        if ids := [f for f in self.ids if f in chosen]:
            starts = tf.constant([self.starts[f.vocabulary] for f in ids], tf.int64)
            stacked = tf.stack([tf.reshape(inputs[f.name], [-1]) for f in ids], axis=1)
            fields.append(lookup(stacked + starts))
        for f in self.tags:
            if f not in chosen:
                continue
            vectors, weight = self.sequence(f, inputs[f.name], lookup)
            mean = tf.math.divide_no_nan(
                tf.reduce_sum(vectors * weight[..., None], 1), tf.reduce_sum(weight, 1)[:, None]
            )
            fields.append(mean[:, None, :])
        if plain := [f for f in self.plain if f in chosen]:
            numbers = tf.stack([tf.reshape(inputs[f.name], [-1]) for f in plain], axis=1)
            scales = self.scales
            if len(plain) < len(self.plain):
                scales = tf.gather(scales, [self.plain.index(f) for f in plain])
            fields.append(numbers[..., None] * scales)
        return tf.concat(fields, axis=1)

    def sequence(self, feature: Feature, ids: tf.Tensor, lookup: Lookup | None = None):
        """ids [batch, n] -> vectors [batch, n, d] and 1 where an id is, 0 where padding is."""
        vectors = (lookup or self.lookup)(ids + self.starts[feature.vocabulary])
        return vectors, tf.cast(ids != PADDING, tf.float32)


def here(variable: tf.Variable) -> tf.Variable:
    """This device's copy of a variable that several devices have.

    tf.gather reads only the rows that it needs of that, but all rows of what holds the copies.
    """
    copies = tf.distribute.get_strategy().experimental_local_results(variable)
    if len(copies) == 1 or tf.distribute.in_cross_replica_context():
        return copies[0]
    return next(copy for copy in copies if copy.handle is variable.handle)


def _plain(feature: Feature) -> bool:
    return feature.kind == "number" and not feature.bins
