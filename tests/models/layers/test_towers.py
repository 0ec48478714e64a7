"""Towers that exchange something: Cross-Stitch, AITM, SNR; and ESMM's, which exchange nothing."""

import math

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models.layers.towers import (
    AdaptiveTransfer,
    CrossStitch,
    EntireSpace,
    SubNetworkRouting,
)

HIDDEN = (7, 3)


def _x():
    return tf.random.stateless_normal([16, 5], [1, 2])


def _built(kind, **options):
    layer = kind(2, HIDDEN, **options)
    layer([_x(), _x()])
    return layer


def test_esmm_towers_share_nothing():
    layer = _built(EntireSpace)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer([_x(), _x()])[1] ** 2)
    assert all(g is None for g in tape.gradient(loss, layer.mlps[0].trainable_variables))


def test_cross_stitch_starts_with_nine_tenths_on_the_task_itself():
    for mix in _built(CrossStitch).mixes:
        np.testing.assert_allclose(mix, [[0.9, 0.1], [0.1, 0.9]], rtol=1e-6)


def test_cross_stitch_with_identity_mixes_is_separate_towers():
    layer = _built(CrossStitch)
    for mix in layer.mixes:
        mix.assign(tf.eye(2))
    for task, out in enumerate(layer([_x(), _x()])):
        h = _x()
        for layers in layer.layers_:
            h = layers[task](h)
        np.testing.assert_allclose(out, h, rtol=1e-5, atol=1e-6)


def test_cross_stitch_mixes_activations_layer_by_layer():
    layer = _built(CrossStitch)
    layer.mixes[0].assign([[0.5, 2.0], [0.0, 1.0]])
    layer.mixes[1].assign(tf.eye(2))
    first = [each(_x()) for each in layer.layers_[0]]
    expected = layer.layers_[1][0](0.5 * first[0] + 2.0 * first[1])
    np.testing.assert_allclose(layer([_x(), _x()])[0], expected, rtol=1e-5, atol=1e-6)


def test_the_first_task_of_aitm_is_a_plain_tower():
    layer = _built(AdaptiveTransfer)
    np.testing.assert_array_equal(layer([_x(), _x()])[0], layer.mlps[0](_x()))


def test_aitm_attends_to_the_handed_on_and_the_own_information():
    layer = _built(AdaptiveTransfer)
    h1, h2, h3 = layer.attention[0]
    q = [mlp(_x()) for mlp in layer.mlps]
    u = [layer.handed[0](q[0]), q[1]]
    scores = [np.sum(h2(v).numpy() * h3(v).numpy(), -1) / math.sqrt(3) for v in u]
    weight = np.exp(scores[0]) / (np.exp(scores[0]) + np.exp(scores[1]))
    expected = weight[:, None] * h1(u[0]).numpy() + (1 - weight)[:, None] * h1(u[1]).numpy()
    np.testing.assert_allclose(layer([_x(), _x()])[1], expected, rtol=1e-4, atol=1e-5)


def _gated(value):
    layer = _built(SubNetworkRouting, experts=3)
    for gate in layer.gates:
        gate.assign(tf.fill(gate.shape, value))
    return layer


def test_closed_connections_let_nothing_through():
    layer = _gated(-100.0)
    for bias in layer.biases:
        bias.assign(tf.random.stateless_normal(bias.shape, [3, 4]))
    for task, out in enumerate(layer([_x(), _x()])):
        expected = tf.nn.relu(layer.biases[-1][task]) * tf.ones([16, 1])
        np.testing.assert_allclose(out, expected, rtol=1e-6)


def test_open_connections_sum_all_sub_networks():
    layer = _gated(100.0)
    w0, w1, w2 = (w.numpy() for w in layer.transforms)
    us = [np.maximum(_x().numpy() @ w0[k, 0], 0) for k in range(3)]
    vs = [np.maximum(sum(u @ w1[k, j] for j, u in enumerate(us)), 0) for k in range(3)]
    for task, out in enumerate(layer([_x(), _x()])):
        expected = np.maximum(sum(v @ w2[task, j] for j, v in enumerate(vs)), 0)
        np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("value", [-3.0, 0.0, 2.0])
def test_the_penalty_is_the_expected_number_of_open_connections(value):
    layer = _gated(value)
    layer([_x(), _x()], training=False)
    # 3 x 3 between the levels and 2 x 3 to the tasks; counted over many draws.
    gate = tf.fill([200_000], value)
    tf.keras.utils.set_random_seed(1)
    open_share = float(tf.reduce_mean(tf.cast(layer.openings(gate, training=True) > 0, tf.float32)))
    assert float(layer.losses[0]) == pytest.approx(15 * open_share, rel=0.02)


def test_serving_openings_are_the_stretched_sigmoid():
    layer = _built(SubNetworkRouting, experts=3)
    openings = layer.openings(tf.constant([-100.0, 0.0, 100.0]), training=False)
    np.testing.assert_allclose(openings, [0.0, 0.5, 1.0], atol=1e-6)  # .5 * 1.2 - .1 = .5
