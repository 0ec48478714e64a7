"""The SavedModel: what it answers, what it holds, and that it needs nothing of ours."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models.layers.network import SHARINGS
from ncs4cvr.models.packed import asset
from ncs4cvr.models.pruning import starts
from ncs4cvr.models.serving import export as exporting
from ncs4cvr.models.serving.raw_columns import raw_spec
from ncs4cvr.schemas.log import MISSING

NEVER_ASKED = ("click", "conversion", "completion", "day")  # columns of training alone
WITHOUT_OURS = """
import json, sys
for name in ("ncs4cvr", "tensorflow_transform", "tensorflow_recommenders", "tfx", "tfx_bsl"):
    sys.modules[name] = None  # importing it fails
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
records = list(tf.data.TFRecordDataset(sys.argv[2], "GZIP").take(20).as_numpy_iterator())
out = model.signatures["serving_default"](tf.constant(records))
print(json.dumps({name: values.numpy().tolist() for name, values in out.items()}))
"""


@pytest.fixture(scope="module")
def model(trained):
    return trained.model


@pytest.fixture(scope="module")
def examples(world, encode):
    return [
        encode({k: v for k, v in row.items() if k not in NEVER_ASKED})
        for row in world.valid_rows[:50]
    ]


@pytest.fixture(scope="module")
def folder(trained):
    return trained.saved


@pytest.fixture(scope="module")
def saved(folder):
    return tf.saved_model.load(folder)


def _answers(saved, examples):
    out = saved.signatures["serving_default"](tf.constant(examples))
    return {name: values.numpy() for name, values in out.items()}


def _dense(rows):
    """Rows as the tensors of `predict`, gaps filled with the type's MISSING."""
    columns = {}
    for name in rows[0]:
        if name in NEVER_ASKED:
            continue
        kind = {"price": "float", "genres": "string"}.get(name, "int")
        length = max(1, *(len(row[name]) for row in rows))
        filled = [row[name] + [MISSING[kind]] * (length - len(row[name])) for row in rows]
        dtype = {"int": tf.int64, "float": tf.float32, "string": tf.string}[kind]
        columns[name] = tf.constant(filled if "history" in name else [f[0] for f in filled], dtype)
    return columns


def test_it_answers_as_the_trainer(world, model, saved, examples):
    batch = next(iter(world.valid.in_order(50)))
    served = _answers(saved, examples)
    for name, expected in model(batch).items():
        np.testing.assert_allclose(served[name], expected, atol=1e-5)


def test_it_answers_every_output_of_the_recipe(saved, examples, recipe):
    served = _answers(saved, examples)
    assert sorted(served) == sorted(o.name for o in recipe.outputs)
    np.testing.assert_allclose(served["ctcvr"], served["ctr"] * served["cvr"], rtol=1e-6)
    assert all(values.shape == (50,) for values in served.values())


def test_both_signatures_agree_gaps_included(world, saved, examples):
    rows = world.valid_rows[:50]
    assert any(not row["price"] for row in rows)
    assert any(not row["video"] for row in rows)
    assert len({len(row["history_video"]) for row in rows}) > 2
    served = _answers(saved, examples)
    predicted = saved.signatures["predict"](**_dense(rows))
    for name, expected in served.items():
        np.testing.assert_allclose(predicted[name], expected, rtol=1e-6)


def test_the_word_for_missing_equals_an_absent_feature(world, saved, encode):
    full = next(r for r in world.valid_rows if r["video"] and r["age"] and r["price"])
    full = {k: v for k, v in full.items() if k not in NEVER_ASKED}
    for name, kind in (("video", "int"), ("age", "int"), ("price", "float"), ("genres", "string")):
        absent = _answers(saved, [encode({**full, name: []})])
        marked = saved.signatures["predict"](**_dense([{**full, name: [MISSING[kind]]}]))
        np.testing.assert_allclose(marked["ctcvr"], absent["ctcvr"], rtol=1e-6, err_msg=name)


def test_one_request_may_hold_one_row_or_many(saved, examples):
    together = _answers(saved, examples)["ctcvr"]
    alone = [_answers(saved, [example])["ctcvr"][0] for example in examples[:5]]
    np.testing.assert_allclose(alone, together[:5], rtol=1e-5)


