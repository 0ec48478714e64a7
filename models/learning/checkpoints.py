"""Where a training that was stopped goes on: after its last finished epoch."""

from __future__ import annotations

import collections
import logging
import re

import numpy as np
import tensorflow as tf

from ncs4cvr.models.together.workers import Workers

log = logging.getLogger("ncs4cvr")


class Checkpoints:
    """The state of a training after its last epochs, on disk.

    What all workers have alike the chief writes and all read. Of state that differs each writes its
    own, and all read that of the last epoch that everyone has: so each keeps two, as one may be
    killed after others have written and before it has.

    Args:
      state: what to save.
      folder: of this very training's own, which all workers can read.
      workers: who train.
      differs: whether each has state of its own.
    """

    def __init__(
        self, state: tf.train.Checkpoint, folder: str, workers: Workers, differs: bool = False
    ):
        self.state, self.workers, self.differs = state, workers, differs
        # Shards of another number of workers would not fit.
        own = f"{folder}/{workers.index}-of-{workers.count}" if differs else folder
        self.writes = differs or workers.chief
        if self.writes:
            _throw_away_damaged(own)
        workers.meet()  # whoever wrote before them has ended: all read the same
        keep = 2 if differs else 1
        self.manager = tf.train.CheckpointManager(state, own, max_to_keep=keep)

    def restored(self) -> bool:
        """Puts back the state of the last epoch that all have; whether there is one."""
        found = {int(re.findall(r"\d+", path)[-1]): path for path in self.manager.checkpoints}
        if self.differs:
            have = self.workers.gather(
                np.array([0, *found], np.int64)
            )  # 0: there is something to send
            everyones = collections.Counter(have.tolist())
            found = {
                n: found[n] for n, times in everyones.items() if n and times == self.workers.count
            }
        if not found:
            return False
        self.state.restore(found[max(found)]).expect_partial()
        return True

    def save(self, epoch: int) -> None:
        """After so many epochs."""
        if self.writes:
            self.manager.save(checkpoint_number=epoch)


def _throw_away_damaged(folder: str) -> None:
    latest = tf.train.latest_checkpoint(folder)
    if latest and not _whole(latest):
        log.warning("the checkpoint in %s is damaged: training begins anew", folder)
        tf.io.gfile.rmtree(folder)


def _whole(checkpoint: str) -> bool:
    """Whether all of it can be read; TensorFlow keeps a checksum of every tensor."""
    try:
        reader = tf.train.load_checkpoint(checkpoint)
        for name in reader.get_variable_to_shape_map():
            reader.get_tensor(name)
    except Exception:  # IndexError, tf.errors.DataLossError and others, by what is broken
        return False
    return True
