"""What devices tell each other: sums, of sparse gradients row by row."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models import exchange, launch

# Two devices; at step s the first has the rows 0 to s - 1 of a table of 20 once, with gradients of
# 1; the second the rows 0 to 3 s - 1, with gradients of 10, and those below s twice. And a kernel.
TWO_DEVICES = """
import json, os, sys
import tensorflow as tf
from ncs4cvr.models import exchange

way, exchange.SMALL_TABLE = sys.argv[1], int(sys.argv[2])
if way == "mirrored":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy, workers = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), 1
else:
    strategy, workers = tf.distribute.MultiWorkerMirroredStrategy(), 2
mask = tf.constant([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]])

def ids(step, device):
    twice = tf.concat([tf.range(step), tf.range(3 * step)], 0)
    return twice[: tf.where(device == 1, 4 * step, step)]

def here(step):
    if way == "mirrored":
        return tf.concat([ids(step, 0), ids(step, 1)], 0)
    return ids(step, strategy.cluster_resolver.task_id)

def own(step):
    device = tf.distribute.get_replica_context().replica_id_in_sync_group
    each = tf.where(device == 1, 10.0, 1.0)
    rows = tf.cast(ids(step, device), tf.int64)
    sparse = tf.IndexedSlices(tf.fill([tf.size(rows), 2], each), rows, tf.constant([20, 2]))
    return [sparse, tf.fill([3], each), each * mask]

def one(step, agreed, *written):
    parts = agreed.step(step).parts
    parts = [parts["table"], None, parts["kernel"]]
    every = exchange.summed(strategy, strategy.run(own, (step,)), parts)
    sparse, dense, kernel = [strategy.experimental_local_results(value)[0] for value in every]
    times = tf.math.unsorted_segment_sum(tf.ones_like(sparse.values[:, 0]), sparse.indices, 20)
    told = [tf.math.unsorted_segment_sum(sparse.values, sparse.indices, 20), times, dense, kernel]
    return step + 1, *(array.write(step, x) for array, x in zip(written, told))

@tf.function(autograph=False)
def steps(count):
    counts = tf.stack([[float(here(step).shape[0])] for step in range(5)])[:count]
    needs = tf.stack([exchange.needed(here(step), 20) for step in range(5)])[:count]
    counts, (table,) = exchange.agreed(strategy, counts, [needs], workers)
    agreed = exchange.Agreed(counts, {"table": table}, {"kernel": exchange.of_ticket(mask)})
    arrays = [tf.TensorArray(tf.float32, count, element_shape=[None] * n) for n in (2, 1, 1, 2)]
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
@pytest.mark.parametrize("small", [0, 20])  # in slots, and whole
@pytest.mark.parametrize("way", ["mirrored", "workers"])
def test_in_a_compiled_loop_every_device_learns_the_sums_of_rows_that_occur(way, small):
    configs = ["{}"] if way == "mirrored" else launch.loopback(2)
    command = [sys.executable, "-c", TWO_DEVICES, way, str(small)]
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
    for each in told:
        nothing, counts, sums, times, dense, kernel = map(np.array, json.loads(each))
        assert not nothing.size
        np.testing.assert_array_equal(counts, 5 * step)
        np.testing.assert_array_equal(sums, np.stack([expected] * 2, axis=2))
        np.testing.assert_array_equal(times > 0, row < 3 * step)
        np.testing.assert_array_equal(dense, np.full((5, 3), 11.0))
        np.testing.assert_array_equal(kernel, [[[11, 0], [0, 0], [11, 11]]] * 5)


def _gradient(rows):
    values = tf.random.stateless_normal([len(rows), 3], [1, len(rows)])
    shape = tf.constant([1 << 40, 3], tf.int64)
    return tf.IndexedSlices(values, tf.constant(rows, tf.int64), shape)


def test_the_rows_of_all_slots_come_back_unchanged():
    own = [_gradient(rows) for rows in ([0, 65_535, 65_536, (1 << 31) + 1], [], [7, 0])]
    slots = tf.concat([exchange.in_slot(each, 4) for each in own], 0)
    assert slots.shape == (12, 5)
    back = exchange.from_slots(slots, own[0])
    assert back.indices.dtype == tf.int64
    np.testing.assert_array_equal(back.indices, tf.concat([each.indices for each in own], 0))
    np.testing.assert_array_equal(back.values, tf.concat([each.values for each in own], 0))


def test_of_a_small_table_others_learn_which_rows_occur_and_of_a_large_one_how_many(monkeypatch):
    ids = tf.constant([3, 0, 3, 3])
    np.testing.assert_array_equal(exchange.needed(ids, 5), [1, 0, 0, 1, 0])
    monkeypatch.setattr(exchange, "SMALL_TABLE", 4)
    np.testing.assert_array_equal(exchange.needed(ids, 5), [2])


def test_one_device_is_told_what_it_has():
    values = [tf.ones([2]), _gradient([3, 3])]
    assert exchange.summed(tf.distribute.get_strategy(), values, [None, None]) is values
