"""What devices tell each other: sums, of sparse gradients row by row."""

import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models import exchange, launch

# Two devices; at step s the first has the rows 0 to s - 1 of a table of 20 once, with gradients of
# 1; the second the rows 0 to 3 s - 1, with gradients of 10, and those below s twice.
TWO_DEVICES = """
import json, os, sys
import tensorflow as tf
from ncs4cvr.models import exchange

way, exchange.SMALL_TABLE, exchange.SMALLEST_ROOM = sys.argv[1], int(sys.argv[2]), 2
if way == "mirrored":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
else:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()

def own(step):
    second = tf.distribute.get_replica_context().replica_id_in_sync_group == 1
    rows = tf.concat([tf.range(step), tf.range(3 * step)], 0)[: tf.where(second, 4 * step, step)]
    each = tf.where(second, 10.0, 1.0)
    gradients = tf.fill([tf.size(rows), 2], each)
    sparse = tf.IndexedSlices(gradients, tf.cast(rows, tf.int64), tf.constant([20, 2]))
    return [sparse, tf.fill([3], each)]

def one(step, *written):
    every = exchange.summed(strategy, strategy.run(own, (step,)))
    sparse, dense = [strategy.experimental_local_results(value)[0] for value in every]
    times = tf.math.unsorted_segment_sum(tf.ones_like(sparse.values[:, 0]), sparse.indices, 20)
    told = [tf.math.unsorted_segment_sum(sparse.values, sparse.indices, 20), times, dense]
    return step + 1, *(array.write(step, x) for array, x in zip(written, told))

@tf.function(autograph=False)
def steps():
    arrays = [tf.TensorArray(tf.float32, 5) for _ in range(3)]
    _, *arrays = tf.while_loop(lambda i, *_: i < 5, one, (0, *arrays), parallel_iterations=1)
    return [array.stack() for array in arrays]

print(json.dumps([told.numpy().tolist() for told in steps()]), flush=True)
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
        sums, times, dense = map(np.array, json.loads(each))
        np.testing.assert_array_equal(sums, np.stack([expected] * 2, axis=2))
        np.testing.assert_array_equal(times > 0, row < 3 * step)
        np.testing.assert_array_equal(dense, np.full((5, 3), 11.0))


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


@pytest.mark.parametrize("most", [1, 1024, 1025, 5000])
def test_every_number_of_rows_finds_room_of_at_most_half_as_many_again(most):
    sizes = exchange.rooms(most)
    assert sizes[-1] == most
    assert all(b <= 1.5 * a for a, b in itertools.pairwise(sizes))


def test_one_device_is_told_what_it_has():
    values = [tf.ones([2]), _gradient([3, 3])]
    assert exchange.summed(tf.distribute.get_strategy(), values) is values
