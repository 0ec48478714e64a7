"""An epoch in several orders of the rows: each begins with the same weights, their mean stays."""

import numpy as np
import pytest

from ncs4cvr.models import starts, training

ORDERS = 3


@pytest.fixture
def build(world, recipe):
    return lambda: starts.build(recipe, world.sizes, world.train.no_rows())


def _state(model):
    return [v.numpy() for v in (*model.trainable_variables, *model.optimizer.variables)]


def _in_orders(model, world, epoch, orders):
    return training.train_orders(model, world.train, epoch, orders, len(world.rows), "epoch")


@pytest.mark.parametrize("epoch", [0, 2])
def test_weights_and_moments_are_the_mean_of_the_orders(build, world, recipe, epoch):
    alone, losses = [], []
    for order in range(ORDERS):
        model = build()
        rows = world.train.epoch(ORDERS * epoch + order, recipe.batch_size, recipe.seed)
        losses.append(training.train_epoch(model, rows, 0, "epoch"))
        alone.append(_state(model))
    model = build()
    loss = _in_orders(model, world, epoch, ORDERS)
    assert loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert any(not np.array_equal(a, b) for a, b in zip(alone[0], alone[1], strict=True))
    for got, *of in zip(_state(model), *alone, strict=True):
        np.testing.assert_allclose(got, np.mean(of, axis=0), rtol=1e-5, atol=1e-7)
    assert int(model.optimizer.iterations) == -(-len(world.rows) // recipe.batch_size)


def test_one_order_is_an_epoch(build, world, recipe):
    one, other = build(), build()
    _in_orders(one, world, 1, 1)
    rows = world.train.epoch(1, recipe.batch_size, recipe.seed)
    training.train_epoch(other, rows, 0, "epoch")
    for a, b in zip(_state(one), _state(other), strict=True):
        np.testing.assert_array_equal(a, b)
