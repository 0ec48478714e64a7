"""Embedding tables that are cut among the workers: each holds, and moves, rows of its own.

So a table may be larger than a worker's memory: of values and both moments of the optimizer
everyone keeps one part in as many as there are workers. What a step looks up is sent to all before
it, and the sums of its gradients after it; see exchange.py.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ncs4cvr.models.together.workers import Workers

BLOCK = 1 << 18  # rows that are copied or sent at once


class Layout(NamedTuple):
    """Where the rows of a table lie: row r in shard r % shards, as its row r // shards.

    Neighbours are in different shards: the words of a vocabulary are sorted by how often they
    occur, and so everyone has as much to do.

    >>> Layout(rows=5, shards=2).keys(np.arange(5))
    array([0, 3, 1, 4, 2])

    Attributes:
      rows: of the table.
      shards: 1 where everyone has it whole.
    """

    rows: int
    shards: int = 1

    @property
    def each(self) -> int:
        """Rows of a shard; the last ones may have one that stands for none."""
        return -(-self.rows // self.shards)

    @property
    def span(self) -> int:
        """Keys lie below it."""
        return self.each * self.shards

    def keys(self, ids: Any) -> Any:
        """Shard times `each` + row in it: numbers of rows that put those of a shard together."""
        return ids if self.shards == 1 else ids % self.shards * self.each + ids // self.shards


class Shard(tf.Module):
    """One worker's rows of a table of numbers.

    Args:
      layout: of the table.
      dim: numbers in a row.
      workers: who have it together; this is `workers.index`.
    """

    def __init__(self, layout: Layout, dim: int, workers: Workers, name: str | None = None):
        super().__init__(name)
        self.layout, self.dim, self.workers = layout, dim, workers
        self.index = workers.index

    def make(self) -> None:
        """Makes the variable, of zeros: out of the strategy's scope, which would have it alike."""
        self.own = tf.Variable(tf.zeros([self.layout.each, self.dim]), trainable=False)

    def take(self, ids: np.ndarray, table: np.ndarray, rows: np.ndarray) -> None:
        """Sets those of some rows, `ids`, that are this worker's, from `rows` of a table."""
        mine = ids % self.layout.shards == self.index
        put(self.own, ids[mine] // self.layout.shards, table, rows[mine])

    def assign(self, value: Any) -> None:
        """Sets all rows: from another shard, or from all of a table, [rows, d]."""
        if isinstance(value, Shard):
            self.own.assign(value.own)
        else:
            every = np.arange(self.layout.rows)
            self.take(every, np.asarray(value), every)

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """The whole table, in blocks of rows with the number of the first; all must call it."""
        shards, rows = self.layout.shards, self.layout.rows
        step = -(-BLOCK // shards)
        for number in range(0, self.layout.each, step):
            numbers = tf.range(number, min(number + step, self.layout.each))
            every = self.workers.gather(tf.gather(self.own, numbers).numpy())
            mixed = every.reshape(shards, -1, self.dim).swapaxes(0, 1).reshape(-1, self.dim)
            yield number * shards, mixed[: rows - number * shards]

    def gathered(self) -> np.ndarray | None:
        """The whole table, for the chief; None for others. All workers must call it."""
        whole = np.empty([self.layout.rows, self.dim], np.float32) if self.workers.chief else None
        for first, rows in self.blocks():
            if whole is not None:
                whole[first : first + len(rows)] = rows
        return whole


class ShardedTable(Shard):
    """An embedding table's values and both moments of its rows; it stands among a model's weights.

    Args:
      layout, dim, workers: see Shard.
      fresh: gives the table at its start, in blocks of rows.
    """

    trainable, dtype = True, tf.float32

    def __init__(
        self, layout: Layout, dim: int, workers: Workers, fresh: Iterable[tf.Tensor], name: str
    ):
        super().__init__(layout, dim, workers, name)
        self.moments = (Shard(layout, dim, workers), Shard(layout, dim, workers))
        blocks = iter(fresh)
        self._fresh = itertools.chain([next(blocks)], blocks)  # the first says what the others are
        self._looked_up: Callable[[tf.Tensor], tf.Tensor] | None = None

    @property
    def shape(self) -> tf.TensorShape:
        """Of the whole table."""
        return tf.TensorShape([self.layout.rows, self.dim])

    @property
    def trainable_variables(self) -> list:
        """Itself: to a model it is one variable."""
        return [self]

    @property
    def non_trainable_variables(self) -> list:
        """None; see `trainable_variables`."""
        return []

    def ref(self) -> int:
        """As a variable's."""
        return id(self)

    def make(self, learns: bool = True) -> None:
        """See Shard.make; the rows are those of the start.

        Args:
          learns: False where no moments will be needed.
        """
        for each in self.moments if learns else ():
            each.make()
        super().make()
        first = 0  # of the table's rows in a block
        for block in self._fresh:
            own = block.numpy()[(self.index - first) % self.layout.shards :: self.layout.shards]
            number = (first + self.layout.shards - 1 - self.index) // self.layout.shards
            put(self.own, np.arange(number, number + len(own)), own, np.arange(len(own)))
            first += block.shape[0]

    @contextlib.contextmanager
    def showing(self, lookup: Callable[[tf.Tensor], tf.Tensor]) -> Iterator[None]:
        """Within, `lookup` is this."""
        self._looked_up = lookup
        try:
            yield
        finally:
            self._looked_up = None

    def lookup(self, ids: tf.Tensor) -> tf.Tensor:
        """ids [...] -> rows of the table [..., d], of those that were fetched for this step."""
        if self._looked_up:
            return self._looked_up(ids)
        if ids.shape.num_elements():
            raise RuntimeError("rows of a table that is cut among workers were not fetched")
        return tf.zeros([*ids.shape, self.dim])


def put(variable: tf.Variable, numbers: np.ndarray, table: np.ndarray, rows: np.ndarray) -> None:
    """variable[numbers] = table[rows], in blocks, on all devices of this process that have it."""
    strategy = getattr(variable, "distribute_strategy", None) or tf.distribute.get_strategy()
    for copy in strategy.experimental_local_results(variable):
        for first in range(0, len(numbers), BLOCK):
            part = slice(first, first + BLOCK)
            values, where = tf.constant(table[rows[part]]), tf.constant(numbers[part])
            copy.scatter_update(tf.IndexedSlices(values, where))


def whole(variable: Any) -> Any:
    """All of a weight as an array; of one that is cut among workers see Shard.gathered."""
    return variable.gathered() if isinstance(variable, Shard) else variable.numpy()
