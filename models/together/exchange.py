"""What the devices that train together tell each other.

An exchange must have one shape on all devices, and in all steps of one compiled loop; but of an
embedding table, every batch has other rows. So before the first step of a call the workers tell
each other which rows its batches have (`occurring`, `agreed`), and in a step only that travels: of
a table the rows that occur on any device, of a kernel under tickets the connections that any task
kept (`summed`). Of a table that is cut among the workers (shards.py), they are also what everyone
is sent before a step (`fetched`).

A row has several numbers; of a table of 5 rows in 2 shards, in a call of 2 steps:

    id     of the row in the table                                      4
    key    shard x `each` (3) + row in the shard, below `span` (6)      2: shard 0, row 2 in it
    code   step x `span` + key: a row of a step                         8 in step 1
    place  where it travels: in its shard's slot, which has `room` for as many rows as any shard
           brings to any step; slots lie one after the other
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from ncs4cvr.models.together import parts
from ncs4cvr.models.together.parts import Part, Step
from ncs4cvr.models.together.shards import Layout, ShardedTable


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
            tf.pad(each, [[0, 1]], constant_values=-1)[: tf.where(one, tf.size(each) + 1, 0)]
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
    # Codes in order, as those of small tables are, have one shard's rows after the other's.
    if layout.span > parts.COUNTED:
        order = tf.concat([tf.where(owner == i)[:, 0] for i in range(layout.shards)], 0)
        step, key, owner = (tf.gather(each, order) for each in (step, key, owner))
    slots = step * layout.shards + owner
    own = tf.math.unsorted_segment_sum(tf.ones_like(slots), slots, steps * layout.shards)
    room = tf.reduce_max(tf.pad(own, [[0, 1]], constant_values=1))  # an exchange of nothing crashes
    return step, key, tf.cast(room, tf.int32)


def _once(numbers: tf.Tensor, below: int | tf.Tensor, layout: Layout) -> tf.Tensor:
    """Every number >= 0 once; in order, if the table is small."""
    if layout.span <= parts.COUNTED:
        times = tf.math.unsorted_segment_sum(tf.ones_like(numbers, tf.float32), numbers, below)
        return tf.where(times > 0)[:, 0]
    return tf.unique(tf.boolean_mask(numbers, numbers >= 0))[0]


def own_rows(batch: Mapping[str, tf.Tensor], workers: int = 1) -> dict[str, tf.Tensor]:
    """This device's part of its worker's rows; all of them where the worker has one device."""
    device = tf.distribute.get_replica_context()
    devices = device.num_replicas_in_sync // workers
    if devices == 1:
        return dict(batch)
    part = tf.cast(device.replica_id_in_sync_group, tf.int32) % devices
    return part_of(batch, part, devices)


def part_of(batch: Mapping[str, tf.Tensor], part, of: int) -> dict[str, tf.Tensor]:
    """Rows n part / of to n (part + 1) / of of the batch's n; the parts make up the whole."""
    rows = tf.shape(next(iter(batch.values())))[0]
    first, last = rows * part // of, rows * (part + 1) // of
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
        # A ring of mostly zeros: more bytes than a gathering's, but that waits for sizes first.
        return tf.distribute.get_replica_context().all_reduce("SUM", [placed(t) for t in tables])

    def placed(table: ShardedTable) -> tf.Tensor:
        """This worker's rows in its slot, zeros in those of others."""
        rows, shard = step.owned(table)
        numbers, _ = rows.of_shard(shard)
        own = tf.gather(table.own, numbers)
        before, places = rows.room * shard, rows.room * table.layout.shards
        return tf.pad(own, [[before, places - before - tf.shape(own)[0]], [0, 0]])

    return list(strategy.run(fetch))


def summed(
    strategy: tf.distribute.Strategy, values: Sequence[Any], kinds: Sequence[Part | None]
) -> Sequence[Any]:
    """The sums of tensors and gradients over all devices of all workers, in one ring.

    Args:
      strategy: in whose cross-replica context this is called.
      values: what its `run` returned, one a device each: float32 tensors, at least one, and
        IndexedSlices.
      kinds: what of each travels; None for all. IndexedSlices have one.

    Returns:
      Their sums, for its `run`. Those of sparse gradients are IndexedSlices of rows that occur on
      any device, each once.
    """
    if strategy.num_replicas_in_sync == 1:
        return values
    return strategy.run(functools.partial(_exchanged, kinds), values)


def _exchanged(kinds: Sequence[Part | None], *values: Any) -> list[Any]:
    device = tf.distribute.get_replica_context()
    pairs = list(zip(values, kinds, strict=True))
    sums = device.all_reduce("SUM", [p.taken(v) if p else v for v, p in pairs])
    return [
        part.put_back(total, value) if part else total
        for total, (value, part) in zip(sums, pairs, strict=True)
    ]
