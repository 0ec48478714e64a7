"""Several training steps in one call, so that Python does not stand between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import tensorflow as tf

from ncs4cvr.models.together.parts import Agreed, Step


class Stepping(Protocol):
    """What is asked of a `Ranker`; see there."""

    def needs(
        self, inputs: Mapping[str, tf.Tensor], step: int | tf.Tensor = 0
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """What is to be known of a batch before it is learned from."""

    def plan(self, counts: tf.Tensor, rows: list[tf.Tensor]) -> Agreed:
        """What all workers know of the batches of a call."""

    def train_step(self, inputs: Any, step: Step) -> Mapping[str, tf.Tensor]:
        """Gives at least `loss`."""


def several(model: Stepping, batches: tf.data.Iterator, count: tf.Tensor):
    """Up to `count` steps, fewer where the batches end. To be traced by tf.function.

    A call from Python costs about a millisecond, in which both cores wait: 5 to 10 % of a step of a
    small model. The loop also reads the batches, whose number of rows is not fixed in the graph:
    the last, smaller batch is not traced anew.

    All batches are fetched before the first is learned from: so the workers tell each other once a
    call, and not in every step, what they will need. They all end with the first batch that nobody
    has rows of.

    Args:
      model: what to train.
      batches: what is left of an epoch. No batch is taken from it that is not used.
      count: a scalar.

    Returns:
      The steps' losses [steps] and the number of rows they saw.
    """

    kind = tf.OptionalSpec(batches.element_spec)
    counts, rows = model.needs(no_batch(batches.element_spec))

    def array(dtype: tf.DType, shape: Any = ()) -> tf.TensorArray:
        return tf.TensorArray(dtype, 0, dynamic_size=True, element_shape=shape, infer_shape=False)

    def fetch(i):
        nothing = lambda: tf.experimental.Optional.empty(batches.element_spec)  # noqa: E731
        return tf.cond(i < count, batches.get_next_as_optional, nothing)

    def more(i, batch, *_):
        return batch.has_value()

    def ahead(i, batch, fetched, counts, rows):
        own, occurring = model.needs(batch.get_value(), i)
        rows = tuple(all_.write(i, these) for all_, these in zip(rows, occurring, strict=True))
        (variant,) = tf.nest.flatten(batch, expand_composites=True)
        return i + 1, fetch(i + 1), fetched.write(i, variant), counts.write(i, own), rows

    def one(i, losses):
        batch = tf.nest.pack_sequence_as(kind, [fetched.read(i)], expand_composites=True)
        told = model.train_step(batch.get_value(), plan.step(i))
        return i + 1, losses.write(i, told["loss"])

    codes = tuple(array(each.dtype, [None]) for each in rows)
    start = (0, fetch(0), array(tf.variant), array(counts.dtype, counts.shape), codes)
    *_, fetched, counts, codes = tf.while_loop(more, ahead, start, parallel_iterations=1)
    plan = model.plan(counts.stack(), [each.concat() for each in codes])
    rows = plan.counts[:, 0]
    steps = tf.math.count_nonzero(rows, dtype=tf.int32)
    first = (0, array(tf.float32))
    _, losses = tf.while_loop(lambda i, _: i < steps, one, first, parallel_iterations=1)
    return losses.stack(), tf.cast(tf.reduce_sum(rows), tf.int32)


def no_batch(spec: Mapping[str, tf.TensorSpec]) -> dict[str, tf.Tensor]:
    """A batch of 0 rows."""
    return {name: tf.zeros([0, *each.shape[1:]], each.dtype) for name, each in spec.items()}
