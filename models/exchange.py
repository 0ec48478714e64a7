"""What the devices that train together tell each other in a step.

Everything that travels has a shape which all devices agree on and which stays the same from step to
step, so that several steps can run in one compiled loop: there TensorFlow takes the shape of an
exchange from its first turn. Rows of embedding tables, of which every batch has another number,
travel in slots: see `summed`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

SMALLEST_ROOM = 1024  # rows a device; less would save nothing that can be measured
HALF = 1 << 16  # a row's number travels as two floats, which hold whole numbers below 2^24 exactly


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


def summed(strategy: tf.distribute.Strategy, values: Sequence[Any]) -> Sequence[Any]:
    """The sums of tensors and gradients over all devices of all workers, in one exchange.

    Of sparse gradients (IndexedSlices) only rows that occur travel, each once a device. Every
    device has a slot of so many rows, and all have the same room: the least of `rooms` that holds
    the rows of each. Which one that is they tell each other before, while gradients are made.

    Args:
      strategy: in whose cross-replica context this is called.
      values: what its `run` returned, one a device each: float32 tensors and IndexedSlices.

    Returns:
      Their sums, for its `run`. In those of sparse gradients a row occurs once for each device that
      had it.
    """
    if strategy.num_replicas_in_sync == 1:
        return values
    once = strategy.run(_rows_once, values)
    first = [strategy.experimental_local_results(value)[0] for value in once]
    tables = [_table_rows(value) for value in first if isinstance(value, tf.IndexedSlices)]
    if not tables:
        return strategy.run(_slots_summed, once, {"room": 0})
    choice = rooms(max(tables))
    most = strategy.experimental_local_results(strategy.run(_most_rows, once))[0]
    which = tf.math.count_nonzero(most > tf.constant(choice, tf.float32), dtype=tf.int32)
    # TensorFlow wants this outside of `run`.
    return tf.switch_case(
        which, [functools.partial(strategy.run, _slots_summed, once, {"room": r}) for r in choice]
    )


def rooms(most: int) -> list[int]:
    """Rows that a slot may hold: few sizes, each twice the one before; the last holds `most`.

    >>> rooms(5000), rooms(7)
    ([1024, 2048, 4096, 5000], [7])
    """
    sizes = []
    while (room := SMALLEST_ROOM << len(sizes)) < most:
        sizes.append(room)
    return [*sizes, most]


def _table_rows(gradient: tf.IndexedSlices) -> int:
    return int(tf.get_static_value(gradient.dense_shape)[0])


def _rows_once(*values: Any) -> list[Any]:
    return [_row_once(v) if isinstance(v, tf.IndexedSlices) else v for v in values]


def _row_once(gradient: tf.IndexedSlices) -> tf.IndexedSlices:
    rows, place = tf.unique(gradient.indices)
    sums = tf.math.unsorted_segment_sum(gradient.values, place, tf.shape(rows)[0])
    return tf.IndexedSlices(sums, rows, gradient.dense_shape)


def _most_rows(*values: Any) -> tf.Tensor:
    """The most rows that any device has of any table."""
    device = tf.distribute.get_replica_context()
    own = [tf.shape(v.indices)[0] for v in values if isinstance(v, tf.IndexedSlices)]
    place = tf.one_hot(device.replica_id_in_sync_group, device.num_replicas_in_sync)
    each = device.all_reduce("SUM", place * tf.cast(tf.reduce_max(own), tf.float32))
    return tf.reduce_max(each)


def _slots_summed(*values: Any, room: int) -> list[Any]:
    device = tf.distribute.get_replica_context()
    sparse = [isinstance(value, tf.IndexedSlices) for value in values]
    sent = [in_slot(v, room, device) if s else v for v, s in zip(values, sparse, strict=True)]
    sums = device.all_reduce("SUM", sent)
    return [
        from_slots(total, value) if s else total
        for total, value, s in zip(sums, values, sparse, strict=True)
    ]


def in_slot(gradient: tf.IndexedSlices, room: int, device: Any) -> tf.Tensor:
    """The rows in this device's slot, zeros in those of others: [devices x room, 2 + d].

    The first two columns are the row's number; the first is 0 where no row is.
    """
    rows, count = gradient.indices, tf.shape(gradient.indices)[0]
    number = tf.cast(tf.stack([rows // HALF + 1, rows % HALF], axis=1), tf.float32)
    before = room * tf.cast(device.replica_id_in_sync_group, tf.int32)
    after = room * device.num_replicas_in_sync - before - count
    slots = tf.pad(tf.concat([number, gradient.values], 1), [[before, after], [0, 0]])
    return tf.ensure_shape(slots, [room * device.num_replicas_in_sync, slots.shape[1]])


def from_slots(slots: tf.Tensor, like: tf.IndexedSlices) -> tf.IndexedSlices:
    """All devices' rows, one device's after the other's."""
    taken = tf.boolean_mask(slots, slots[:, 0] > 0)
    number = tf.cast(taken[:, :2], like.indices.dtype)
    rows = (number[:, 0] - 1) * HALF + number[:, 1]
    return tf.IndexedSlices(taken[:, 2:], rows, like.dense_shape)
