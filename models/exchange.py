"""What the devices that train together tell each other.

An exchange must have one shape on all devices, and in all steps of one compiled loop; but of an
embedding table, every batch has other rows. So before the first step of a call they tell each other
what its batches will need (`needed`, `agreed`), and in a step only that travels: of a small table
the rows that occur on any device, of a large one every device's own, and of a kernel under tickets
the connections that any task kept (`Part`, `summed`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

SMALL_TABLE = 16_384  # rows; each costs a float a step to tell whether it occurs
HALF = 1 << 16  # a row's number travels as two floats, which hold whole numbers below 2^24 exactly


class Part(NamedTuple):
    """What of a variable's gradient can be other than 0 in a step, on any device.

    Attributes:
      places: of a kernel, the connections, as places in it when flat; of a small table, the rows;
        None of a large table, whose rows only the device knows that has them.
      room: for rows: at least as many, and the same in all steps of a call.
    """

    places: tf.Tensor | None
    room: tf.Tensor | None = None


def of_ticket(mask: tf.Tensor) -> Part:
    """Of a kernel, the connections where the mask is not 0."""
    return Part(tf.cast(tf.where(tf.reshape(mask, [-1]) > 0)[:, 0], tf.int32))


class Step(NamedTuple):
    """What all devices know of a batch before they learn from it.

    Attributes:
      counts: of all workers' rows.
      parts: what of a variable's gradient travels, by the variable's `ref()`; all of others.
    """

    counts: tf.Tensor
    parts: Mapping[Any, Part]


class Agreed(NamedTuple):
    """What all devices know of the batches of a call before they learn from the first.

    Attributes:
      counts: of all workers' rows: [steps, ...].
      tables: of every embedding table [steps, rows], whether a batch has a row, None for a large
        one; and the room that the rows of any step find.
      kernels: the same in all steps.
    """

    counts: tf.Tensor
    tables: Mapping[Any, tuple[tf.Tensor | None, tf.Tensor]]
    kernels: Mapping[Any, Part]

    def step(self, number: int | tf.Tensor) -> Step:
        """Of one batch."""
        tables = {
            ref: Part(None if occurs is None else tf.where(occurs[number])[:, 0], room)
            for ref, (occurs, room) in self.tables.items()
        }
        return Step(self.counts[number], {**self.kernels, **tables})


def needed(ids: tf.Tensor, rows: int) -> tf.Tensor:
    """What a worker tells the others of its batch, for a table of so many rows.

    Args:
      ids: of the rows that the batch looks up; any may occur several times.
      rows: of the table.

    Returns:
      For a small table [rows], 1 where a row occurs and else 0; for a large one how many do, [1].
    """
    if rows > SMALL_TABLE:
        return tf.cast(tf.shape(tf.unique(ids)[0]), tf.float32)
    times = tf.math.unsorted_segment_sum(tf.ones_like(ids, tf.float32), ids, rows)
    return tf.cast(times > 0, tf.float32)


def agreed(
    strategy: tf.distribute.Strategy, counts: tf.Tensor, needs: Sequence[tf.Tensor], workers: int
) -> tuple[tf.Tensor, list[tuple[tf.Tensor | None, tf.Tensor]]]:
    """What the batches of a call need, on all devices; all workers must call it.

    Args:
      strategy: in whose cross-replica context this is called.
      counts: of this worker's rows: [steps, ...]; as many steps as on the others.
      needs: `needed` of every table: [steps, rows], or [steps, 1] for a large one.
      workers: how many.

    Returns:
      `counts` and `tables` of an `Agreed`.
    """
    devices = strategy.num_replicas_in_sync
    large = [need.shape[1] == 1 for need in needs]

    def tell(counts: tf.Tensor, *needs: tf.Tensor) -> list[tf.Tensor]:
        device = tf.distribute.get_replica_context()
        place = tf.one_hot(device.replica_id_in_sync_group, devices)
        own = [
            place * _most(need) if one else tf.identity(need)  # on this device
            for need, one in zip(needs, large, strict=True)
        ]
        # All devices of a worker bring its counts. Without a step there still is something to send.
        told = [counts * (workers / devices), *own, tf.zeros([1])]
        return device.all_reduce("SUM", told)[:-1]

    told = strategy.run(tell, (counts, *needs))
    counts, *told = [strategy.experimental_local_results(each)[0] for each in told]
    tables: list[tuple[tf.Tensor | None, tf.Tensor]] = []
    for each, one in zip(told, large, strict=True):
        occurs = None if one else each > 0
        most = _most(each if one else tf.math.count_nonzero(each, 1))
        tables.append((occurs, tf.cast(most, tf.int32)))
    return counts, tables


def _most(numbers: tf.Tensor) -> tf.Tensor:
    """The largest of numbers >= 0; 0 if there are none."""
    return tf.reduce_max(tf.pad(tf.reshape(numbers, [-1]), [[0, 1]]))


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


def summed(
    strategy: tf.distribute.Strategy, values: Sequence[Any], parts: Sequence[Part | None]
) -> Sequence[Any]:
    """The sums of tensors and gradients over all devices of all workers.

    All but the rows of large tables travels in one ring. Those go in a slot a device, which all
    get; all slots have the same room.

    Args:
      strategy: in whose cross-replica context this is called.
      values: what its `run` returned, one a device each: float32 tensors, at least one, and
        IndexedSlices.
      parts: what of each travels; None for all. IndexedSlices have one.

    Returns:
      Their sums, for its `run`. Those of sparse gradients are IndexedSlices of rows that occur on
      any device; of a large table, once for each device that had it.
    """
    if strategy.num_replicas_in_sync == 1:
        return values
    return strategy.run(functools.partial(_exchanged, parts), values)


def _exchanged(parts: Sequence[Part | None], *values: Any) -> list[Any]:
    device = tf.distribute.get_replica_context()
    pairs = list(zip(values, parts, strict=True))
    together = [_taken(v, p) for v, p in pairs if p is None or p.places is not None]
    sums = iter(device.all_reduce("SUM", together))
    return [
        _put_back(next(sums), value, part)
        if part is None or part.places is not None
        else from_slots(device.all_gather(in_slot(_row_once(value), part.room), axis=0), value)
        for value, part in pairs
    ]


def _taken(value: Any, part: Part | None) -> tf.Tensor:
    """Of a gradient what travels."""
    if part is None:
        return value
    if isinstance(value, tf.IndexedSlices):
        rows = tf.get_static_value(value.dense_shape)[0]
        all_rows = tf.math.unsorted_segment_sum(value.values, value.indices, rows)
        taken = tf.gather(all_rows, part.places)
        return tf.pad(taken, [[0, part.room - tf.shape(taken)[0]], [0, 0]])
    flat = tf.reshape(value, [-1])
    return tf.cond(_all(part, flat), lambda: flat, lambda: tf.gather(flat, part.places))


def _put_back(total: tf.Tensor, like: Any, part: Part | None) -> Any:
    """The sum as a gradient, from what travelled."""
    if part is None:
        return total
    if isinstance(like, tf.IndexedSlices):
        rows = tf.cast(part.places, like.indices.dtype)
        return tf.IndexedSlices(total[: tf.shape(rows)[0]], rows, like.dense_shape)
    size = like.shape.num_elements()
    # Six times as fast as scatter_nd.
    spread = lambda: tf.math.unsorted_segment_sum(total, part.places, size)  # noqa: E731
    flat = tf.cond(_all(part, like), lambda: total, spread)
    return tf.reshape(flat, like.shape)


def _all(part: Part, value: tf.Tensor) -> tf.Tensor:
    return tf.equal(tf.size(part.places), value.shape.num_elements())


def _row_once(gradient: tf.IndexedSlices) -> tf.IndexedSlices:
    rows, place = tf.unique(gradient.indices)
    sums = tf.math.unsorted_segment_sum(gradient.values, place, tf.shape(rows)[0])
    return tf.IndexedSlices(sums, rows, gradient.dense_shape)


def in_slot(gradient: tf.IndexedSlices, room: int | tf.Tensor) -> tf.Tensor:
    """The rows and zeros behind them: [room, 2 + d].

    The first two columns are the row's number; the first is 0 where no row is.
    """
    rows = gradient.indices
    number = tf.cast(tf.stack([rows // HALF + 1, rows % HALF], axis=1), gradient.dtype)
    slot = tf.concat([number, gradient.values], 1)
    return tf.pad(slot, [[0, room - tf.shape(rows)[0]], [0, 0]])


def from_slots(slots: tf.Tensor, like: tf.IndexedSlices) -> tf.IndexedSlices:
    """The rows of all slots, [devices x room, 2 + d], one slot's after the other's."""
    taken = tf.boolean_mask(slots, slots[:, 0] > 0)
    number = tf.cast(taken[:, :2], like.indices.dtype)
    rows = (number[:, 0] - 1) * HALF + number[:, 1]
    return tf.IndexedSlices(taken[:, 2:], rows, like.dense_shape)
