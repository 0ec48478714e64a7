"""Raw examples, transformed as they are read -> shuffled batches of tensors."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from ncs4cvr.models.learning.steps import no_batch
from ncs4cvr.models.together.exchange import part_of
from ncs4cvr.models.together.workers import Workers, alone

log = logging.getLogger("ncs4cvr")
#: Every degree and buffer is given; while TensorFlow would look for better ones, the end of a pass
#: waits for the end of its current nap, which grows to many seconds.
FIXED = tf.data.Options()
FIXED.autotune.enabled = False
DAY = "day"  # column of VideoLogExampleGen: yyyymmdd
BLOCK = 16384  # rows parsed and shuffled together
BLOCKS_SHUFFLED = 32
#: There is nothing for AutoGraph to rewrite, and its search takes seconds.
plain = tf.autograph.experimental.do_not_convert
CACHE_BYTES = 512 << 20  # of compressed input; transformed and kept, it takes 3 times as much


class Batches:
    """One split of examples, read as blocks, transformed, and served as batches.

    The transform graph runs here on whole blocks, and on those rows only that are asked for: in a
    warm start a day's, not the window's. A transformed copy of all rows, which Transform could
    write, costs more than several passes of this. Rows are permuted within blocks of 16,384 and the
    blocks among 32, so shuffling costs no per-row work; the same epoch number and seed always give
    the same order.

    Args:
      pattern: files of gzip TFRecord, as VideoLogExampleGen writes them; up to four are read in
        turns.
      transform_graph: what Transform learned.
      after: only rows of later days, yyyymmdd; 0 for all.
      workers: who reads them together. Where the files can be shared out evenly, every worker
        reads files of its own (the largest go first, each to whom has least); otherwise all read
        all and each takes its part of every batch. Each row is one worker's in either case.

    Raises:
      ValueError: no file matches; or `after` is given and the examples have no day.
    """

    def __init__(
        self,
        pattern: str | Sequence[str],
        transform_graph: tft.TFTransformOutput,
        after: int = 0,
        workers: Workers | None = None,
    ):
        files = sorted(tf.io.gfile.glob(pattern))
        if not files:
            raise ValueError(f"no examples match {pattern}; was VideoLogExampleGen run?")
        self.workers = workers or alone()
        sizes = {f: tf.io.gfile.stat(f).length for f in files}
        parts = shares(sizes, self.workers.count)
        self.by_file = even([sum(sizes[f] for f in part) for part in parts])
        if self.by_file:
            files = parts[self.workers.index]
        if self.workers.count > 1:
            told = "files of its own" if self.by_file else "its part of every batch"
            split = os.path.basename(os.path.dirname(files[0]))
            log.info("%s, files: %d, every worker reads %s", split, len(sizes), told)
        spec = transform_graph.raw_feature_spec()
        if after and DAY not in spec:
            raise ValueError(
                f"warm_rows=new needs the column {DAY}, which these examples do not have; expected "
                "those of VideoLogExampleGen. Set warm_rows=all"
            )
        transformed = transform_graph.transform_features_layer()

        @plain
        def read(rows: tf.Tensor) -> dict[str, tf.Tensor]:
            if after:
                rows = tf.boolean_mask(rows, _days(rows, spec) > after)
            return transformed(tf.io.parse_example(rows, spec))

        size = sum(sizes[f] for f in files)
        records = tf.data.TFRecordDataset(files, "GZIP", num_parallel_reads=min(4, len(files)))
        blocks = records.batch(BLOCK).map(read, num_parallel_calls=2, deterministic=True)
        if after:
            blocks = blocks.rebatch(BLOCK)
        self.blocks = blocks.cache() if size <= CACHE_BYTES else blocks

    def epoch(self, number: int, batch_size: int, seed: int) -> tf.data.Dataset:
        """This worker's part of the shuffled batches {feature: [rows, ...]} of one pass.

        With one worker the last batch may be smaller. With more, every batch is as large as all
        parts together, so `batch_size` is a multiple of their number; who has read all its rows
        goes on with batches of none, without end.
        """
        at = seed * 100_003 + number
        seeds = tf.data.Dataset.counter().map(plain(lambda i: tf.stack([tf.cast(at, tf.int64), i])))
        blocks = self.blocks.shuffle(BLOCKS_SHUFFLED, seed=at, reshuffle_each_iteration=False)
        index, part = self.workers.index, max(1, batch_size // self.workers.count)

        @plain
        def own(placed: tuple[dict[str, tf.Tensor], tf.Tensor], seed: tf.Tensor):
            block, places = placed
            order = tf.argsort(tf.random.stateless_uniform(tf.shape(places), seed))
            if not self.by_file:
                order = tf.boolean_mask(order, places % batch_size // part == index)
            return {name: tf.gather(values, order) for name, values in block.items()}

        placed = blocks.scan(np.int64(0), _placed)
        batches = tf.data.Dataset.zip((placed, seeds)).map(own, num_parallel_calls=1).rebatch(part)
        if self.workers.count > 1:
            nothing = tf.data.Dataset.from_tensors(self.no_rows())
            batches = batches.concatenate(nothing.repeat())
        return batches.prefetch(4).with_options(FIXED)

    def _own(self, rows: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
        """This worker's part of the unshuffled batches."""
        index, count = self.workers.index, self.workers.count
        if count == 1:
            return rows.rebatch(batch_size)
        if self.by_file:
            return rows.rebatch(max(1, batch_size // count))
        return rows.rebatch(batch_size).map(plain(lambda batch: part_of(batch, index, count)))

    def as_read(self) -> Batches:
        """The split as if all that this worker reads were its own."""
        other = copy.copy(self)
        other.by_file = True
        return other

    def beside(self, more: tf.data.Dataset, join: Callable[..., dict[str, tf.Tensor]]) -> Batches:
        """The split with what `join` makes of each of its blocks and an element of `more`."""
        other = copy.copy(self)
        other.blocks = tf.data.Dataset.zip((self.blocks, more)).map(join, num_parallel_calls=1)
        return other

    def no_rows(self) -> dict[str, tf.Tensor]:
        """A batch of 0 rows, which shows what others are like."""
        return no_batch(self.blocks.element_spec)

    def count(self) -> int:
        """Rows of the split: one pass, which also fills the cache; all workers must call it."""
        count = tf.function(
            lambda: self.blocks.reduce(
                np.int64(0), plain(lambda n, b: n + tf.shape(next(iter(b.values())), tf.int64)[0])
            ),
            autograph=False,
        )
        here = int(count())
        return self.workers.total(here) if self.by_file else here

    def in_order(self, batch_size: int = 8192, endless: bool = False) -> tf.data.Dataset:
        """Every row of this worker's once, unshuffled and always in the same order.

        Args:
          batch_size: rows of all workers' batches.
          endless: goes on with batches of no rows, where workers wait for each other.
        """
        batches = self._own(self.blocks, batch_size)
        if self.workers.count > 1:  # who has no rows still learns what they are like
            nothing = tf.data.Dataset.from_tensors(self.no_rows())
            batches = batches.concatenate(nothing.repeat() if endless else nothing)
        return batches.prefetch(2).with_options(FIXED)


def shares(sizes: Mapping[str, int], count: int) -> list[list[str]]:
    """Divides files among workers so that their bytes are nearly even.

    >>> shares({"a": 5, "b": 3, "c": 2, "d": 1}, 2)
    [['a', 'd'], ['b', 'c']]
    """
    parts: list[list[str]] = [[] for _ in range(count)]
    bytes_ = [0] * count
    for file in sorted(sizes, key=lambda f: (-sizes[f], f)):
        least = bytes_.index(min(bytes_))
        parts[least].append(file)
        bytes_[least] += sizes[file]
    return [sorted(part) for part in parts]


def even(parts: Sequence[int]) -> bool:
    """Whether the largest is at most a tenth above the mean: all others wait for it.

    >>> even([5, 6]), even([5, 7]), even([5])
    (True, False, True)
    """
    return max(parts) * len(parts) <= 1.1 * sum(parts)


def _days(rows: tf.Tensor, spec: Mapping[str, Any]) -> tf.Tensor:
    """yyyymmdd of serialized examples, [rows]; 0 where there is none."""
    day = tf.io.parse_example(rows, {DAY: spec[DAY]})[DAY]
    return tf.reshape(tf.sparse.to_dense(day) if isinstance(day, tf.SparseTensor) else day, [-1])


@plain
def _placed(first: tf.Tensor, block: dict[str, tf.Tensor]):
    """The block with its rows' places in the split, and the place of the next block's first."""
    after = first + tf.shape(next(iter(block.values())), tf.int64)[0]
    return after, (block, tf.range(first, after))
