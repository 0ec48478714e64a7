"""What the devices that train together tell each other.

An exchange must have one shape on all devices, and in all steps of one compiled loop; but of an
embedding table, every batch has other rows. So before the first step of a call the workers tell
each other which rows its batches have (`occurring`, `agreed`), and in a step only that travels: of
a table the rows that occur on any device, of a kernel under tickets the connections that any task
kept (`summed`). Of a table that is cut among the workers (shards.py), they are also what everyone
is sent before a step (`fetched`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from ncs4cvr.models.shards import Layout, ShardedTable

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
        return tf.reshape(found, tf.shape(ids))

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
      index: of this worker.
    """

    rows: Rows
    index: int

    def taken(self, gradient: tf.IndexedSlices) -> tf.Tensor:
        """See Part."""
        places = self.rows.room * self.rows.layout.shards
        return tf.math.unsorted_segment_sum(gradient.values, gradient.indices, places)

    def put_back(self, total: tf.Tensor, like: tf.IndexedSlices) -> tf.IndexedSlices:
        """Of this worker's rows, by their number in its shard; see Part."""
        numbers, places = self.rows.of_shard(self.index)
        return tf.IndexedSlices(tf.gather(total, places), numbers)


class Step(NamedTuple):
    """What all devices know of a batch before they learn from it.

    Attributes:
      counts: of all workers' rows.
      parts: what of a variable's gradient travels, by the variable's `ref()`; all of others.
    """

    counts: tf.Tensor
    parts: Mapping[Any, Part]


class Codes(NamedTuple):
    """The rows of a table that occur in each step of a call, on any device.

    Attributes:
      steps, keys: of every row and step in which it occurs, one shard's after the other's: [codes].
      room: see Rows.
      table: which.
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


def occurring(ids: tf.Tensor, layout: Layout, step: int | tf.Tensor = 0) -> tf.Tensor:
    """What a worker tells the others of a batch, for one table: [rows that occur].

    Args:
      ids: of the rows that the batch looks up; any may occur several times.
      layout: of the table.
      step: of the batch in the call.

    Returns:
      step x layout.span + the row's key, of every row once.
    """
    keys = layout.keys(tf.cast(ids, tf.int64))
    return _once(keys, layout.span, layout) + tf.cast(step, tf.int64) * layout.span


def agreed(
    strategy: tf.distribute.Strategy,
    counts: tf.Tensor,
    codes: Sequence[tf.Tensor],
    layouts: Sequence[Layout],
    workers: int,
) -> tuple[tf.Tensor, list[tuple[tf.Tensor, tf.Tensor, tf.Tensor]]]:
    """What the batches of a call need, on all devices; all workers must call it.

    Args:
      strategy: in whose cross-replica context this is called.
      counts: of this worker's rows: [steps, ...]; as many steps as on the others.
      codes: `occurring` of every table, of all the batches in a row.
      layouts: of the tables.
      workers: how many.

    Returns:
      `counts` of an `Agreed`; `steps`, `keys` and `room` of the `Codes` of every table.
    """
    per_worker = strategy.num_replicas_in_sync // workers

    def tell(counts: tf.Tensor, *codes: tf.Tensor) -> list[tf.Tensor]:
        device = tf.distribute.get_replica_context()
        # One device a worker brings what it has. Without a step there still is something to send.
        one = tf.equal(device.replica_id_in_sync_group % per_worker, 0)
        own = [
            tf.pad(each, [[0, 1]], constant_values=-1)[
                : tf.where(one, tf.size(each) + 1, 0)
            ]
            for each in codes
        ]
        total = device.all_reduce("SUM", [tf.where(one, counts, 0.0), tf.zeros([1])])[0]
        return [total, *(device.all_gather(each, axis=0) for each in own)]

    if workers > 1:
        told = strategy.run(tell, (counts, *codes))
        counts, *codes = [strategy.experimental_local_results(each)[0] for each in told]
    steps = tf.shape(counts, tf.int64)[0]
    return counts, [_by_step(*each, steps) for each in zip(codes, layouts, strict=True)]


def _by_step(
    codes: tf.Tensor, layout: Layout, steps: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    codes = _once(codes, steps * layout.span, layout)
    step, key = codes // layout.span, codes % layout.span
    owner = key // layout.each
    if layout.span > COUNTED:
        order = tf.concat([tf.where(owner == i)[:, 0] for i in range(layout.shards)], 0)
        step, key, owner = (tf.gather(each, order) for each in (step, key, owner))
    slots = step * layout.shards + owner
    own = tf.math.unsorted_segment_sum(tf.ones_like(slots), slots, steps * layout.shards)
    room = tf.reduce_max(tf.pad(own, [[0, 1]], constant_values=1))  # an exchange of nothing crashes
    return step, key, tf.cast(room, tf.int32)


def _once(numbers: tf.Tensor, below: int | tf.Tensor, layout: Layout) -> tf.Tensor:
    """Every number >= 0 once; in order, if the table is small."""
    if layout.span <= COUNTED:
        times = tf.math.unsorted_segment_sum(tf.ones_like(numbers, tf.float32), numbers, below)
        return tf.where(times > 0)[:, 0]
    return tf.unique(tf.boolean_mask(numbers, numbers >= 0))[0]


def own_rows(batch: Mapping[str, tf.Tensor], workers: int = 1) -> dict[str, tf.Tensor]:
    """This device's part of its worker's rows; all of them where the worker has one device."""
    device = tf.distribute.get_replica_context()
    parts = device.num_replicas_in_sync // workers
    if parts == 1:
        return dict(batch)
    part = tf.cast(device.replica_id_in_sync_group, tf.int32) % parts
    return part_of(batch, part, parts)


def part_of(batch: Mapping[str, tf.Tensor], part, parts: int) -> dict[str, tf.Tensor]:
    """Rows n part / parts to n (part + 1) / parts of the batch's n; the parts make up the whole."""
    rows = tf.shape(next(iter(batch.values())))[0]
    first, last = rows * part // parts, rows * (part + 1) // parts
    return {name: values[first:last] for name, values in batch.items()}