def test_it_answers_where_only_tensorflow_is_installed(world, folder, saved, tmp_path):
    done = subprocess.run(
        [sys.executable, "-I", "-c", WITHOUT_OURS, folder, f"{world.folder}/valid.gz"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    records = tf.data.TFRecordDataset(f"{world.folder}/valid.gz", "GZIP").take(20)
    expected = _answers(saved, list(records.as_numpy_iterator()))
    for name, values in json.loads(done.stdout).items():
        np.testing.assert_allclose(values, expected[name], atol=1e-6)


def _asset(folder):
    return (Path(folder) / "assets" / asset.NAME).read_bytes()


def test_it_holds_no_masks_and_no_optimizer(folder, model, unpack):
    """Heads and scales are variables, and nothing else is; the rest lies in the asset, once."""
    reader = tf.train.load_checkpoint(f"{folder}/variables/variables")
    shapes = reader.get_variable_to_shape_map()
    sizes = [int(np.prod(shapes[n])) for n in shapes if n.endswith("VARIABLE_VALUE")]
    layers = [*(v for h in model.heads for v in h.weights), model.trunks[0].embedding.scales]
    assert sorted(sizes) == sorted(int(tf.size(v)) for v in layers)
    kept = [
        (a.numpy() > 0) | (b.numpy() > 0)
        for (_, a), (_, b) in zip(*map(model.sharing.connections, range(2)), strict=True)
    ]
    layout = asset.read(_asset(folder))
    pieces = unpack(_asset(folder))[0]
    assert sum(max(map(sum, p.kept)) for p in layout.pieces) <= sum(int(k.sum()) for k in kept)
    assert {len(tower) for tower in pieces} == {len(layout.pieces)}


def test_every_tasks_kernels_are_in_the_asset_bit_by_bit(folder, model, unpack):
    """In the order of the halves: what a request has once comes first."""
    layout, (pieces, tables) = asset.read(_asset(folder)), unpack(_asset(folder))
    np.testing.assert_array_equal(tables[0], model.trunks[0].embedding.table.numpy())
    for task in range(2):
        for number, (kernel, mask) in enumerate(model.sharing.connections(task)):
            assert (mask.numpy() == 0).any(), "the task must have a ticket"
            folded = np.where(mask.numpy() > 0, kernel.numpy(), 0)
            got = np.concatenate([pieces[task][p] for p in layout.uses[task][number]])
            if not number:
                assert len(layout.uses[task][0]) == 2
                got, folded = (np.sort(each, axis=0) for each in (got, folded))
            np.testing.assert_array_equal(got, folded)


def test_an_export_that_answers_otherwise_is_an_error(
    world, model, examples, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)

    def otherwise(serialized):
        return {name: tf.fill([len(serialized)], 0.5) for name in ("ctr", "cvr", "ctcvr")}

    exported, load = SimpleNamespace(signatures={"serving_default": otherwise}), tf.saved_model.load
    monkeypatch.setattr(tf.saved_model, "save", lambda *_, **__: None)
    monkeypatch.setattr(
        tf.saved_model,
        "load",
        lambda path, *more, **by_name: (
            exported if path == "there" else load(path, *more, **by_name)
        ),
    )
    monkeypatch.setattr(exporting, "ServingModule", mock.Mock())
    monkeypatch.setattr(exporting, "slim", lambda *_: None)
    with pytest.raises(RuntimeError, match=r"there differs from the trained model by .* in ctr"):
        exporting.export(model, world.graph, "there", examples)


@pytest.mark.parametrize("sharing", ["shared_bottom", "single_task"])
def test_other_sharings_answer_as_their_trainer(world, recipe, sharing, examples):
    batch = next(iter(world.valid.in_order(50)))
    model = starts.build(recipe.replace(sharing=sharing), world.sizes, batch)
    module = exporting.ServingModule(model, world.graph)
    rows = tf.io.parse_example(examples, raw_spec(recipe, world.graph))
    served = module.score(module.features(rows))
    for name, expected in model(batch).items():
        np.testing.assert_allclose(served[name], expected, atol=1e-5)


@pytest.mark.parametrize("kind", SHARINGS)
def test_every_sharing_answers_as_it_was_trained(world, examples, recipe, kind, tmp_path):
    batch = next(iter(world.valid.in_order()))
    changed = recipe.replace(sharing=kind, tower=(3,), experts=2, compute="sparse")
    model = starts.build(changed, world.sizes, batch)
    exporting.export(model, world.graph, str(tmp_path), examples)  # checks the answers itself
    saved = _answers(tf.saved_model.load(str(tmp_path)), examples)
    np.testing.assert_allclose(saved["ctcvr"], saved["ctr"] * saved["cvr"], rtol=1e-5)


# -- ranking requests ----------------------------------------------------------------------

ONCE = ("age", "time_ms", "history_video", "history_action", "spent")


def _request(rows):
    """Columns of `rank`: those that a request has once from the first row."""
    return {n: c[:1] if n in ONCE else c for n, c in _dense(rows).items()}


def _same_request(rows):
    """The first row's request with every row's candidate."""
    return [{n: rows[0][n] if n in ONCE else v for n, v in row.items()} for row in rows]


@pytest.mark.parametrize("kind", ["ncs4cvr", "single_task", "mmoe"])
@pytest.mark.parametrize("interaction", ["dot", "concat"])
def test_a_ranking_request_answers_as_its_rows_would(
    world, examples, recipe, kind, interaction, tmp_path
):
    changed = recipe.replace(sharing=kind, interaction=interaction, compute="dense")
    model = starts.build(changed, world.sizes, next(iter(world.valid.in_order())))
    exporting.export(model, world.graph, str(tmp_path), examples)
    saved = tf.saved_model.load(str(tmp_path))
    rows = world.valid_rows[:30]
    ranked = saved.signatures["rank"](**_request(rows))
    expected = saved.signatures["predict"](**_dense(_same_request(rows)))
    for name, values in expected.items():
        np.testing.assert_allclose(ranked[name], values, atol=1e-6)


def test_a_recipe_without_request_columns_has_no_rank(world, recipe):
    every = [dataclasses.replace(f, per="candidate") for f in recipe.features]
    changed = recipe.replace(features=tuple(every))
    model = starts.build(changed, world.sizes, next(iter(world.valid.in_order())))
    assert set(exporting.ServingModule(model, world.graph).signatures()) == {
        "serving_default",
        "predict",
    }


# -- fewer bits, other computations, plain variables -----------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"weights": "bf16"},
        {"embeddings": "bf16"},
        {"embeddings": "int8"},
        {"compute": "sparse"},
        {"compute": "dense"},
    ],
)
def test_fewer_bits_move_probabilities_a_little(world, model, examples, saved, changes, tmp_path):
    other = _recipe_changed(model, world, changes)
    exporting.export(other, world.graph, str(tmp_path), examples)
    got = _answers(tf.saved_model.load(str(tmp_path)), examples)
    lossless = "compute" in changes
    for name, expected in _answers(saved, examples).items():
        np.testing.assert_allclose(got[name], expected, atol=1e-6 if lossless else 2e-3)
        assert lossless or not np.array_equal(got[name], expected)


