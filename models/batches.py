"""Transformed examples -> shuffled batches of tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

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

    Raises:
      ValueError: no file matches.
    """

    def __init__(
        self,
        pattern: str | Sequence[str],
        transform_graph: tft.TFTransformOutput,
        after: tuple[str, int] | None = None,
    ):
        files = sorted(tf.io.gfile.glob(pattern))
        if not files:
            raise ValueError(f"no transformed examples match {pattern}; was Transform run?")
        spec = transform_graph.transformed_feature_spec()
        size = sum(tf.io.gfile.stat(f).length for f in files)
        records = tf.data.TFRecordDataset(files, "GZIP", num_parallel_reads=min(4, len(files)))
        blocks = records.batch(BLOCK).map(
            lambda rows: tf.io.parse_example(rows, spec), num_parallel_calls=2, deterministic=True
        )
        if after:
            blocks = blocks.map(lambda rows: _later(rows, *after))
        self.blocks = blocks.cache() if size <= CACHE_BYTES else blocks

    def epoch(self, number: int, batch_size: int, seed: int) -> tf.data.Dataset:
        """The shuffled batches {feature: [batch, ...]} of one pass; the last may be smaller."""
        at = seed * 100_003 + number
        seeds = tf.data.Dataset.counter().map(lambda i: tf.stack([tf.cast(at, tf.int64), i]))
        blocks = self.blocks.shuffle(BLOCKS_SHUFFLED, seed=at, reshuffle_each_iteration=False)
        rows = tf.data.Dataset.zip((blocks, seeds)).map(_permuted, num_parallel_calls=1)
        return rows.rebatch(batch_size).prefetch(4)

    def count(self) -> int:
        """Rows of the split: one pass, which also fills the cache."""
        count = tf.function(
            lambda: self.blocks.reduce(
                np.int64(0), lambda n, b: n + tf.shape(next(iter(b.values())), tf.int64)[0]
            )
        )
        return int(count())

    def in_order(self, batch_size: int = 8192) -> tf.data.Dataset:
        """Every row once, unshuffled and always in the same order."""
        return self.blocks.rebatch(batch_size).prefetch(2)


def _later(block: dict[str, tf.Tensor], column: str, value: int) -> dict[str, tf.Tensor]:
    chosen = tf.reshape(block[column], [-1]) > value
    return {name: tf.boolean_mask(values, chosen) for name, values in block.items()}


def _permuted(block: dict[str, tf.Tensor], seed: tf.Tensor) -> dict[str, tf.Tensor]:
    rows = tf.shape(next(iter(block.values())))[0]
    order = tf.argsort(tf.random.stateless_uniform([rows], seed))
    return {name: tf.gather(values, order) for name, values in block.items()}
