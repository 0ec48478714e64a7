"""Gates mix experts; which expert a task may see."""

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models.layers.dense import Experts, MaskedMLP
from ncs4cvr.models.layers.experts import MultiGateExperts, ProgressiveExperts

HIDDEN = (7, 3)


def _x():
    return tf.random.stateless_normal([16, 5], [1, 2])


def _built(kind, hidden=HIDDEN, **options):
    layer = kind(2, hidden, **options)
    layer([_x(), _x()])
    return layer


def _uniform(gates):
    """softmax(0) weighs all experts alike."""
    for gate in gates:
        gate.kernel.assign(tf.zeros_like(gate.kernel))


def _picks(gate, expert):
    """A gate that gives (almost) all its weight to one expert where x's first entry is positive."""
    kernel = np.zeros(gate.kernel.shape, "float32")
    kernel[0, expert] = 1000
    gate.kernel.assign(kernel)


def test_each_expert_is_an_mlp_of_its_own():
    experts = Experts(3, HIDDEN)
    out = experts(_x())
    assert out.shape == (3, 16, 3)
    for e in range(3):
        mlp = MaskedMLP(HIDDEN, 0)
        mlp(_x())
        for source, target in zip(experts.kernels + experts.biases, mlp.kernels + mlp.biases):
            target.assign(tf.reshape(source[e], target.shape))
        np.testing.assert_allclose(mlp(_x()), out[e], rtol=1e-5, atol=1e-6)


def test_experts_start_different():
    kernel = Experts(2, HIDDEN)
    kernel(_x())
    assert (kernel.kernels[0][0].numpy() != kernel.kernels[0][1].numpy()).all()


def test_mmoe_with_equal_gates_is_the_mean_of_the_experts():
    layer = _built(MultiGateExperts, experts=4)
    _uniform(layer.gates)
    mean = tf.reduce_mean(layer.experts(_x()), axis=0)
    for out in layer([_x(), _x()]):
        np.testing.assert_allclose(out, mean, rtol=1e-5, atol=1e-6)


def test_a_task_of_mmoe_takes_what_its_own_gate_picks():
    layer = _built(MultiGateExperts, experts=4)
    _picks(layer.gates[0], 1)
    _picks(layer.gates[1], 3)
    positive = _x()[:, 0].numpy() > 0.1
    experts = layer.experts(_x()).numpy()
    for out, expert in zip(layer([_x(), _x()]), (1, 3), strict=True):
        np.testing.assert_allclose(out.numpy()[positive], experts[expert][positive], atol=1e-5)


def test_one_level_of_ple_is_a_mix_of_own_and_common_experts():
    layer = _built(ProgressiveExperts, hidden=(3,), experts=2)
    own, common, gates, common_gate = layer.levels[0]
    assert common_gate is None  # nothing above the last level would read it
    _uniform(gates)
    for task, out in enumerate(layer([_x(), _x()])):
        both = tf.concat([own[task](_x()), common(_x())], axis=0)
        np.testing.assert_allclose(out, tf.reduce_mean(both, axis=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("task", [0, 1])
def test_a_task_of_one_level_ple_gives_the_others_experts_no_gradient(task):
    layer = _built(ProgressiveExperts, hidden=(3,), experts=2)
    own, common, _, _ = layer.levels[0]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer([_x(), _x()])[task] ** 2)
    mine, others, ours = tape.gradient(
        loss, [own[task].kernels[0], own[1 - task].kernels[0], common.kernels[0]]
    )
    assert others is None
    assert (mine.numpy() != 0).any()
    assert (ours.numpy() != 0).any()


def test_the_common_part_of_lower_levels_mixes_all_experts():
    layer = _built(ProgressiveExperts, hidden=(4, 3), experts=2)
    own, common, gates, common_gate = layer.levels[0]
    _uniform([*gates, common_gate])
    state = tf.reduce_mean(tf.concat([own[0](_x()), own[1](_x()), common(_x())], axis=0), axis=0)
    mine = tf.reduce_mean(tf.concat([own[0](_x()), common(_x())], axis=0), axis=0)
    own, common, gates, _ = layer.levels[1]
    _uniform(gates)
    expected = tf.reduce_mean(tf.concat([own[0](mine), common(state)], axis=0), axis=0)
    np.testing.assert_allclose(layer([_x(), _x()])[0], expected, rtol=1e-5, atol=1e-6)