def _recipe_changed(model, world, changes):
    """The same weights under a changed recipe."""
    batch = next(iter(world.valid.in_order(50)))
    other = starts.build(model.recipe.replace(**changes), world.sizes, batch)
    for mine, theirs in zip(other.weights, model.weights, strict=True):
        mine.assign(theirs)
    return other


def test_a_plain_export_makes_no_weights_at_load(world, model, examples, saved, tmp_path):
    exporting.export(model, world.graph, str(tmp_path), examples, plain=True)
    assert not list(tmp_path.glob(f"assets/{asset.NAME}"))
    plain = tf.saved_model.load(str(tmp_path))
    for name, expected in _answers(saved, examples).items():
        np.testing.assert_allclose(_answers(plain, examples)[name], expected, atol=1e-6)
    ranked = plain.signatures["rank"](**_request(world.valid_rows[:20]))
    packed = saved.signatures["rank"](**_request(world.valid_rows[:20]))
    np.testing.assert_allclose(ranked["ctcvr"], packed["ctcvr"], atol=1e-6)


def test_bf16_weights_without_tickets_are_refused(world, recipe):
    changed = recipe.replace(sharing="mmoe", weights="bf16")
    model = starts.build(changed, world.sizes, next(iter(world.valid.in_order())))
    with pytest.raises(ValueError, match="sharing 'mmoe' has no tickets; set weights='f32'"):
        exporting.ServingModule(model, world.graph, "unused")
