"""Losses by hand."""

import math

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models.layers.losses import above, bce, focal, mean, mse, product_logit

P = 0.8
LOGIT = tf.constant([math.log(P / (1 - P))] * 2)  # sigmoid(LOGIT) = .8
LABEL = tf.constant([1.0, 0.0])


def test_bce_is_the_negative_log_likelihood():
    np.testing.assert_allclose(bce(LABEL, LOGIT), [-math.log(0.8), -math.log(0.2)], rtol=1e-5)


def test_focal_weighs_by_class_and_by_what_is_missing():
    # .75 (1 - p)^2 (-log p) and .25 p^2 (-log(1 - p))
    expected = [-0.75 * 0.04 * math.log(0.8), -0.25 * 0.64 * math.log(0.2)]
    np.testing.assert_allclose(focal(LABEL, LOGIT), expected, rtol=1e-5)


def test_mse_is_the_squared_error_of_the_probability():
    ratio = tf.constant([1.0, 0.5])
    np.testing.assert_allclose(mse(ratio, LOGIT), [0.04, 0.09], rtol=1e-5)


@pytest.mark.parametrize("loss", [bce, focal, mse])
@pytest.mark.parametrize("logit", [-200.0, 200.0])
def test_losses_and_gradients_stay_finite_at_extreme_logits(loss, logit):
    z = tf.constant([logit, logit])
    with tf.GradientTape() as tape:
        tape.watch(z)
        value = loss(LABEL, z)
    assert np.isfinite(value).all()
    assert np.isfinite(tape.gradient(value, z)).all()


def test_rows_outside_the_sample_space_do_not_count():
    rows, given = tf.constant([1.0, 100.0, 3.0]), tf.constant([1.0, 0.0, 1.0])
    assert float(mean(given * rows, tf.reduce_sum(given))) == 2


def test_an_empty_sample_space_costs_nothing():
    rows = tf.constant([1.0, 2.0])
    with tf.GradientTape() as tape:
        tape.watch(rows)
        value = mean(0 * rows, tf.constant(0.0))
    assert float(value) == 0
    assert tape.gradient(value, rows).numpy().tolist() == [0, 0]


def test_the_product_logit_is_that_of_the_product():
    a, b = np.array([-3.0, 0.0, 2.0, 40.0]), np.array([1.0, -1.0, 4.0, -40.0])
    p = 1 / (1 + np.exp(-a)) / (1 + np.exp(-b))
    got = product_logit(tf.constant(a, tf.float32), tf.constant(b, tf.float32))
    np.testing.assert_allclose(got, np.log(p) - np.log1p(-p), rtol=1e-4)


def test_the_product_logit_of_two_certainties_is_finite():
    a = tf.Variable([200.0])
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(bce(tf.constant([0.0]), product_logit(a, a)))
    assert np.isfinite(loss)
    assert np.isfinite(tape.gradient(loss, a)).all()


def test_the_label_constraint_counts_only_conversions_above_clicks():
    click, conversion = tf.constant([0.0, 2.0]), tf.constant([math.log(3), 0.0])
    # sigmoid: .75 over .5 counts .25, .5 under .88 counts nothing
    np.testing.assert_allclose(above(conversion, click), [0.6 * 0.25, 0], rtol=1e-5)
