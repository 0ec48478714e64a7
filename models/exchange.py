"""What the devices that train together tell each other in a step.

Within one compiled loop an exchange must have one shape, the same on all devices and in all steps;
but of an embedding table, every batch has another number of rows. So all rows of a small table
travel, and those of a large one in slots of a few fixed sizes: see `summed`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

SMALL_TABLE = 16_384  # rows; to send them all costs less than to find those that occur
SMALLEST_ROOM = 1024  # rows in a slot
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

    Of the sparse gradient (IndexedSlices) of a small table all rows travel, and with each how often
    it occurs. Of a large one's only rows that occur do, each once a device: every device has a slot
    for them, and all have the same room, the least of `rooms` that holds the rows of each. Which
    one that is they tell each other before, while gradients are made.

    Args:
      strategy: in whose cross-replica context this is called.
      values: what its `run` returned, one a device each: float32 tensors and IndexedSlices.

    Returns:
      Their sums, for its `run`. Those of sparse gradients are IndexedSlices of rows that occur on
      any device; of a large table, once for each device that had it.
    """
    if strategy.num_replicas_in_sync == 1:
        return values
    large = [_table_rows(strategy.experimental_local_results(v)[0]) for v in values]
    large = [rows for rows in large if rows > SMALL_TABLE]
    if not large:
        return strategy.run(_exchanged, values, {"room": 0})
    once = strategy.run(_rows_once, values)
    most = strategy.experimental_local_results(strategy.run(_most_rows, once))[0]
    choice = rooms(max(large))
    which = tf.math.count_nonzero(most > tf.constant(choice, most.dtype), dtype=tf.int32)
    # TensorFlow wants this outside of `run`.
    ways = [functools.partial(strategy.run, _exchanged, once, {"room": room}) for room in choice]
    return tf.switch_case(which, ways)


def rooms(most: int) -> list[int]:
    """Rows that a slot may hold: few sizes, each twice the one before; the last holds `most`.

    >>> rooms(5000), rooms(7)
    ([1024, 2048, 4096, 5000], [7])
    """
    sizes: list[int] = []
    while (room := SMALLEST_ROOM << len(sizes)) < most:
        sizes.append(room)
    return [*sizes, most]


def _table_rows(value: Any) -> int:
    """Of the table that a sparse gradient belongs to; 0 for what is dense."""
    if not isinstance(value, tf.IndexedSlices):
        return 0
    return int(tf.get_static_value(value.dense_shape)[0])


def _rows_once(*values: Any) -> list[Any]:
    return [_row_once(v) if _table_rows(v) > SMALL_TABLE else v for v in values]


def _row_once(gradient: tf.IndexedSlices) -> tf.IndexedSlices:
    rows, place = tf.unique(gradient.indices)
    sums = tf.math.unsorted_segment_sum(gradient.values, place, tf.shape(rows)[0])
    return tf.IndexedSlices(sums, rows, gradient.dense_shape)


def _most_rows(*values: Any) -> tf.Tensor:
    """The most rows that any device has of any large table."""
    device = tf.distribute.get_replica_context()
    own = [tf.shape(v.indices)[0] for v in values if _table_rows(v) > SMALL_TABLE]
    place = tf.one_hot(device.replica_id_in_sync_group, device.num_replicas_in_sync)
    each = device.all_reduce("SUM", place * tf.cast(tf.reduce_max(own), tf.float32))
    return tf.reduce_max(each)


def _exchanged(*values: Any, room: int) -> list[Any]:
    device = tf.distribute.get_replica_context()
    sums = device.all_reduce("SUM", [_sent(value, room, device) for value in values])
    return [_received(total, value) for total, value in zip(sums, values, strict=True)]


def _sent(value: Any, room: int, device: Any) -> Any:
    rows = _table_rows(value)
    if not rows:
        return value
    if rows > SMALL_TABLE:
        return in_slot(value, room, device.replica_id_in_sync_group, device.num_replicas_in_sync)
    once = tf.ones_like(value.indices, value.dtype)
    return tuple(tf.math.unsorted_segment_sum(x, value.indices, rows) for x in (value.values, once))


def _received(total: Any, like: Any) -> Any:
    if not isinstance(like, tf.IndexedSlices):
        return total
    if not isinstance(total, tuple):
        return from_slots(total, like)
    sums, times = total
    rows = tf.cast(tf.where(times > 0)[:, 0], like.indices.dtype)
    return tf.IndexedSlices(tf.gather(sums, rows), rows, like.dense_shape)


def in_slot(gradient: tf.IndexedSlices, room: int, slot, slots: int) -> tf.Tensor:
    """The rows in one slot of several, zeros in the others: [slots x room, 2 + d].

    The first two columns are the row's number; the first is 0 where no row is.
    """
    rows, count = gradient.indices, tf.shape(gradient.indices)[0]
    number = tf.cast(tf.stack([rows // HALF + 1, rows % HALF], axis=1), gradient.dtype)
    before = room * tf.cast(slot, tf.int32)
    around = [[before, room * slots - before - count], [0, 0]]
    table = tf.pad(tf.concat([number, gradient.values], 1), around)
    return tf.ensure_shape(table, [room * slots, table.shape[1]])


def from_slots(slots: tf.Tensor, like: tf.IndexedSlices) -> tf.IndexedSlices:
    """The rows of all slots, one slot's after the other's."""
    taken = tf.boolean_mask(slots, slots[:, 0] > 0)
    number = tf.cast(taken[:, :2], like.indices.dtype)
    rows = (number[:, 0] - 1) * HALF + number[:, 1]
    return tf.IndexedSlices(taken[:, 2:], rows, like.dense_shape)
