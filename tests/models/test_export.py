"""The SavedModel: what it answers, what it holds, and that it needs nothing of ours."""

import json
import subprocess
import sys
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from ncs4cvr.models import export as exporting
from ncs4cvr.models import lottery
from ncs4cvr.models.export import raw_spec
from ncs4cvr.models.ranker import SHARINGS
from ncs4cvr.schemas.log import MISSING

LABELS = ("click", "conversion", "completion")
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
        encode({k: v for k, v in row.items() if k not in LABELS}) for row in world.valid_rows[:50]
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
        if name in LABELS:
            continue
        kind = {"price": "float", "genres": "string"}.get(name, "int")
        length = max(len(row[name]) for row in rows)
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
    full = {k: v for k, v in full.items() if k not in LABELS}
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
        [sys.executable, "-I", "-c", WITHOUT_OURS, folder, f"{world.folder}/raw_valid.gz"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    records = tf.data.TFRecordDataset(f"{world.folder}/raw_valid.gz", "GZIP").take(20)
    expected = _answers(saved, list(records.as_numpy_iterator()))
    for name, values in json.loads(done.stdout).items():
        np.testing.assert_allclose(values, expected[name], atol=1e-6)


def _variables(folder):
    """Every saved array, by its name in the SavedModel."""
    reader = tf.train.load_checkpoint(f"{folder}/variables/variables")
    names = [n for n in reader.get_variable_to_shape_map() if n.endswith("VARIABLE_VALUE")]
    return {name: reader.get_tensor(name) for name in names}


def test_it_holds_no_masks_and_no_optimizer(folder, model):
    variables = _variables(folder)
    trunk = sum(int(tf.size(v)) for v in model.trunks[0].trainable_variables)
    tower = sum(int(tf.size(v)) for v in model.sharing.mlp.trainable_variables)
    heads = sum(int(tf.size(v)) for head in model.heads for v in head.trainable_variables)
    assert sum(values.size for values in variables.values()) == trunk + 2 * tower + heads
    assert not [name for name in variables if "optimizer" in name or "mask" in name]


def test_pruned_connections_are_zero_in_the_saved_kernels(folder, model):
    saved = list(_variables(folder).values())
    for task in range(2):
        for kernel, mask in model.sharing.connections(task):
            assert (mask.numpy() == 0).any(), "the task must have a ticket"
            folded = np.where(mask.numpy() > 0, kernel.numpy(), 0)
            assert any(np.array_equal(folded, values) for values in saved)


def test_the_warm_up_file_holds_a_request_that_the_model_answers(folder, saved):
    path = f"{folder}/assets.extra/tf_serving_warmup_requests"
    (record,) = list(tf.data.TFRecordDataset(path).as_numpy_iterator())
    request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
    assert request.model_spec.signature_name == "serving_default"
    examples = tf.make_ndarray(request.inputs["examples"])
    assert len(examples) == exporting.WARMUP_REQUESTS
    assert np.isfinite(_answers(saved, list(examples))["ctcvr"]).all()


def test_an_export_that_answers_otherwise_is_an_error(world, model, examples, monkeypatch):
    def otherwise(serialized):
        return {name: tf.fill([len(serialized)], 0.5) for name in ("ctr", "cvr", "ctcvr")}

    loaded = SimpleNamespace(signatures={"serving_default": otherwise})
    monkeypatch.setattr(tf.saved_model, "save", lambda *_, **__: None)
    monkeypatch.setattr(tf.saved_model, "load", lambda *_: loaded)
    monkeypatch.setattr(exporting, "ServingModule", mock.Mock())
    monkeypatch.setattr(exporting, "write_warmup", lambda *_: None)
    with pytest.raises(RuntimeError, match=r"there differs from the trained model by .* in ctr"):
        exporting.export(model, world.graph, "there", examples)


@pytest.mark.parametrize("sharing", ["shared_bottom", "single_task"])
def test_other_sharings_answer_as_their_trainer(world, recipe, sharing, examples):
    batch = next(iter(world.valid.in_order(50)))
    model = lottery.build(recipe.replace(sharing=sharing), world.sizes, batch)
    module = exporting.ServingModule(model, world.graph)
    rows = tf.io.parse_example(examples, raw_spec(recipe, world.graph))
    served = module.score(rows)
    for name, expected in model(batch).items():
        np.testing.assert_allclose(served[name], expected, atol=1e-5)


@pytest.mark.parametrize("kind", SHARINGS)
def test_every_sharing_answers_as_it_was_trained(world, examples, recipe, kind, tmp_path):
    batch = next(iter(world.valid.in_order()))
    model = lottery.build(recipe.replace(sharing=kind, tower=(3,), experts=2), world.sizes, batch)
    exporting.export(model, world.graph, str(tmp_path), examples)  # checks the answers itself
    saved = _answers(tf.saved_model.load(str(tmp_path)), examples)
    np.testing.assert_allclose(saved["ctcvr"], saved["ctr"] * saved["cvr"], rtol=1e-5)
