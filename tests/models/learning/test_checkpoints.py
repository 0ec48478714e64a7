"""After which epoch a training goes on that was stopped while its workers were writing."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models.learning.checkpoints import Checkpoints


class Worker:
    """One of two, with state of its own: the number of the epoch."""

    def __init__(self, folder, index, others=()):
        self.value = tf.Variable(0)
        team = SimpleNamespace(index=index, count=2, chief=index == 0, meet=lambda: None)
        team.gather = lambda mine: np.concatenate([mine, np.array([0, *others], np.int64)])
        state = tf.train.Checkpoint(value=self.value)
        self.saved = Checkpoints(state, str(folder), team, differs=True)

    def train(self, *epochs):
        for epoch in epochs:
            self.value.assign(epoch)
            self.saved.save(epoch)


@pytest.mark.parametrize(
    ("first", "second", "common"),
    [([1, 2, 3], [1, 2], 2), ([1, 2], [1, 2], 2), ([1], [], 0), ([], [], 0)],
)
def test_all_go_on_after_the_last_epoch_that_everyone_wrote(tmp_path, first, second, common):
    Worker(tmp_path, 0).train(*first)
    Worker(tmp_path, 1).train(*second)
    for index, theirs in ((0, second[-2:]), (1, first[-2:])):
        again = Worker(tmp_path, index, theirs)
        assert again.saved.restored() == (common > 0)
        assert int(again.value) == common


def test_a_worker_that_goes_back_writes_the_same_epochs_again(tmp_path):
    Worker(tmp_path, 0).train(1, 2, 3)
    again = Worker(tmp_path, 0, [1, 2])
    assert again.saved.restored()
    again.train(3, 4)
    last = Worker(tmp_path, 0, [3, 4])
    assert last.saved.restored()
    assert int(last.value) == 4


def test_a_damaged_one_is_thrown_away_and_nobody_goes_on_from_it(tmp_path, caplog):
    Worker(tmp_path, 0).train(1, 2)
    for part in tmp_path.glob("0-of-2/*.data*"):
        part.write_bytes(part.read_bytes()[:-1])
    again = Worker(tmp_path, 0, [1, 2])
    assert "is damaged" in caplog.text
    assert not again.saved.restored()
