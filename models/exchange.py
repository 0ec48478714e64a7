"""What the devices that train together tell each other in a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf


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


def summed(values: Sequence[Any]) -> Sequence[Any]:
    """The sums of tensors and gradients over all devices of all workers.

    Dense ones travel together in one ring; of sparse ones (IndexedSlices) only rows that occur do,
    each once a device.
    """
    device = tf.distribute.get_replica_context()
    if device.num_replicas_in_sync == 1:
        return values
    return device.all_reduce("SUM", [_rows_once(value) for value in values])


def _rows_once(value: Any) -> Any:
    if not isinstance(value, tf.IndexedSlices):
        return value
    rows, place = tf.unique(value.indices)
    sums = tf.math.unsorted_segment_sum(value.values, place, tf.shape(rows)[0])
    return tf.IndexedSlices(sums, rows, value.dense_shape)
