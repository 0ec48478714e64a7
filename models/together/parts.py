"""What of a model the devices that train it together tell each other in a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, cast

import tensorflow as tf

from ncs4cvr.models.together.shards import Layout, ShardedTable

COUNTED = 1 << 18  # ids below this are told apart in a table of them all, others by hashing


class Part(Protocol):
    """What of a variable's gradient can be other than 0 in a step, on any device."""

    def taken(self, gradient: Any) -> tf.Tensor:
        """Of a device's gradient what travels, of one shape in all steps of a call."""

    def put_back(self, total: tf.Tensor, like: Any) -> Any:
        """The sum as a gradient, from what travelled and a device's own gradient."""


class Kept(NamedTuple):
    """Of a kernel under tickets, the connections that a task kept.

    Attributes:
      places: theirs in the kernel when flat.
    """

    places: tf.Tensor

    def taken(self, gradient: tf.Tensor) -> tf.Tensor:
        """See Part."""
        flat = tf.reshape(gradient, [-1])
        return tf.cond(self._all(flat), lambda: flat, lambda: tf.gather(flat, self.places))

    def put_back(self, total: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
        """See Part."""
        size = like.shape.num_elements()
        # Six times as fast as scatter_nd.
        spread = lambda: tf.math.unsorted_segment_sum(total, self.places, size)  # noqa: E731
        return tf.reshape(tf.cond(self._all(like), lambda: total, spread), like.shape)

    def _all(self, gradient: tf.Tensor) -> tf.Tensor:
        return tf.equal(tf.size(self.places), gradient.shape.num_elements())


def of_ticket(mask: tf.Tensor) -> Kept:
    """Of a kernel, the connections where the mask is not 0."""
    return Kept(tf.cast(tf.where(tf.reshape(mask, [-1]) > 0)[:, 0], tf.int32))


class Rows(NamedTuple):
    """The rows of an embedding table that occur in a step, on any device.

    They lie in slots, one for each shard of the table, with room for the shard's rows. A table that
    everyone has whole is one shard.

    Attributes:
      keys: of the rows (see Layout), each once, one shard's after the other's: [rows].
      room: of a slot; the same in all steps of a call.
      layout: of the table.
    """

    keys: tf.Tensor
    room: tf.Tensor
    layout: Layout

    def places(self) -> tf.Tensor:
        """Of every row in the slots: [rows]."""
        owner = self.keys // self.layout.each
        rank = tf.range(tf.size(owner, tf.int64)) - tf.gather(self._firsts(), owner)
        return owner * self._room + rank

    def places_of(self, ids: tf.Tensor) -> tf.Tensor:
        """Where in the slots the row of every id lies; the ids occur."""
        keys, places = tf.reshape(self.layout.keys(ids), [-1]), self.places()
        if self.layout.span <= COUNTED:
            found = tf.gather(
                tf.math.unsorted_segment_sum(places, self.keys, self.layout.span), keys
            )
        else:  # the rows come first and are all different, so that a key's number is its row's
            _, number = tf.unique(tf.concat([self.keys, keys], 0), out_idx=tf.int64)
            found = tf.gather(places, number[tf.size(self.keys) :])
        return tf.ensure_shape(tf.reshape(found, tf.shape(ids)), ids.shape)

    def of_shard(self, index: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Rows of one shard that occur, by their number in it, and their places in the slots."""
        first, end = tf.unstack(self._firsts()[index : index + 2])
        begin = index * self._room
        return self.keys[first:end] - index * self.layout.each, tf.range(begin, begin + end - first)

    def taken(self, gradient: tf.IndexedSlices) -> tf.Tensor:
        """Of a whole table's gradient; see Part."""
        if self.layout.span > COUNTED:
            places = self.places_of(gradient.indices)
            return tf.math.unsorted_segment_sum(gradient.values, places, self.room)
        every = tf.math.unsorted_segment_sum(gradient.values, gradient.indices, self.layout.span)
        taken = tf.gather(every, self.keys)
        return tf.pad(taken, [[0, self.room - tf.shape(taken)[0]], [0, 0]])

    def put_back(self, total: tf.Tensor, like: tf.IndexedSlices) -> tf.IndexedSlices:
        """Of a whole table's gradient; see Part."""
        rows = tf.cast(self.keys, like.indices.dtype)
        return tf.IndexedSlices(total[: tf.shape(rows)[0]], rows, like.dense_shape)

    def _firsts(self) -> tf.Tensor:
        """Which of `keys` is each shard's first, and their number: [shards + 1]."""
        shards = self.layout.shards
        own = tf.math.unsorted_segment_sum(
            tf.ones_like(self.keys), self.keys // self.layout.each, shards
        )
        return tf.pad(tf.cumsum(own), [[1, 0]])

    @property
    def _room(self) -> tf.Tensor:
        return tf.cast(self.room, tf.int64)


class Owned(NamedTuple):
    """The rows of a table that is cut among the workers; see Rows.

    Its gradient is that of what `fetched` gave.

    Attributes:
      rows: of all workers.
      shard: this worker's.
    """

    rows: Rows
    shard: int

    def taken(self, gradient: tf.IndexedSlices) -> tf.Tensor:
        """See Part."""
        places = self.rows.room * self.rows.layout.shards
        return tf.math.unsorted_segment_sum(gradient.values, gradient.indices, places)

    def put_back(self, total: tf.Tensor, like: tf.IndexedSlices) -> tf.IndexedSlices:
        """Of this worker's rows, by their number in its shard; see Part."""
        numbers, places = self.rows.of_shard(self.shard)
        return tf.IndexedSlices(tf.gather(total, places), numbers)


class Step(NamedTuple):
    """What all devices know of a batch before they learn from it.

    Attributes:
      counts: of all workers' rows.
      parts: what of a variable's gradient travels, by the variable's `ref()`; all of others.
    """

    counts: tf.Tensor
    parts: Mapping[Any, Part]

    def owned(self, table: ShardedTable) -> Owned:
        """Of a table that is cut among the workers."""
        return cast(Owned, self.parts[table.ref()])


class Codes(NamedTuple):
    """The rows of a table that occur in each step of a call, on any device.

    Attributes:
      steps, keys: of every row and step in which it occurs, one shard's after the other's: [codes].
      room: see Rows.
      table, layout: which, and how its rows lie.
    """

    steps: tf.Tensor
    keys: tf.Tensor
    room: tf.Tensor
    table: Any
    layout: Layout

    def step(self, number: int | tf.Tensor) -> Part:
        """Of one batch."""
        keys = tf.boolean_mask(self.keys, self.steps == tf.cast(number, tf.int64))
        rows = Rows(keys, self.room, self.layout)
        sharded = isinstance(self.table, ShardedTable)
        return Owned(rows, self.table.index) if sharded else rows


class Agreed(NamedTuple):
    """What all devices know of the batches of a call before they learn from the first.

    Attributes:
      counts: of all workers' rows: [steps, ...].
      tables: of every embedding table which rows occur, by its `ref()`.
      kernels: the same in all steps.
    """

    counts: tf.Tensor
    tables: Mapping[Any, Codes]
    kernels: Mapping[Any, Part]

    def step(self, number: int | tf.Tensor) -> Step:
        """Of one batch."""
        tables = {ref: codes.step(number) for ref, codes in self.tables.items()}
        return Step(self.counts[number], {**self.kernels, **tables})
