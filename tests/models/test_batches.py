"""Reading a split: every row once, and an order that belongs to the epoch."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models import batches
from ncs4cvr.models.batches import Batches

ROWS, BLOCK, BATCH = 103, 10, 8
# Batches asks the transform graph for nothing but the types.
GRAPH = SimpleNamespace(
    transformed_feature_spec=lambda: {
        "row": tf.io.FixedLenFeature([], tf.int64),
        "pair": tf.io.FixedLenFeature([2], tf.float32),
    }
)


@pytest.fixture
def split(tmp_path, monkeypatch):
    """103 numbered rows in two files, read in blocks of 10."""
    monkeypatch.setattr(batches, "BLOCK", BLOCK)
    for part, rows in enumerate((range(60), range(60, ROWS))):
        with tf.io.TFRecordWriter(str(tmp_path / f"part-{part}.gz"), "GZIP") as out:
            for row in rows:
                out.write(_example(row))
    return Batches(str(tmp_path / "part-*"), GRAPH)


def _example(row):
    feature = {
        "row": tf.train.Feature(int64_list=tf.train.Int64List(value=[row])),
        "pair": tf.train.Feature(float_list=tf.train.FloatList(value=[row, -row])),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def _order(dataset):
    return np.concatenate([batch["row"].numpy() for batch in dataset]).tolist()


@pytest.mark.parametrize("read", ["epoch", "in_order"])
def test_every_row_comes_exactly_once(split, read):
    dataset = split.epoch(0, BATCH, seed=1) if read == "epoch" else split.in_order(BATCH)
    assert sorted(_order(dataset)) == list(range(ROWS))


def test_a_row_keeps_its_values_together(split):
    for batch in split.epoch(0, BATCH, seed=1):
        rows = batch["row"].numpy()
        np.testing.assert_array_equal(batch["pair"], np.stack([rows, -rows], axis=1))


def test_only_the_last_batch_is_small(split):
    sizes = [int(batch["row"].shape[0]) for batch in split.epoch(0, BATCH, seed=1)]
    assert sizes == [BATCH] * (ROWS // BATCH) + [ROWS % BATCH]


def test_the_same_epoch_has_the_same_order(split):
    assert _order(split.epoch(3, BATCH, seed=1)) == _order(split.epoch(3, BATCH, seed=1))


def test_one_epoch_read_twice_has_the_same_order(split):
    epoch = split.epoch(3, BATCH, seed=1)
    assert _order(epoch) == _order(epoch)


def test_the_order_does_not_depend_on_what_was_read_before(split, tmp_path):
    expected = _order(split.epoch(2, BATCH, seed=1))
    anew = Batches(str(tmp_path / "part-*"), GRAPH)
    _order(anew.epoch(0, BATCH, seed=1))
    _order(anew.epoch(1, BATCH, seed=1))
    assert _order(anew.epoch(2, BATCH, seed=1)) == expected


def test_epochs_and_seeds_differ(split):
    orders = [
        _order(split.epoch(number, BATCH, seed))
        for number, seed in ((0, 1), (1, 1), (0, 2), (1, 2))
    ]
    assert len({tuple(order) for order in orders}) == 4


def test_rows_are_shuffled_within_blocks_and_blocks_among_each_other(split):
    in_order = _order(split.in_order(BLOCK))
    blocks = [set(in_order[i : i + BLOCK]) for i in range(0, ROWS, BLOCK)]
    order = _order(split.epoch(0, BATCH, seed=1))
    came, within = [], []
    while order:
        home = next(i for i, block in enumerate(blocks) if order[0] in block)
        part, order = order[: len(blocks[home])], order[len(blocks[home]) :]
        assert set(part) == blocks[home]
        came.append(home)
        within.append(part != in_order[home * BLOCK : home * BLOCK + len(part)])
    assert came != sorted(came)
    assert sum(within) >= len(within) - 1  # the block of 3 may stay as it was


def test_in_order_always_reads_alike(split, tmp_path):
    assert _order(split.in_order(BATCH)) == _order(
        Batches(str(tmp_path / "part-*"), GRAPH).in_order(5)
    )


def test_one_file_is_read_in_its_order(split, tmp_path):
    assert _order(Batches(str(tmp_path / "part-0.gz"), GRAPH).in_order(BATCH)) == list(range(60))


def test_count_counts_the_rows(split):
    assert split.count() == ROWS


def test_a_small_split_is_parsed_once(split, tmp_path):
    split.count()
    for path in tmp_path.glob("part-*"):
        path.unlink()
    assert sorted(_order(split.epoch(5, BATCH, seed=1))) == list(range(ROWS))


def test_a_large_split_is_read_anew(tmp_path, split, monkeypatch):
    monkeypatch.setattr(batches, "CACHE_BYTES", 10)
    large = Batches(str(tmp_path / "part-*"), GRAPH)
    assert sorted(_order(large.epoch(0, BATCH, seed=1))) == list(range(ROWS))
    assert _order(large.epoch(0, BATCH, seed=1)) == _order(split.epoch(0, BATCH, seed=1))


def test_no_file_is_an_error_that_names_the_pattern(tmp_path):
    with pytest.raises(ValueError, match=r"no transformed examples match .*nothing.*Transform"):
        Batches(str(tmp_path / "nothing-*"), GRAPH)
