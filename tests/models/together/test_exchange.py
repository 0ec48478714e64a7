"""What devices tell each other: sums, of sparse gradients row by row."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models.together import exchange, launch, parts
from ncs4cvr.models.together.shards import Layout

# Two devices; at step s the first has the rows 0 to s - 1 of a table of 20 once, with gradients of
# 1; the second the rows 0 to 3 s - 1, with gradients of 10, and those below s twice. And a kernel.
# Two workers have another such table cut: row r of it is r, and its gradient half of the first's.
TWO_DEVICES = """
import json, os, sys
import tensorflow as tf
from ncs4cvr.models.together import exchange, parts
from ncs4cvr.models.together.shards import Layout, ShardedTable
from ncs4cvr.models.together.workers import Workers

way, parts.COUNTED = sys.argv[1], int(sys.argv[2])
if way == "mirrored":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy, workers = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), 1
else:
    strategy, workers = tf.distribute.MultiWorkerMirroredStrategy(), 2
whole, cut = Layout(20), Layout(20, workers)
shards = []
if workers > 1:
    team = Workers(strategy, strategy.cluster_resolver.task_id, workers)
    numbers = [tf.repeat(tf.range(20.0)[:, None], 2, 1)]
    shards = [ShardedTable(cut, 2, team, numbers, "shards")]
    shards[0].make()
mask = tf.constant([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])

def ids(step, device):
    twice = tf.concat([tf.range(step), tf.range(3 * step)], 0)
    return twice[: tf.where(device == 1, 4 * step, step)]

def here(step):
    if way == "mirrored":
        return tf.concat([ids(step, 0), ids(step, 1)], 0)
    return ids(step, strategy.cluster_resolver.task_id)

def own(fetched, step, part):
    device = tf.distribute.get_replica_context().replica_id_in_sync_group
    each = tf.where(device == 1, 10.0, 1.0)
    rows = tf.cast(ids(step, device), tf.int64)
    sparse = tf.IndexedSlices(tf.fill([tf.size(rows), 2], each), rows, tf.constant([20, 2]))
    values = [sparse, tf.fill([3], each), each * mask]
    for table in fetched:
        places = part.rows.places_of(rows)
        half = tf.IndexedSlices(sparse.values / 2, places, tf.shape(table))
        values += [half, tf.gather(table, places) - tf.cast(rows, tf.float32)[:, None]]
    return values

def one(step, agreed, *written):
    told = agreed.step(step)
    kinds = [told.parts["table"], None, told.parts["kernel"]]
    part = told.parts[shards[0].ref()] if shards else None
    fetched = exchange.fetched(strategy, shards, told)
    values = list(strategy.run(own, (fetched, step, part)))
    wrong = values.pop() if shards else tf.zeros([0])
    every = exchange.summed(strategy, values, kinds + [part] * len(shards))
    sparse, dense, kernel, *half = [strategy.experimental_local_results(v)[0] for v in every]
    every = lambda x, rows: tf.math.unsorted_segment_sum(x.values, x.indices, rows)
    times = tf.math.unsorted_segment_sum(tf.ones_like(sparse.values[:, 0]), sparse.indices, 20)
    mine = [every(each, 10) for each in half] or [tf.zeros([10, 2])]
    wrong = tf.reduce_sum(tf.abs(wrong))[None]
    told = [every(sparse, 20), times, dense, kernel, *mine, wrong]
    return step + 1, *(array.write(step, x) for array, x in zip(written, told))

@tf.function(autograph=False)
def steps(count):
    counts = tf.stack([[float(here(step).shape[0])] for step in range(5)])[:count]
    layouts = [whole] + [cut] * len(shards)
    rows = [[exchange.occurring(here(s), each, s) for s in range(count)] for each in layouts]
    rows = [tf.concat([tf.zeros([0], tf.int64), *each], 0) for each in rows]
    counts, told = exchange.agreed(strategy, counts, rows, layouts, workers)
    tables = {"table": parts.Codes(*told[0], None, whole)}
    for each in shards:
        tables[each.ref()] = parts.Codes(*told[1], each, cut)
    agreed = parts.Agreed(counts, tables, {"kernel": parts.of_ticket(mask)})
    ranks = (2, 1, 1, 2, 2, 1)
    arrays = [tf.TensorArray(tf.float32, count, element_shape=[None] * n) for n in ranks]
    _, *arrays = tf.while_loop(
        lambda i, *_: i < count, lambda i, *rest: one(i, agreed, *rest), (0, *arrays),
        parallel_iterations=1,
    )
    return [counts, *(array.stack() for array in arrays)] if count else [counts]

