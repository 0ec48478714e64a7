"""Tables that are cut among workers: which rows lie where, and what becomes of them."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models.layers import embeddings
from ncs4cvr.models.layers.embeddings import FieldEmbedding
from ncs4cvr.models.layers.keys import Moves
from ncs4cvr.models.together.shards import Layout, Shard, ShardedTable
from ncs4cvr.models.together.workers import Workers
from ncs4cvr.schemas.features import Feature


def _workers(count):
    return [Workers(tf.distribute.get_strategy(), index, count) for index in range(count)]


def _whole(shards, rows):
    """The table that some shards make up."""
    table = np.empty([rows, shards[0].dim], np.float32)
    for index, shard in enumerate(shards):
        own = table[index :: len(shards)]
        own[:] = shard.own.numpy()[: len(own)]
    return table


@pytest.mark.parametrize("rows", [1, 5, 6])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_row_has_a_key_of_its_own_among_those_of_its_shard(rows, count):
    layout = Layout(rows, count)
    keys = layout.keys(np.arange(rows))
    assert len(set(keys)) == rows
    assert keys.max() < layout.span
    np.testing.assert_array_equal(keys // layout.each, np.arange(rows) % count)


@pytest.mark.parametrize(("blocks", "count"), itertools.product([[7], [3, 3, 1], [2, 5]], [2, 3]))
def test_each_worker_starts_with_its_rows_of_the_table(blocks, count):
    table = np.arange(14, dtype=np.float32).reshape(7, 2)
    shards = []
    for team in _workers(count):
        fresh = tf.split(table, blocks)
        shards.append(ShardedTable(Layout(7, count), 2, team, fresh, "table"))
        shards[-1].make()
    np.testing.assert_array_equal(_whole(shards, 7), table)
    assert all((moment.own == 0).numpy().all() for s in shards for moment in s.moments)


@pytest.fixture
def shards():
    """Three workers' of a table of 7 rows, all 0."""
    made = [Shard(Layout(7, 3), 2, team) for team in _workers(3)]
    for each in made:
        each.make()
    return made


def test_each_takes_its_own_rows_of_a_whole_table(shards):
    table = np.arange(14).reshape(7, 2).astype(np.float32)
    for each in shards:
        each.assign(table)
    np.testing.assert_array_equal(_whole(shards, 7), table)


def test_rows_that_have_a_past_come_from_where_they_were_and_others_stay(shards):
    old = np.arange(8).reshape(4, 2).astype(np.float32) + 1
    source, target = np.array([3, 0, 1]), np.array([0, 5, 6])
    moves = Moves(source, target, kept=3, new=4, rows=len(old))
    for each in shards:
        moves.carry(old, each)
    expected = np.zeros((7, 2))
    expected[[0, 5, 6]] = old[[3, 0, 1]]
    np.testing.assert_array_equal(_whole(shards, 7), expected)


def test_a_shard_takes_on_what_another_of_its_place_has(shards):
    other = Shard(Layout(7, 3), 2, shards[1].workers)
    other.make()
    other.own.assign_add(tf.ones([3, 2]))
    shards[1].assign(other)
    np.testing.assert_array_equal(shards[1].own, np.ones((3, 2)))


def test_rows_that_nobody_fetched_are_no_zeros():
    table = ShardedTable(Layout(4, 2), 2, _workers(2)[0], [tf.ones([4, 2])], "table")
    assert table.lookup(tf.zeros([0, 3], tf.int64)).shape == (0, 3, 2)
    with pytest.raises(RuntimeError, match="were not fetched"):
        table.lookup(tf.constant([1]))
    with table.showing(lambda ids: ids + 1):
        assert int(table.lookup(tf.constant(1))) == 2


def _embedding(rows, workers=None):
    tf.keras.utils.set_random_seed(5)
    made = FieldEmbedding([Feature("user"), Feature("tab")], {"user": rows, "tab": 3}, 4, workers)
    made.build(None)
    return made


@pytest.mark.parametrize("block", [100, 8])
def test_a_table_starts_alike_whether_it_is_cut_or_whole(monkeypatch, block):
    monkeypatch.setattr(embeddings, "BLOCK", block)
    whole = _embedding(20)
    cut = [_embedding(20, team) for team in _workers(2)]
    for each in cut:
        each.table.make()
    np.testing.assert_array_equal(_whole([each.table for each in cut], 23), whole.table)
    assert len(np.unique(whole.table)) > 80  # of 92: blocks are not each other's copies
    np.testing.assert_array_equal(cut[1].scales, whole.scales)


def test_among_the_weights_of_a_layer_a_cut_table_stands_where_a_whole_one_does():
    layer = _embedding(20, _workers(2)[0])
    assert [w.shape for w in layer.weights] == [w.shape for w in _embedding(20).weights]
    assert layer.weights[0] is layer.table
