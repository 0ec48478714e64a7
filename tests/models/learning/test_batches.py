"""Reading a split: every row once, and an order that belongs to the epoch."""

from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models.learning import batches
from ncs4cvr.models.learning.batches import Batches, shares
from ncs4cvr.models.together.workers import Workers

ROWS, FIRST, BLOCK, BATCH = 103, 53, 10, 8
# Of the transform graph Batches wants the types, and the layer: this one leaves rows as they are.
GRAPH = SimpleNamespace(
    raw_feature_spec=lambda: {
        "row": tf.io.FixedLenFeature([], tf.int64),
        "pair": tf.io.FixedLenFeature([2], tf.float32),
    },
    transform_features_layer=lambda: dict,
)


@pytest.fixture
def split(tmp_path, monkeypatch):
    """103 numbered rows in two files, read in blocks of 10."""
    monkeypatch.setattr(batches, "BLOCK", BLOCK)
    for part, rows in enumerate((range(FIRST), range(FIRST, ROWS))):
        with tf.io.TFRecordWriter(str(tmp_path / f"part-{part}.gz"), "GZIP") as out:
            for row in rows:
                out.write(_example(row))
    return Batches(str(tmp_path / "part-*"), GRAPH)


def _example(row):
    feature = {
        "day": tf.train.Feature(int64_list=tf.train.Int64List(value=[20220100 + row])),
        "row": tf.train.Feature(int64_list=tf.train.Int64List(value=[row])),
        "pair": tf.train.Feature(float_list=tf.train.FloatList(value=[row, -row])),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def _order(dataset):
    rows = [batch["row"].numpy() for batch in dataset]
    return np.concatenate([np.array([], np.int64), *rows]).tolist()


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
    assert _order(Batches(str(tmp_path / "part-0.gz"), GRAPH).in_order(BATCH)) == list(range(FIRST))


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


def test_no_tuner_naps_while_a_pass_ends(split):
    for read in (split.epoch(0, BATCH, 1), split.in_order()):
        assert read.options().autotune.enabled is False


@pytest.mark.parametrize(
    "day", [tf.io.FixedLenFeature([1], tf.int64), tf.io.VarLenFeature(tf.int64)]
)
def test_only_rows_of_later_days_are_read(tmp_path, day):
    with tf.io.TFRecordWriter(str(tmp_path / "days.gz"), "GZIP") as out:
        for row in (2, 1, 3):
            out.write(_example(row))
    graph = SimpleNamespace(
        raw_feature_spec=lambda: {**GRAPH.raw_feature_spec(), "day": day},
        transform_features_layer=lambda: lambda rows: {"row": rows["row"]},
    )
    for after, expected in ((0, [2, 1, 3]), (20220101, [2, 3]), (20220103, [])):
        later = Batches(str(tmp_path / "days.gz"), graph, after)
        assert _order(later.in_order(BATCH)) == expected
        assert later.count() == len(expected)


def test_examples_without_days_are_an_error_that_says_the_cure(split, tmp_path):
    with pytest.raises(ValueError, match=r"warm_rows=new needs the column day.*warm_rows=all"):
        Batches(str(tmp_path / "part-*"), GRAPH, after=20220101)


def test_no_file_is_an_error_that_names_the_pattern(tmp_path):
    with pytest.raises(ValueError, match=r"no examples match .*nothing.*VideoLogExampleGen"):
        Batches(str(tmp_path / "nothing-*"), GRAPH)


# -- several workers -----------------------------------------------------------------------


def _of_worker(tmp_path, index, count):
    return Batches(str(tmp_path / "part-*"), GRAPH, workers=Workers(None, index, count))


def _steps(dataset):
    """The rows of every batch, up to the first of none."""
    for batch in dataset:
        rows = batch["row"].numpy().tolist()
        if not rows:
            return
        yield rows


@pytest.mark.parametrize("count", [2, 4])  # two files: of their own, and parts of every batch
@pytest.mark.parametrize("read", ["epoch", "in_order"])
def test_every_row_is_one_workers(split, tmp_path, read, count):
    seen = []
    for index in range(count):
        own = _of_worker(tmp_path, index, count)
        dataset = own.epoch(0, BATCH, 1) if read == "epoch" else own.in_order(BATCH)
        seen += chain.from_iterable(_steps(dataset))
    assert sorted(seen) == list(range(ROWS))


def test_with_even_files_a_worker_reads_no_other(split, tmp_path):
    other = tmp_path / "part-1.gz"
    other.write_bytes(bytes(other.stat().st_size))
    own = _of_worker(tmp_path, 0, 2)
    assert own.by_file
    assert sorted(chain.from_iterable(_steps(own.epoch(0, BATCH, 1)))) == list(range(FIRST))


def test_with_fewer_files_the_parts_make_up_one_workers_batches(split, tmp_path):
    parts = [_steps(_of_worker(tmp_path, i, 4).epoch(0, BATCH, 1)) for i in range(4)]
    expected = [batch["row"].numpy().tolist() for batch in split.epoch(0, BATCH, 1)]
    # The last batch, 7 rows, gives the last worker 1 and the others 2.
    assert [list(chain.from_iterable(batch)) for batch in zip(*parts)] == expected


def test_of_uneven_files_nobody_waits_for_the_one_with_the_largest(split, tmp_path):
    with tf.io.TFRecordWriter(str(tmp_path / "part-1.gz"), "GZIP") as out:
        out.write(_example(ROWS))
    parts = [next(_steps(_of_worker(tmp_path, i, 2).epoch(0, BATCH, 1))) for i in range(2)]
    assert [len(rows) for rows in parts] == [BATCH // 2] * 2


def test_a_worker_without_files_has_batches_of_no_rows(tmp_path):
    assert shares({"a": 3}, 2) == [["a"], []]


def test_files_are_divided_by_their_size():
    assert shares({"a": 1, "b": 1, "c": 8, "d": 6, "e": 2}, 2) == [["a", "c"], ["b", "d", "e"]]
