"""Crossing of field vectors, against a loop; pooling of histories, by hand."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models.layers.interactions import INTERACTIONS, Concat, DotInteraction, pairwise_dots
from ncs4cvr.models.layers.interests import MeanInterests


def _fields(count):
    return tf.random.stateless_normal([6, count, 3], [4, count])


def _pairs(count):
    return list(itertools.combinations(range(count), 2))


def _looped(fields):
    dots = [tf.reduce_sum(fields[:, i] * fields[:, j], -1) for i, j in _pairs(fields.shape[1])]
    return tf.stack(dots, axis=1)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_pairwise_dots_are_every_pair_once_in_order(count):
    fields = _fields(count)
    np.testing.assert_allclose(pairwise_dots(fields), _looped(fields), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_written_gradient_is_the_one_of_the_loop(count):
    fields = _fields(count)
    upstream = tf.random.stateless_normal([6, len(_pairs(count))], [9, 9])
    gradients = []
    for function in (pairwise_dots, _looped):
        with tf.GradientTape() as tape:
            tape.watch(fields)
            value = tf.reduce_sum(function(fields) * upstream)
        gradients.append(tape.gradient(value, fields))
    np.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-5)


def test_one_field_has_no_pairs():
    assert pairwise_dots(_fields(1)).shape == (6, 0)


def test_dot_interaction_puts_the_vectors_beside_the_pairs():
    fields = _fields(4)
    out = DotInteraction()(fields)
    assert out.shape == (6, 4 * 3 // 2 + 4 * 3)
    np.testing.assert_array_equal(out[:, 6:], tf.reshape(fields, [6, 12]))


def test_concat_is_the_vectors_side_by_side():
    np.testing.assert_array_equal(Concat()(_fields(4)), tf.reshape(_fields(4), [6, 12]))


def test_a_batch_of_unknown_size_keeps_the_width():
    signature = [tf.TensorSpec([None, 5, 3])]
    traced = tf.function(DotInteraction(), input_signature=signature, autograph=False)
    assert traced.get_concrete_function().structured_outputs.shape.as_list() == [None, 25]


def test_interests_are_the_means_of_engaged_and_passed_over_videos():
    videos = tf.constant([[[1.0, 0.0], [3.0, 4.0], [5.0, 5.0], [9.0, 9.0]]])
    present = tf.constant([[1.0, 1.0, 1.0, 0.0]])
    engaged = tf.constant([[1.0, 1.0, 0.0, 1.0]])
    out = MeanInterests()(videos, present, engaged)
    assert out.numpy().tolist() == [[[2, 2], [5, 5]]]


def test_an_empty_history_is_zero():
    out = MeanInterests()(tf.ones([1, 3, 2]), tf.zeros([1, 3]), tf.zeros([1, 3]))
    assert out.numpy().tolist() == [[[0, 0], [0, 0]]]


@pytest.mark.parametrize("kind", INTERACTIONS)
def test_halves_are_the_outputs_in_another_order(kind):
    fields = np.random.default_rng(4).normal(size=(6, 5, 3)).astype("f4")
    layer = INTERACTIONS[kind]()
    request, candidates = [3, 0, 4], [1, 2]
    halves = layer.halves(tf.constant(fields[:, request]), tf.constant(fields[:, candidates]))
    order = layer.order(request, candidates, 3)
    every = layer(tf.constant(fields)).numpy()
    assert sorted(np.concatenate(order)) == list(range(every.shape[1]))
    for half, which in zip(halves, order, strict=True):
        np.testing.assert_allclose(half, every[:, which], rtol=1e-5)


@pytest.mark.parametrize("kind", INTERACTIONS)
def test_the_first_half_depends_on_the_request_alone(kind):
    rng = np.random.default_rng(4)
    once, many = rng.normal(size=(1, 2, 3)).astype("f4"), rng.normal(size=(6, 4, 3)).astype("f4")
    layer = INTERACTIONS[kind]()
    first, rest = layer.halves(tf.constant(once), tf.constant(many))
    assert first.shape[0] == 1
    repeated = layer.halves(tf.constant(np.repeat(once, 6, axis=0)), tf.constant(many))
    np.testing.assert_allclose(np.repeat(first, 6, axis=0), repeated[0], rtol=1e-5)
    np.testing.assert_allclose(rest, repeated[1], rtol=1e-5)
