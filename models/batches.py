"""Transformed examples -> shuffled batches of tensors."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from ncs4cvr.models.exchange import part_of
from ncs4cvr.models.steps import no_batch
from ncs4cvr.models.workers import Workers, alone

log = logging.getLogger("ncs4cvr")
#: Every degree and buffer is given; while TensorFlow would look for better ones, the end of a pass
#: waits for the end of its current nap, which grows to many seconds.
FIXED = tf.data.Options()
FIXED.autotune.enabled = False
BLOCK = 16384  # rows parsed and shuffled together
BLOCKS_SHUFFLED = 32
CACHE_BYTES = 512 << 20  # of compressed input; parsed once and kept, it takes 4 to 5 times as much


class Batches:
    """One split of transformed examples, read as blocks and served as batches.

    Rows are permuted within blocks of 16,384 and the blocks among 32, so shuffling costs no
    per-row work; the same epoch number and seed always give the same order.

    Args:
      pattern: files of gzip TFRecord, as Transform writes them; up to four are read in turns.
      transform_graph: knows the features' types.
      after: (column, value): only rows whose column is larger.
      workers: who reads them together. Where there are as many files as workers or more, every
        worker reads files of its own (the largest go first, each to whom has least); otherwise all
        read all and each takes its part of every batch. Each row is one worker's in either case.

    Raises:
      ValueError: no file matches.
    """

    def __init__(
        self,
        pattern: str | Sequence[str],
        transform_graph: tft.TFTransformOutput,
        after: tuple[str, int] | None = None,
        workers: Workers | None = None,
    ):
        files = sorted(tf.io.gfile.glob(pattern))
        if not files:
            raise ValueError(f"no transformed examples match {pattern}; was Transform run?")
        self.workers = workers or alone()
        sizes = {f: tf.io.gfile.stat(f).length for f in files}
        self.by_file = len(files) >= self.workers.count
        if self.by_file:
            files = shares(sizes, self.workers.count)[self.workers.index]
        if self.workers.count > 1:
            told = "files of its own" if self.by_file else "its part of every batch"
            split = os.path.basename(os.path.dirname(files[0]))
            log.info("%s, files: %d, every worker reads %s", split, len(sizes), told)
        spec = transform_graph.transformed_feature_spec()
        size = sum(sizes[f] for f in files)
        records = tf.data.TFRecordDataset(files, "GZIP", num_parallel_reads=min(4, len(files)))
        blocks = records.batch(BLOCK).map(
            lambda rows: tf.io.parse_example(rows, spec), num_parallel_calls=2, deterministic=True
        )
        if after:
            blocks = blocks.map(lambda rows: _later(rows, *after))
        self.blocks = blocks.cache() if size <= CACHE_BYTES else blocks

    def epoch(self, number: int, batch_size: int, seed: int) -> tf.data.Dataset:
        """This worker's part of the shuffled batches {feature: [rows, ...]} of one pass.

        With one worker the last batch may be smaller. With more, every batch is as large as all
        parts together; who has read all its rows goes on with batches of none, without end.
        """
        at = seed * 100_003 + number
        seeds = tf.data.Dataset.counter().map(lambda i: tf.stack([tf.cast(at, tf.int64), i]))
        blocks = self.blocks.shuffle(BLOCKS_SHUFFLED, seed=at, reshuffle_each_iteration=False)
        rows = tf.data.Dataset.zip((blocks, seeds)).map(_permuted, num_parallel_calls=1)
        batches = self._own(rows, batch_size)
        if self.workers.count > 1:
            nothing = tf.data.Dataset.from_tensors(self.no_rows())
            batches = batches.concatenate(nothing.repeat())
        return batches.prefetch(4).with_options(FIXED)

    def _own(self, rows: tf.data.Dataset, batch_size: int) -> tf.data.Dataset:
        index, count = self.workers.index, self.workers.count
        if count == 1:
            return rows.rebatch(batch_size)
        if self.by_file:
            return rows.rebatch(max(1, batch_size // count))
        return rows.rebatch(batch_size).map(lambda batch: part_of(batch, index, count))

    def no_rows(self) -> dict[str, tf.Tensor]:
        """A batch of 0 rows, which shows what others are like."""
        return no_batch(self.blocks.element_spec)

    def count(self) -> int:
        """Rows of the split: one pass, which also fills the cache; all workers must call it."""
        count = tf.function(
            lambda: self.blocks.reduce(
                np.int64(0), lambda n, b: n + tf.shape(next(iter(b.values())), tf.int64)[0]
            )
        )
        here = int(count())
        return self.workers.total(here) if self.by_file else here

    def in_order(self, batch_size: int = 8192) -> tf.data.Dataset:
        """Every row of this worker's once, unshuffled and always in the same order."""
        batches = self._own(self.blocks, batch_size)
        if self.workers.count > 1:  # who has no rows still learns what they are like
            batches = batches.concatenate(tf.data.Dataset.from_tensors(self.no_rows()))
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


def _later(block: dict[str, tf.Tensor], column: str, value: int) -> dict[str, tf.Tensor]:
    chosen = tf.reshape(block[column], [-1]) > value
    return {name: tf.boolean_mask(values, chosen) for name, values in block.items()}


def _permuted(block: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
    rows = tf.shape(next(iter(block.values())))[0]
    order = tf.argsort(tf.random.stateless_uniform([rows], seed))
    return {name: tf.gather(values, order) for name, values in block.items()}