def fetched(
    strategy: tf.distribute.Strategy, tables: Sequence[ShardedTable], step: Step
) -> list[Any]:
    """The rows that occur in a step, of tables that are cut among the workers.

    Args:
      strategy: in whose cross-replica context this is called.
      tables: which; none where there are none.
      step: what all workers know of it.

    Returns:
      Of every table what is at its `places` (see Rows), [shards x room, d], for `strategy.run`.
    """
    if not tables:
        return []

    def fetch() -> list[tf.Tensor]:
        device = tf.distribute.get_replica_context()
        return [device.all_gather(slot(table), axis=0) for table in tables]

    def slot(table: ShardedTable) -> tf.Tensor:
        part = step.parts[table.ref()]
        numbers, _ = part.rows.of_shard(part.index)
        own = tf.gather(table.own, numbers)
        return tf.pad(own, [[0, part.rows.room - tf.shape(own)[0]], [0, 0]])

    return list(strategy.run(fetch))


def summed(
    strategy: tf.distribute.Strategy, values: Sequence[Any], parts: Sequence[Part | None]
) -> Sequence[Any]:
    """The sums of tensors and gradients over all devices of all workers, in one ring.

    Args:
      strategy: in whose cross-replica context this is called.
      values: what its `run` returned, one a device each: float32 tensors, at least one, and
        IndexedSlices.
      parts: what of each travels; None for all. IndexedSlices have one.

    Returns:
      Their sums, for its `run`. Those of sparse gradients are IndexedSlices of rows that occur on
      any device, each once.
    """
    if strategy.num_replicas_in_sync == 1:
        return values
    return strategy.run(functools.partial(_exchanged, parts), values)


def _exchanged(parts: Sequence[Part | None], *values: Any) -> list[Any]:
    device = tf.distribute.get_replica_context()
    pairs = list(zip(values, parts, strict=True))
    sums = device.all_reduce("SUM", [p.taken(v) if p else v for v, p in pairs])
    return [
        part.put_back(total, value) if part else total
        for total, (value, part) in zip(sums, pairs, strict=True)
    ]
