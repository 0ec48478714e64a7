"""Decoded weights compute what the masked layers do, whichever way they are computed."""

import shutil

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models.packed import asset, kernels, store
from ncs4cvr.models.packed.store import Packing

INPUTS = 12  # of the towers that conftest.py makes
TABLE = np.random.default_rng(3).normal(size=(9, 4)).astype("f4")


class Served(tf.Module):
    """Dense inputs -> what the tasks' towers make of them."""

    def __init__(self, weights, towers):
        super().__init__()
        self.weights, self.towers = weights, towers

    @tf.function(input_signature=[tf.TensorSpec([None, INPUTS])], autograph=False)
    def call(self, x):
        outputs = {f"task{t}": h for t, h in enumerate(self.towers([[x], [x]]))}
        return {**outputs, "rows": self.weights.rows(0, tf.constant([4, 2]))}


@pytest.fixture
def x():
    return np.random.default_rng(9).normal(size=(40, INPUTS)).astype("f4")


@pytest.mark.parametrize("compute", ["sparse", "dense", "auto"])
@pytest.mark.parametrize("keep", [1.0, 0.3, 0.0])
def test_every_way_computes_the_masked_layers(towers, x, tmp_path, compute, keep, forward):
    made = towers(keep=keep)
    _, computed = store.packed(made, [TABLE], Packing(compute=compute), str(tmp_path), {})
    for tower, got in zip(made, computed([[tf.constant(x)]] * 2), strict=True):
        np.testing.assert_allclose(got, forward(tower, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("compute", ["sparse", "dense"])
@pytest.mark.parametrize("keep", [1.0, 0.5, 0.06, 0.0])  # at .06 some groups of outputs are empty
@pytest.mark.parametrize("split", [0, 5])
def test_every_way_computes_tickets_in_blocks(towers, x, tmp_path, compute, keep, split, forward):
    made = towers(keep=keep, split=split, sizes=(12, 64, 48), block=16)
    _, computed = store.packed(made, [TABLE], Packing(compute=compute), str(tmp_path), {})
    parts = [tf.constant(x[:, :split]), tf.constant(x[:, split:])]
    for tower, got in zip(made, computed([parts if split else parts[1:]] * 2), strict=True):
        np.testing.assert_allclose(got, forward(tower, x), rtol=1e-4, atol=1e-5)


def test_many_inputs_are_brought_together_in_turns(towers, tmp_path, forward, monkeypatch):
    """More kept inputs than one gather brings: a group alone, two together, empty ones between."""
    monkeypatch.setattr(kernels, "GATHERED", 20)
    made = towers(keep=0.3, sizes=(40, 96, 16), block=16)
    for mask in (made[0][0].mask, made[1][0].mask):
        mask[:, 16:48] = False
        mask[:, 48:64] = True  # 40 inputs alone are more than 20
    x = np.random.default_rng(9).normal(size=(7, 40)).astype("f4")
    _, computed = store.packed(made, [], Packing(compute="sparse"), str(tmp_path), {})
    for tower, got in zip(made, computed([[tf.constant(x)]] * 2), strict=True):
        np.testing.assert_allclose(got, forward(tower, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("compute", ["sparse", "dense"])
@pytest.mark.parametrize(("tasks", "empty"), [(1, None), (3, None), (2, 0), (2, 1), (3, 2)])
def test_tickets_come_back_whatever_tasks_keep(towers, x, tmp_path, compute, tasks, empty, forward):
    """The last task's ticket is coded by those of the others; one may keep nothing."""
    made = towers(tasks=tasks)
    if empty is not None:
        for layer in made[empty]:
            layer.mask[:] = False
    _, computed = store.packed(made, [], Packing(compute=compute), str(tmp_path), {})
    for tower, got in zip(made, computed([[tf.constant(x)]] * tasks), strict=True):
        np.testing.assert_allclose(got, forward(tower, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("block", [1, 16])
@pytest.mark.parametrize("compute", ["sparse", "dense"])
def test_bf16_comes_near(towers, x, tmp_path, forward, compute, block):
    made = towers(sizes=(12, 32, 16), block=block)
    how = Packing(weights="bf16", compute=compute)
    _, computed = store.packed(made, [], how, str(tmp_path), {})
    for tower, got in zip(made, computed([[tf.constant(x)]] * 2), strict=True):
        expected = forward(tower, x)
        assert got.dtype == tf.float32
        np.testing.assert_allclose(got, expected, atol=0.02 * np.abs(expected).max())
        assert not np.allclose(got, expected, atol=1e-6)


def test_any_number_of_sparse_layers_gives_the_same(towers, x, tmp_path, forward):
    made = towers()
    weights, _ = store.packed(made, [], Packing(compute="sparse"), str(tmp_path), {})
    assert not hasattr(weights, "tables") or not weights.tables
    layout = asset.read((tmp_path / asset.NAME).read_bytes())
    both = store.Weights(str(tmp_path / asset.NAME), layout, range(2), range(2))
    both.load()
    for sparse_layers in range(3):
        computed = store.Towers(both, {0: sparse_layers})
        for tower, got in zip(made, computed([[tf.constant(x)]] * 2), strict=True):
            np.testing.assert_allclose(got, forward(tower, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("choice", [{0: 1, 3: 2, 9: 3}, {0: 3, 2: 1}, {0: 0, 2: 2, 30: 1}])
@pytest.mark.parametrize("block", [1, 16])
@pytest.mark.parametrize("weights", ["f32", "bf16"])
@pytest.mark.parametrize("split", [0, 5])
def test_a_choice_between_ways_gives_the_same(
    towers, x, tmp_path, forward, choice, block, weights, split
):
    made = towers(split=split, sizes=(12, 48, 32, 16), block=block)
    store.packed(made, [], Packing(weights=weights, compute="dense"), str(tmp_path), {})
    path = str(tmp_path / asset.NAME)
    layout = asset.read((tmp_path / asset.NAME).read_bytes())
    both = store.Weights(path, layout, range(3), range(3))
    both.load()
    parts = [tf.constant(x[:, :split]), tf.constant(x[:, split:])][0 if split else 1 :]
    computed = tf.function(store.Towers(both, choice), autograph=False, reduce_retracing=True)
    for rows in (1, 2, 5, 20, len(x)):
        for tower, got in zip(made, computed([[p[:rows] for p in parts]] * 2), strict=True):
            expected = forward(tower, x[:rows])
            near = 1e-5 if weights == "f32" else 0.03 * np.abs(expected).max()
            assert got.dtype == tf.float32
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=near)


@pytest.mark.parametrize("block", [1, 16])
@pytest.mark.parametrize("compute", ["sparse", "dense"])
def test_one_row_of_a_request_stands_for_all(towers, x, tmp_path, compute, forward, block):
    made = towers(split=5, sizes=(12, 32, 16), block=block)
    _, computed = store.packed(made, [], Packing(compute=compute), str(tmp_path), {})
    x[:, :5] = x[0, :5]
    apart = [tf.constant(x[:1, :5]), tf.constant(x[:, 5:])]
    whole = [tf.constant(x[:, :5]), tf.constant(x[:, 5:])]
    for one, all_, tower in zip(computed([apart] * 2), computed([whole] * 2), made, strict=True):
        np.testing.assert_allclose(one, forward(tower, x), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(all_, forward(tower, x), rtol=1e-4, atol=1e-5)


# -- as a SavedModel -----------------------------------------------------------------------


@pytest.fixture
def saved(towers, tmp_path):
    """A SavedModel whose source is gone, and its asset."""
    source = tmp_path / "source"
    source.mkdir()
    how = Packing(embeddings="int8", compute="sparse")
    served = Served(*store.packed(towers(), [TABLE], how, str(source), {}))
    tf.saved_model.save(served, str(tmp_path / "first"), signatures=served.call)
    shutil.rmtree(source)
    moved = tmp_path / "moved"
    shutil.move(tmp_path / "first", moved)
    return moved


def test_a_moved_copy_loads_after_its_source_is_gone(saved, towers, x, forward):
    out = tf.saved_model.load(str(saved)).signatures["serving_default"](tf.constant(x))
    for t, tower in enumerate(towers()):
        np.testing.assert_allclose(out[f"task{t}"], forward(tower, x), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(out["rows"], TABLE[[4, 2]], atol=np.abs(TABLE).max() / 250)


def test_weights_are_in_the_asset_alone(saved, towers):
    reader = tf.train.load_checkpoint(str(saved / "variables/variables"))
    shapes = reader.get_variable_to_shape_map()
    names = [name for name in shapes if name.endswith("VARIABLE_VALUE")]
    assert names == []


def test_no_request_cuts_weights_out_of_others(towers, tmp_path):
    """TensorFlow copies what it slices, unless it begins and ends at multiples of 64 bytes."""
    for compute in ("sparse", "dense"):
        folder = tmp_path / compute
        folder.mkdir()
        made = store.packed(towers(), [TABLE], Packing(compute=compute), str(folder), {})
        served = Served(*made)
        ops = {op.type for op in served.call.get_concrete_function().graph.get_operations()}
        assert not ops & {"Slice", "StridedSlice", "Split", "SplitV"}
        assert "SparseTensorDenseMatMul" in ops if compute == "sparse" else "MatMul" in ops


def _flip(blob: bytes, at: int) -> bytes:
    return blob[:at] + bytes([blob[at] ^ 1]) + blob[at + 1 :]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda blob: blob[: len(blob) // 2],
        lambda blob: b"",
        lambda blob: _flip(blob, len(blob) - 3),
        lambda blob: _flip(blob, len(blob) // 2),
        lambda blob: _flip(blob, 20),
        lambda blob: blob + b"\0",
    ],
)
def test_an_altered_asset_fails_at_load_and_says_so(saved, spoil):
    path = saved / "assets" / asset.NAME
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(tf.errors.InvalidArgumentError, match="cut off or altered"):
        tf.saved_model.load(str(saved))


def test_two_models_in_one_process_keep_their_own_weights(towers, x, tmp_path, forward):
    answers = []
    how = Packing(compute="sparse")
    for number, keep in enumerate((0.2, 0.6)):
        folder = tmp_path / str(number)
        folder.mkdir()
        served = Served(*store.packed(towers(keep), [TABLE], how, str(folder), {}))
        tf.saved_model.save(served, str(folder / "saved"), signatures=served.call)
    loaded = [tf.saved_model.load(str(tmp_path / n / "saved")) for n in "01"]
    for model, keep in zip(loaded, (0.2, 0.6), strict=True):
        out = model.signatures["serving_default"](tf.constant(x))
        answers.append(out["task0"].numpy())
        expected = forward(towers(keep)[0], x)
        np.testing.assert_allclose(answers[-1], expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(*answers)