print(json.dumps([told.numpy().tolist() for n in (0, 5) for told in steps(n)]), flush=True)
sys.stdin.read()  # whoever is done stays while the others may still be fetching from it
os._exit(0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("counted", [0, 20])  # ids are told apart by hashing, and in a table
@pytest.mark.parametrize("way", ["mirrored", "workers"])
def test_in_a_compiled_loop_every_device_learns_the_sums_of_rows_that_occur(way, counted):
    configs = ["{}"] if way == "mirrored" else launch.loopback(2)
    command = [sys.executable, "-c", TWO_DEVICES, way, str(counted)]
    started = [
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TF_CONFIG": config},
        )
        for config in configs
    ]
    told = [each.stdout.readline() for each in started]
    for each in started:
        each.communicate()
    step, row = np.arange(5)[:, None], np.arange(20)
    expected = 11.0 * (row < step) + 10.0 * (row < 3 * step)
    for worker, each in enumerate(told):
        nothing, counts, sums, times, dense, kernel, half, wrong = map(np.array, json.loads(each))
        assert not nothing.size
        np.testing.assert_array_equal(counts, 5 * step)
        np.testing.assert_array_equal(sums, np.stack([expected] * 2, axis=2))
        np.testing.assert_array_equal(times, row < 3 * step)  # each once
        mine = expected[:, worker::2] / 2 if way == "workers" else np.zeros((5, 10))
        np.testing.assert_array_equal(half, np.stack([mine] * 2, axis=2))
        np.testing.assert_array_equal(wrong, np.zeros((5, 1)))
        np.testing.assert_array_equal(dense, np.full((5, 3), 11.0))
        np.testing.assert_array_equal(kernel, [[[11, 0], [0, 0], [11, 11]]] * 5)


@pytest.mark.parametrize("counted", [0, 100])
@pytest.mark.parametrize("shards", [1, 3])
def test_every_row_that_occurs_has_a_place_of_its_own_in_its_shards_slot(
    monkeypatch, counted, shards
):
    monkeypatch.setattr(parts, "COUNTED", counted)
    layout = Layout(11, shards)
    batches = [[10, 3, 3, 0], [], [7, 4, 1]]
    codes = [exchange.occurring(tf.constant(b, tf.int64), layout, s) for s, b in enumerate(batches)]
    counts = tf.constant([[4.0], [0.0], [3.0]])
    strategy = tf.distribute.get_strategy()
    told, (found,) = exchange.agreed(strategy, counts, [tf.concat(codes, 0)], [layout], 1)
    np.testing.assert_array_equal(told, counts)
    # Of 3 shards: 0 has 0 and 3, 1 has 10; then all of 1, 4, 7 are the second's.
    assert int(found[2]) == 3
    for number, batch in enumerate(batches):
        part = parts.Codes(*found, None, layout).step(number)
        ids = tf.constant([batch], tf.int64)
        places = part.places_of(ids).numpy()
        assert places.shape == ids.shape
        place = dict(zip(batch, places[0].tolist(), strict=True))
        assert len(set(place.values())) == len(place)
        assert {p // 3 for p in place.values()} == {i % shards for i in place}
        for shard in range(shards):
            numbers, at = part.of_shard(shard)
            own = dict(zip(at.numpy().tolist(), (numbers * shards + shard).numpy().tolist()))
            assert own == {p: i for i, p in place.items() if i % shards == shard}


def test_one_device_is_told_what_it_has():
    values = [tf.ones([2]), tf.IndexedSlices(tf.ones([2, 3]), tf.constant([3, 3]))]
    assert exchange.summed(tf.distribute.get_strategy(), values, [None, None]) is values
