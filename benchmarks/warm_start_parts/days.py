"""The rows of a run's training and validation splits, a file a day."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from ncs4cvr.models.learning.batches import DAY, Batches
from ncs4cvr.schemas.recipe import Recipe
from quality_parts.data import BLOCK, Data, NoRun


@dataclass(frozen=True)
class Days:
    """Where each day's raw examples lie.

    Attributes:
      files: of the days yyyymmdd, in their order.
      graph: what turns them into features.
    """

    files: dict[int, Path]
    graph: tft.TFTransformOutput

    def rows(self, first: int, last: int) -> Batches:
        """All rows from the first day's to the last one's."""
        return Batches([str(f) for d, f in self.files.items() if first <= d <= last], self.graph)


def by_day(recipe: Recipe, data: Data, kept: Path) -> Days:
    """Sorts training and validation rows by day; the test split is not opened.

    Args:
      recipe: the run's.
      data: its examples.
      kept: a folder for the files, of these examples alone.

    Raises:
      NoRun: the examples have no day.
    """
    graph = data.transform_graph()
    spec = graph.raw_feature_spec()
    if DAY not in spec:
        raise NoRun(f"the examples in {data.raw} have no column {DAY}; the recipe's log needs days")
    done = kept / "sorted"
    if not done.exists():
        kept.mkdir(parents=True, exist_ok=True)
        _sort([s.name for s in recipe.log.splits[:2]], data, spec[DAY], kept)
        done.touch()
    return Days({int(f.stem): f for f in sorted(kept.glob("*.gz"))}, graph)


def _sort(splits: list[str], data: Data, column: tf.io.FixedLenFeature, kept: Path) -> None:
    options = tf.io.TFRecordOptions(compression_type="GZIP")
    out: dict[int, tf.io.TFRecordWriter] = {}
    for split in splits:
        files = sorted(str(f) for f in (data.raw / f"Split-{split}").glob("*"))
        for records in tf.data.TFRecordDataset(files, "GZIP").batch(BLOCK):
            day = tf.io.parse_example(records, {DAY: column})[DAY]
            day = tf.sparse.to_dense(day) if isinstance(day, tf.SparseTensor) else day
            for row, of in zip(records.numpy(), np.ravel(day), strict=True):
                if of not in out:
                    out[of] = tf.io.TFRecordWriter(str(kept / f"{of}.gz"), options)
                out[of].write(row)
    for writer in out.values():
        writer.close()
