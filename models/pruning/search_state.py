"""What a ticket search has found so far, on disk: cut off, it goes on after its last round."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from ncs4cvr.models.learning.checkpoints import Checkpoints
from ncs4cvr.models.pruning.search import Round
from ncs4cvr.models.pruning.soft_labels import SoftLabels
from ncs4cvr.models.sparsity import Ticket
from ncs4cvr.models.together.workers import Workers

log = logging.getLogger("ncs4cvr")


class SearchState:
    """The finished rounds of a search, in one checkpoint, so that its parts cannot disagree.

    Of the rounds' networks nothing is kept: the next one rewinds to the common start anyway, which
    the seed gives again. Without dropout the search ends with the same tickets as if it had not
    been cut off.

    Args:
      full: a ticket that keeps all, per task.
      count: how many times the search prunes.
      folder: of this very search's own, which all workers can read; "" keeps nothing.
      workers: who search.
      soft: what the rounds say, of every worker's own rows.
    """

    def __init__(
        self,
        full: Sequence[Ticket],
        count: int,
        folder: str,
        workers: Workers,
        soft: SoftLabels | None = None,
    ):
        self.full, self.count, self.soft = list(full), count, soft
        self.rounds: list[Round] = []
        self.tickets = self.full  # of the next round
        self.first: list[list[Ticket]] = []
        self.saved: Checkpoints | None = None
        if folder:
            bits = len(_packed(full))
            self.story = tf.Variable("", trainable=False)
            self.masks = tf.Variable(np.zeros([count + 1, bits], np.uint8), trainable=False)
            self.drawn = tf.Variable(np.zeros([count, bits], np.uint8), trainable=False)
            state = {"story": self.story, "masks": self.masks, "drawn": self.drawn}
            if soft:
                shape = [None, len(full)]
                self.sums = tf.Variable(soft.sums, shape=shape, trainable=False)
                self.labels = tf.Variable(soft.labels, shape=[None], trainable=False)
                state |= {"sums": self.sums, "labels": self.labels}
            differs = bool(soft) and workers.count > 1
            self.saved = Checkpoints(tf.train.Checkpoint(**state), folder, workers, differs)
            if self.saved.restored():
                self._restore()

    def _restore(self) -> None:
        told = json.loads(self.story.numpy())
        masks = [self._unpacked(row) for row in self.masks.numpy()]
        self.first = [self._unpacked(row) for row in self.drawn.numpy()]
        self.rounds = [Round(masks[k], *each) for k, each in enumerate(told)]
        self.tickets = masks[min(len(told), self.count)]
        if self.soft:
            self.soft.sums, self.soft.labels = self.sums.numpy(), self.labels.numpy()
            self.soft.rounds = len(told)
        log.info("going on after round %d of %d", len(told) - 1, self.count)

    def keep(self, rounds: Sequence[Round], tickets: Sequence[Ticket]) -> None:
        """A round's end: all rounds until now, and the tickets of the next one."""
        if not self.saved:
            return
        self.story.assign(json.dumps([(dict(r.metrics), r.steps) for r in rounds]))
        masks = [*(r.tickets for r in rounds), tickets][: self.count + 1]
        self.masks[: len(masks)].assign([_packed(each) for each in masks])
        self.drawn.assign([_packed(each) for each in self.first])
        if self.soft:
            self.sums.assign(self.soft.sums)
            self.labels.assign(self.soft.labels)
        self.saved.save(len(rounds))

    def _unpacked(self, row: np.ndarray) -> list[Ticket]:
        shapes = [[mask.shape for mask in ticket] for ticket in self.full]
        sizes = [int(np.prod(shape)) for ticket in shapes for shape in ticket]
        flat = iter(np.split(np.unpackbits(row, count=sum(sizes)).astype(bool), np.cumsum(sizes)))
        return [[next(flat).reshape(shape) for shape in ticket] for ticket in shapes]


def _packed(tickets: Sequence[Ticket]) -> np.ndarray:
    """All masks of all tasks as bits."""
    return np.packbits(np.concatenate([mask.ravel() for ticket in tickets for mask in ticket]))
