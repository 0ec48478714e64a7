"""Adam that touches only the embedding rows of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from ncs4cvr.models.together.shards import ShardedTable


class LazyAdam(tf.keras.optimizers.Adam):
    """Adam whose sparse updates move only looked-up rows and their moments.

    Keras decays the moments of every embedding row at every step, so a step costs the whole table;
    here a step costs the rows of the batch. Dense variables follow Keras's Adam up to rounding, in
    one pass over the numbers where Keras takes a dozen small operations a variable.
    Rows that occur twice in a batch have had their gradients summed before, by apply_gradients.

    Reference: Kingma and Ba, arXiv 1412.6980, algorithm 1; lazy as TensorFlow Addons' LazyAdam.
    """

    def build(self, variables: Sequence[Any]) -> None:
        """Makes the moments; a table that is cut among workers has its own."""
        super().build([v for v in variables if not isinstance(v, ShardedTable)])

    def moments(self, variable: Any) -> tuple[Any, Any]:
        """The running means of a variable's gradient and of its square, once `build` made them."""
        if isinstance(variable, ShardedTable):
            return variable.moments
        index = self._index_dict[self._var_key(variable)]
        return self._momentums[index], self._velocities[index]

    def update_step(self, gradient, variable):
        """One Adam step on `variable`; gradient is a Tensor or IndexedSlices."""
        m, v = self.moments(variable)
        if isinstance(gradient, tf.IndexedSlices):
            self.move_rows(gradient, variable, m, v)
            return
        step = tf.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=m.handle,
            v=v.handle,
            beta1_power=self.beta_1**step,
            beta2_power=self.beta_2**step,
            lr=tf.cast(self.learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )

    def move_rows(
        self, gradient: tf.IndexedSlices, variable: tf.Variable, m: tf.Variable, v: tf.Variable
    ) -> None:
        """One Adam step on some rows, each of which occurs once, and on their moments."""
        step = tf.cast(self.iterations + 1, variable.dtype)
        rows, g = gradient.indices, gradient.values
        bias = tf.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
        alpha = tf.cast(self.learning_rate, variable.dtype) * bias
        m_rows = self.beta_1 * _rows(m, rows) + (1 - self.beta_1) * g
        v_rows = self.beta_2 * _rows(v, rows) + (1 - self.beta_2) * g * g
        m.scatter_update(tf.IndexedSlices(m_rows, rows))
        v.scatter_update(tf.IndexedSlices(v_rows, rows))
        variable.scatter_sub(
            tf.IndexedSlices(alpha * m_rows / (tf.sqrt(v_rows) + self.epsilon), rows)
        )


def _rows(moment: tf.Variable, rows: tf.Tensor) -> tf.Tensor:
    """Those rows alone; where several devices have the moment, tf.gather would read all."""
    return tf.raw_ops.ResourceGather(resource=moment.handle, indices=rows, dtype=moment.dtype)
