"""Every task sees the common kernels under its own mask, and no others."""

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models.layers.network import SHARINGS
from ncs4cvr.models.layers.sharing import (
    ConnectionSharing,
    SharedBottom,
    SingleTask,
    get_ticket,
    set_ticket,
)
from ncs4cvr.models.sparsity import full_ticket

INPUTS, HIDDEN = 5, (7, 3)
SHAPES = [(5, 7), (7, 3)]


def _x():
    return tf.random.stateless_normal([16, INPUTS], [1, 2])


def _built(kind, **options):
    layer = kind(2, HIDDEN, **options)
    layer([_x(), _x()])
    # Biases start at zero, which would hide their part.
    for i, bias in enumerate(v for v in layer.trainable_variables if "bias" in v.name):
        bias.assign(tf.random.stateless_normal(bias.shape, [i, 7]))
    return layer


def _random_ticket(seed):
    rng = np.random.default_rng(seed)
    return [rng.random(shape) < 0.5 for shape in SHAPES]


def _copy_kernels(source, target):
    for a, b in zip(source.kernels + source.biases, target.kernels + target.biases, strict=True):
        b.assign(a)


def _gradients(layer, task, variables):
    """Of a loss of one task that no output is indifferent to."""
    with tf.GradientTape() as tape:
        out = layer([_x(), _x()])[task]
        loss = tf.reduce_sum(out**2 * tf.range(1.0, HIDDEN[-1] + 1))
    return [
        tf.zeros_like(v) if g is None else g
        for g, v in zip(tape.gradient(loss, variables), variables)
    ]


def test_keep_all_has_the_outputs_of_hard_sharing():
    ours, hard = _built(ConnectionSharing), _built(SharedBottom)
    _copy_kernels(hard.mlp, ours.mlp)
    for a, b in zip(ours([_x(), _x()]), hard([_x()]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_keep_all_has_the_gradients_of_hard_sharing():
    ours, hard = _built(ConnectionSharing), _built(SharedBottom)
    _copy_kernels(hard.mlp, ours.mlp)
    for task in range(2):
        a = _gradients(ours, task, ours.mlp.kernels + ours.mlp.biases)
        b = _gradients(hard, task, hard.mlp.kernels + hard.mlp.biases)
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


@pytest.fixture
def disjoint():
    """Connection sharing under complementary tickets, and separate MLPs that hold their parts."""
    ours, separate = _built(ConnectionSharing), _built(SingleTask)
    tickets = [_random_ticket(1), [~mask for mask in _random_ticket(1)]]
    for task, ticket in enumerate(tickets):
        set_ticket(ours.connections(task), ticket)
        own = separate.mlp_of(task)
        _copy_kernels(ours.mlp, own)
        for kernel, mask in zip(own.kernels, ticket, strict=True):
            kernel.assign(kernel * mask)
    return ours, separate, tickets


def test_disjoint_tickets_have_the_outputs_of_separate_mlps(disjoint):
    ours, separate, _ = disjoint
    for a, b in zip(ours([_x(), _x()]), separate([_x(), _x()]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_disjoint_tickets_have_the_gradients_of_separate_mlps(disjoint):
    ours, separate, tickets = disjoint
    for task, ticket in enumerate(tickets):
        a = _gradients(ours, task, ours.mlp.kernels)
        b = _gradients(separate, task, separate.mlp_of(task).kernels)
        for x, y, mask in zip(a, b, ticket, strict=True):
            np.testing.assert_allclose(x, y * mask, rtol=1e-6)


def test_a_task_has_no_gradient_outside_its_ticket():
    layer = _built(ConnectionSharing)
    set_ticket(layer.connections(0), _random_ticket(1))
    set_ticket(layer.connections(1), _random_ticket(2))
    for task in range(2):
        gradients = _gradients(layer, task, layer.mlp.kernels)
        for gradient, mask in zip(gradients, get_ticket(layer.connections(task)), strict=True):
            assert (gradient.numpy()[~mask] == 0).all()
            assert (gradient.numpy()[mask] != 0).any()


def test_biases_are_not_masked():
    layer = _built(ConnectionSharing)
    set_ticket(layer.connections(0), [np.zeros(shape, bool) for shape in SHAPES])
    expected = tf.nn.relu(layer.mlp.biases[-1])  # nothing comes through but the last bias
    np.testing.assert_array_equal(layer([_x(), _x()])[0][0], expected)


def test_separate_mlps_share_nothing():
    layer = _built(SingleTask)
    for variables in (layer.mlps[0].kernels, layer.mlps[0].biases):
        assert all((g.numpy() == 0).all() for g in _gradients(layer, 1, variables))


def test_masks_are_no_trainable_weights():
    layer = _built(ConnectionSharing)
    assert [v.name.split("/")[-1].split(":")[0] for v in layer.trainable_variables] == [
        "kernel_0",
        "bias_0",
        "kernel_1",
        "bias_1",
    ]


def test_hard_sharing_offers_no_connections():
    assert _built(SharedBottom).connections(0) == []


def test_a_ticket_read_back_is_the_one_that_was_set():
    layer = _built(ConnectionSharing)
    set_ticket(layer.connections(1), _random_ticket(4))
    got = get_ticket(layer.connections(1))
    assert all((a == b).all() for a, b in zip(got, _random_ticket(4), strict=True))
    assert all(mask.all() for mask in get_ticket(layer.connections(0)))


@pytest.mark.parametrize("shapes", [[(5, 7)], [(5, 7), (3, 7)], [(5, 7), (7, 3), (3, 3)]])
def test_a_ticket_of_other_layers_is_refused(shapes):
    layer = _built(ConnectionSharing)
    with pytest.raises(
        ValueError, match=r"belongs to layers .*the model has \[\(5, 7\), \(7, 3\)\]"
    ):
        set_ticket(layer.connections(0), full_ticket(shapes))


@pytest.mark.parametrize("kind", SHARINGS.values(), ids=SHARINGS)
def test_dropout_works_in_training_alone(kind):
    layer = _built(kind, dropout=0.5)
    calm = [layer([_x(), _x()])[0].numpy() for _ in range(2)]
    np.testing.assert_array_equal(*calm)
    assert (layer([_x(), _x()], training=True)[0].numpy() != calm[0]).any()
