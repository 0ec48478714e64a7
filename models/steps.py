"""Several training steps in one call, so that Python does not stand between them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import tensorflow as tf


class Stepping(Protocol):
    """What is asked of a `Ranker`; see there."""

    def row_counts(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Rows of a batch, and what else is counted in it."""

    def everywhere(self, counts: tf.Tensor) -> tf.Tensor:
        """Their sum over all workers."""

    def train_step(
        self, inputs: Any, counts: tf.Tensor, following: tf.Tensor
    ) -> Mapping[str, tf.Tensor]:
        """Gives at least `loss`, and `following`, summed over all workers."""


def several(model: Stepping, batches: tf.data.Iterator, count: tf.Tensor):
    """Up to `count` steps, fewer where the batches end. To be traced by tf.function.

    A call from Python costs about a millisecond, in which both cores wait: 5 to 10 % of a step of a
    small model. The loop also reads the batches, whose number of rows is not fixed in the graph:
    the last, smaller batch is not traced anew.

    A batch is fetched, and its rows are counted over all workers, while the one before it is
    learned from: what the workers tell each other in that step holds the next one's counts. They
    all end with the first batch that nobody has rows of.

    Args:
      model: what to train.
      batches: what is left of an epoch. No batch is taken from it that is not used.
      count: a scalar.

    Returns:
      The steps' losses [steps] and the number of rows they saw.
    """

    def more(i, seen, losses, batch, counts):
        return counts[0] > 0

    def one(i, seen, losses, batch, counts):
        following, here = fetch(i + 1)
        told = model.train_step(batch.get_value(), counts, here)
        losses = losses.write(i, told["loss"])
        return i + 1, seen + tf.cast(counts[0], tf.int32), losses, following, told["following"]

    def fetch(i):
        nothing = lambda: tf.experimental.Optional.empty(batches.element_spec)  # noqa: E731
        batch = tf.cond(i < count, batches.get_next_as_optional, nothing)
        return batch, tf.cond(
            batch.has_value(), lambda: model.row_counts(batch.get_value()), lambda: no_rows
        )

    no_rows = tf.zeros_like(model.row_counts(no_batch(batches.element_spec)))
    losses = tf.TensorArray(tf.float32, 0, dynamic_size=True, element_shape=[])
    batch, here = fetch(0)
    start = (0, 0, losses, batch, model.everywhere(here))
    _, seen, losses, *_ = tf.while_loop(more, one, start, parallel_iterations=1)
    return losses.stack(), seen


def no_batch(spec: Mapping[str, tf.TensorSpec]) -> dict[str, tf.Tensor]:
    """A batch of 0 rows."""
    return {name: tf.zeros([0, *each.shape[1:]], each.dtype) for name, each in spec.items()}
