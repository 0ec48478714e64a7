"""LazyAdam: Adam on dense variables, and on the looked-up rows of a table alone."""

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models.learning.optimizer import LazyAdam


def _table():
    return tf.Variable(tf.reshape(tf.range(12.0), [6, 2]), name="table")


def _step(optimizer, table, ids, values):
    """A step whose gradient of each looked-up row is `values`."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.gather(table, ids) * values)
    optimizer.apply_gradients([(tape.gradient(loss, table), table)])


def test_dense_variables_follow_kerass_adam():
    variables = [tf.Variable([[1.0, -2.0], [3.0, 0.5]]) for _ in range(2)]
    for optimizer, variable in zip((LazyAdam(0.1), tf.keras.optimizers.Adam(0.1)), variables):
        for k in range(5):
            gradient = tf.constant([[1.0, k], [-k, 0.1]], tf.float32)
            optimizer.apply_gradients([(gradient, variable)])
    # 1 - .999 in float32, as the fused kernel takes it, is off by 5e-5 of itself.
    np.testing.assert_allclose(*[v.numpy() for v in variables], atol=1e-5)


def test_a_table_looked_up_whole_follows_kerass_adam():
    tables = [_table(), _table()]
    for optimizer, table in zip((LazyAdam(0.1), tf.keras.optimizers.Adam(0.1)), tables):
        for k in range(5):
            _step(optimizer, table, [0, 1, 2, 3, 4, 5], tf.random.stateless_normal([6, 2], [k, 0]))
    np.testing.assert_allclose(*[t.numpy() for t in tables], rtol=1e-6)


def test_the_first_step_is_the_learning_rate_long():
    table = _table()
    _step(LazyAdam(0.1), table, [2], tf.constant([[5.0, -0.3]]))
    np.testing.assert_allclose(table[2], [4 - 0.1, 5 + 0.1], rtol=1e-5)


@pytest.fixture
def after_two_steps():
    """Row 1 was looked up first, row 4 then: (optimizer, table, table and moments in between)."""
    optimizer, table = LazyAdam(0.1), _table()
    _step(optimizer, table, [1], tf.ones([1, 2]))
    between = [v.numpy() for v in (table, optimizer._momentums[0], optimizer._velocities[0])]
    _step(optimizer, table, [4], tf.ones([1, 2]))
    return optimizer, table, between


def test_rows_not_in_the_batch_do_not_move(after_two_steps):
    _, table, between = after_two_steps
    others = [0, 1, 2, 3, 5]
    np.testing.assert_array_equal(table.numpy()[others], between[0][others])
    assert (table.numpy()[4] != between[0][4]).all()


def test_moments_of_rows_not_in_the_batch_do_not_decay(after_two_steps):
    optimizer, _, between = after_two_steps
    for moments, before in zip((optimizer._momentums[0], optimizer._velocities[0]), between[1:]):
        assert (before[1] != 0).all()
        np.testing.assert_array_equal(moments.numpy()[1], before[1])


def test_kerass_adam_would_move_them():
    optimizer, table = tf.keras.optimizers.Adam(0.1), _table()
    _step(optimizer, table, [1], tf.ones([1, 2]))
    between = table.numpy()
    _step(optimizer, table, [4], tf.ones([1, 2]))
    assert (table.numpy()[1] != between[1]).all()


def test_gradients_of_a_row_that_occurs_twice_are_summed():
    tables = [_table(), _table()]
    twice, once = LazyAdam(0.1), LazyAdam(0.1)
    for k in range(3):  # Adam's first step does not see a gradient's size
        a, b = tf.constant([[1.0, 2.0 * k]]), tf.constant([[0.5 * k, -1.0]])
        _step(twice, tables[0], [3, 3], tf.concat([a, b], 0))
        _step(once, tables[1], [3], a + b)
    np.testing.assert_allclose(*[t.numpy() for t in tables], rtol=1e-6)


def test_it_works_in_a_compiled_step():
    table, same = _table(), _table()
    compiled, eager = LazyAdam(0.1), LazyAdam(0.1)
    compiled.build([table])
    step = tf.function(lambda ids: _step(compiled, table, ids, tf.ones([2, 2])), autograph=False)
    for ids in ([0, 0], [3, 1]):
        step(tf.constant(ids))
        _step(eager, same, ids, tf.ones([2, 2]))
    np.testing.assert_allclose(table.numpy(), same.numpy(), rtol=1e-6)


def _made_in_a_step(optimizer, rows):
    """Types of the operations of a compiled step whose result has as many rows as the table."""
    table = tf.Variable(tf.zeros([rows, 2]))
    optimizer.build([table])
    step = tf.function(lambda: _step(optimizer, table, [3, 5, 3], tf.ones([3, 2])))
    return _made(step.get_concrete_function(), rows)


def _made(function, rows):
    """The types of a compiled function's operations that give tensors of so many rows."""
    graphs, made = [function.graph], set()
    while graphs:
        graph = graphs.pop()
        graphs += [f.graph for f in graph._functions.values() if hasattr(f, "graph")]
        for op in graph.get_operations():
            made |= {op.type for out in op.outputs if out.shape.rank and out.shape[0] == rows}
    return made


def test_a_step_computes_nothing_of_the_size_of_a_table():
    assert _made_in_a_step(LazyAdam(0.1), 977) == set()


def test_kerass_adam_would_compute_whole_tables():
    assert "Mul" in _made_in_a_step(tf.keras.optimizers.Adam(0.1), 977)


@pytest.mark.parametrize("strategy", [tf.distribute.get_strategy(), None])
def test_a_models_step_reads_no_whole_table_with_a_strategy_either(small, strategy):
    with (strategy or tf.distribute.MirroredStrategy(["CPU:0"])).scope():
        model, batch = small()
    assert model.trunks[0].embedding.table.shape[0] == 14
    assert _made(model.compiled_step.get_concrete_function(batch), 14) == set()


@pytest.mark.parametrize("sharing", ["ncs4cvr", "single_task"])
def test_a_models_step_moves_only_rows_of_the_batch(small, sharing):
    model, batch = small(sharing=sharing)
    for _ in range(2):
        model.compiled_step(batch)  # momentum on all rows of the batch
    half = {name: values[:5] for name, values in batch.items()}
    optimizer = model.optimizer
    for trunk in model.trunks:
        table = trunk.embedding.table
        index = optimizer._index_dict[optimizer._var_key(table)]
        watched = (table, optimizer._momentums[index], optimizer._velocities[index])
        before = [v.numpy() for v in watched]
        model.compiled_step(half)
        starts = trunk.embedding.starts
        used = {int(i) + starts[n] for n in ("user", "video") for i in half[n].numpy()}
        others = [i for i in range(len(before[0])) if i not in used]
        assert others
        for old, variable in zip(before, watched, strict=True):
            np.testing.assert_array_equal(variable.numpy()[others], old[others])
            assert (variable.numpy()[sorted(used)] != old[sorted(used)]).any()
