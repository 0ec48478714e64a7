"""Soft labels: what models say of the training rows, learned in place of labels or beside them.

After a ticket search, what its rounds say. Every round trains each task's own network once. Their
mean is steadier than any of them, and than the labels of single rows; joint training under the
tickets may learn from it (distillation: Hinton et al., arXiv 1503.02531; of networks alike:
Furlanello et al., ICML 2018).

In a warm start, what the model that it goes on from says, beside the labels: one day's labels are
few and noisy, and pull away from what many days taught (Li and Hoiem, arXiv 1606.09282; of CTR
models that learn day by day: Wang et al., arXiv 2009.02147).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ncs4cvr.models.layers import losses
from ncs4cvr.models.learning import training
from ncs4cvr.models.learning.batches import BLOCK, Batches, plain
from ncs4cvr.models.learning.ranker import Ranker
from ncs4cvr.models.pruning.tickets import Tickets
from ncs4cvr.models.together.workers import Workers
from ncs4cvr.schemas.recipe import Recipe

log = logging.getLogger("ncs4cvr")
FACTS = "soft_labels"  # key of the tickets' facts
CLIP = 1e-6  # of probabilities, away from 0 and 1


class SoftLabels:
    """The rounds' mean logit, of every task and every training row that this worker reads.

    A row's soft label is sigmoid(mean over rounds of logit(p_round)), of rows without a click too:
    post-click tasks learn from all rows then.

    Args:
      recipe: its tasks.
      train: the training split.
    """

    def __init__(self, recipe: Recipe, train: Batches):
        self.recipe, self.train = recipe, train
        self.rounds = 0
        self.sums = np.zeros((0, len(recipe.tasks)), np.float32)
        self.labels = np.zeros(0, np.float32)

    def add(self, model: Ranker) -> None:
        """A round's end: adds what its networks say; all workers must call it."""
        said, labels = training.predict(model, self.train.as_read())
        p = np.stack([said[task.name] for task in self.recipe.tasks], axis=1)
        p = np.clip(p, CLIP, 1 - CLIP)
        logits = np.log(p) - np.log1p(-p)
        self.sums = self.sums + logits if self.rounds else logits
        self.labels = labels[self.recipe.tasks[0].label].astype(np.float32)
        self.rounds += 1

    def table(self) -> np.ndarray:
        """[rows, 1 + tasks]: the first task's label, by which rows are known again, and ours."""
        soft = 1 / (1 + np.exp(-self.sums / self.rounds))
        return np.concatenate([self.labels[:, None], soft], axis=1).astype(np.float32)

    def save(self, folder: str) -> dict[str, Any]:
        """Every worker writes its own beside the tickets, a record a block of rows of `table`.

        Returns:
          What the tickets' facts say of them.
        """
        rows = self.table()
        tf.io.gfile.makedirs(folder)
        with tf.io.TFRecordWriter(_file(folder, self.train.workers)) as out:
            for first in range(0, len(rows), BLOCK):
                out.write(tf.io.serialize_tensor(rows[first : first + BLOCK]).numpy())
        tasks = [task.name for task in self.recipe.tasks]
        return {"rounds": self.rounds, "workers": self.train.workers.count, "tasks": tasks}


def given(
    recipe: Recipe, train: Batches, rows: int, found: Tickets, folder: str
) -> tuple[Batches, int]:
    """The training split with the soft labels of its search, which the losses then learn from.

    Where the tickets are kept from an earlier day there was no search of these rows, and the
    labels are learned, as ever.

    Args:
      recipe: whose `soft_labels` is "rounds".
      train: the training split.
      rows: of it, of all workers.
      found: the tickets.
      folder: where they lie.

    Returns:
      The split, and how many rounds its soft labels are of: 0 where it has none.

    Raises:
      ValueError: the search left none, or they are of other rows or for other workers.
    """
    if not found.facts.get("decision", {}).get("searched", True):
        log.info("joint training learns the labels: the tickets were kept, no round saw these rows")
        return train, 0
    facts, workers = found.facts.get(FACTS), train.workers
    cure = "search again for these rows, or set soft_labels=off"
    if not facts:
        raise ValueError(
            f"the tickets in {folder} have no soft labels; search with soft_labels=rounds, or set "
            "soft_labels=off"
        )
    if facts["workers"] != workers.count:
        raise ValueError(
            f"the soft labels in {folder} are for {facts['workers']} workers, and {workers.count} "
            "train; let as many search as train, or set soft_labels=off"
        )
    records = tf.data.TFRecordDataset(_file(folder, workers))
    tables = records.map(plain(lambda record: tf.io.parse_tensor(record, tf.float32)))
    # In the search's order of tasks, which a recipe that takes its tickets need not have.
    taught = _beside(recipe, train, facts["tasks"], tables)
    try:
        has = taught.count()
    except tf.errors.OpError as error:
        raise ValueError(
            f"the soft labels in {folder} are damaged, or not of these rows; {cure}"
        ) from error
    if has != rows:
        raise ValueError(
            f"{folder}: {has:,} rows have soft labels, the training split has {rows:,}; {cure}"
        )
    log.info("joint training learns what %d rounds of the search say", facts["rounds"])
    return taught, facts["rounds"]


def of_model(recipe: Recipe, train: Batches, model: Ranker) -> Batches:
    """The training split with what a model says of its rows now; all workers must call it."""
    soft = SoftLabels(recipe, train)
    soft.add(model)
    table = tf.constant(soft.table())
    blocks = tf.data.Dataset.range(0, len(table), BLOCK)
    tables = blocks.map(plain(lambda first: table[first : first + BLOCK]))
    return _beside(recipe, train, [task.name for task in recipe.tasks], tables)


def _beside(
    recipe: Recipe, train: Batches, tasks: Sequence[str], tables: tf.data.Dataset
) -> Batches:
    """The training split with blocks of `SoftLabels.table` of these tasks.

    Reading ends with a tf.errors.OpError where these are soft labels of other rows.
    """
    names = [losses.soft(name) for name in tasks]
    (label,) = (task.label for task in recipe.tasks if task.name == tasks[0])

    @plain
    def with_soft_labels(block, table):
        table = tf.ensure_shape(table, [None, 1 + len(names)])
        known = tf.reshape(tf.cast(block[label], tf.float32), [-1])
        same = tf.debugging.Assert(
            tf.logical_and(
                tf.shape(known)[0] == tf.shape(table)[0], tf.reduce_all(known == table[:, 0])
            ),
            ["soft labels of other rows"],
        )
        with tf.control_dependencies([same]):
            return {**block, **dict(zip(names, tf.unstack(tf.identity(table)[:, 1:], axis=1)))}

    return train.beside(tables, with_soft_labels)


def _file(folder: str, workers: Workers) -> str:
    return f"{folder}/soft_labels-{workers.index:05d}-of-{workers.count:05d}"
