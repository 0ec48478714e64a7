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
    """The sums of tensors and gradients over all devices of all workers.

    All that is dense travels in one ring. With it goes the sparse gradient (IndexedSlices) of a
    small table: all rows, and with each how often it occurs. Of a large one only rows that occur
    travel, each once a device, in a slot a device that all get; all slots have the same room, the
    least of `rooms` that holds every device's rows. Which one that is they tell each other before.

    Args:
      strategy: in whose cross-replica context this is called.
      values: what its `run` returned, one a device each: float32 tensors, at least one, and
        IndexedSlices.

    Returns:
      Their sums, for its `run`. Those of sparse gradients are IndexedSlices of rows that occur on
      any device; of a large table, once for each device that had it.
    """
    if strategy.num_replicas_in_sync == 1:
        return values
    tables = [_table_rows(strategy.experimental_local_results(v)[0]) for v in values]
    largest = max(tables)
    if largest <= SMALL_TABLE:
        return strategy.run(_exchanged, values, {"room": 0})
    once = strategy.run(_rows_once, values)
    most = strategy.experimental_local_results(strategy.run(_most_rows, once))[0]
    choice = rooms(largest)
    which = tf.math.count_nonzero(most > tf.constant(choice, most.dtype), dtype=tf.int32)
    # TensorFlow wants this outside of `run`.
    ways = [functools.partial(strategy.run, _exchanged, once, {"room": room}) for room in choice]
    return tf.switch_case(which, ways)


def rooms(most: int) -> list[int]:
    """Rows that a slot may hold: few sizes, each half as large again; the last holds `most`.

    >>> rooms(3000), rooms(7)
    ([1024, 1536, 2304, 3000], [7])
    """
    sizes, room = [], SMALLEST_ROOM
    while room < most:
        sizes.append(room)
        room += room // 2
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
    together = [_whole(v) for v in values if _table_rows(v) <= SMALL_TABLE]
    sums = iter(device.all_reduce("SUM", together))
    return [
        from_slots(device.all_gather(in_slot(v, room), axis=0), v)
        if _table_rows(v) > SMALL_TABLE
        else _occurring(next(sums), v)
        for v in values
    ]


def _whole(value: Any) -> Any:
    """All rows of a small table's gradient, and how often each occurs; of what is dense, that."""
    if not isinstance(value, tf.IndexedSlices):
        return value
    rows, once = _table_rows(value), tf.ones_like(value.indices, value.dtype)
    return tuple(tf.math.unsorted_segment_sum(x, value.indices, rows) for x in (value.values, once))


def _occurring(total: Any, like: Any) -> Any:
    """The sum as a gradient of rows that occur, where `like` is one."""
    if not isinstance(like, tf.IndexedSlices):
        return total
    sums, times = total
    rows = tf.cast(tf.where(times > 0)[:, 0], like.indices.dtype)
    return tf.IndexedSlices(tf.gather(sums, rows), rows, like.dense_shape)


def in_slot(gradient: tf.IndexedSlices, room: int) -> tf.Tensor:
    """The rows and zeros behind them: [room, 2 + d].

    The first two columns are the row's number; the first is 0 where no row is.
    """
    rows = gradient.indices
    number = tf.cast(tf.stack([rows // HALF + 1, rows % HALF], axis=1), gradient.dtype)
    slot = tf.concat([number, gradient.values], 1)
    slot = tf.pad(slot, [[0, room - tf.shape(rows)[0]], [0, 0]])
    return tf.ensure_shape(slot, [room, slot.shape[1]])


def from_slots(slots: tf.Tensor, like: tf.IndexedSlices) -> tf.IndexedSlices:
    """The rows of all slots, [devices x room, 2 + d], one slot's after the other's."""
    taken = tf.boolean_mask(slots, slots[:, 0] > 0)
    number = tf.cast(taken[:, :2], like.indices.dtype)
    rows = (number[:, 0] - 1) * HALF + number[:, 1]
    return tf.IndexedSlices(taken[:, 2:], rows, like.dense_shape)
