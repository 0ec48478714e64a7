"""Several training steps in one call, so that Python does not stand between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow as tf

Step = Callable[[Mapping[str, tf.Tensor]], Mapping[str, tf.Tensor]]


def several(step: Step, batches: tf.data.Iterator, count: tf.Tensor):
    """Up to `count` steps, fewer where the batches end. To be traced by tf.function.

    A call from Python costs about a millisecond, in which both cores wait: 5 to 10 % of a step of a
    small model. The loop also reads the batches, whose number of rows is not fixed in the graph:
    the last, smaller batch is not traced anew.

    Args:
      step: what `Ranker.train_step` does with a batch; gives at least `loss`.
      batches: what is left of an epoch. No batch is taken from it that is not used.
      count: a scalar.

    Returns:
      The steps' losses [steps] and the number of rows they saw.
    """

    def more(i, seen, losses, batch):
        return batch.has_value()

    def one(i, seen, losses, batch):
        rows = batch.get_value()
        losses = losses.write(i, step(rows)["loss"])
        seen += tf.shape(next(iter(rows.values())))[0]
        return i + 1, seen, losses, fetch(i + 1)

    def fetch(i):
        nothing = lambda: tf.experimental.Optional.empty(batches.element_spec)  # noqa: E731
        return tf.cond(i < count, batches.get_next_as_optional, nothing)

    losses = tf.TensorArray(tf.float32, 0, dynamic_size=True, element_shape=[])
    start = (0, 0, losses, fetch(0))
    _, seen, losses, _ = tf.while_loop(more, one, start, parallel_iterations=1)
    return losses.stack(), seen
