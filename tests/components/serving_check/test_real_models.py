"""The check before a push: real SavedModels, asked by a real process without our package."""

from itertools import product

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from formula_model import OF_REQUEST, ROWS, SPECS, Tiny, check, encode
from ncs4cvr.components import serving_check, serving_replay
from ncs4cvr.components.artifacts import MODEL_ID
from ncs4cvr.models.serving import recording
from ncs4cvr.schemas.log import MISSING

# -- a model as it should be ---------------------------------------------------------------


def test_a_model_that_answers_as_its_trainer_is_blessed_with_its_id(checked):
    blessing, report = checked
    assert report["failures"] == []
    assert report["blessed"] is True
    assert blessing.get_int_custom_property("blessed") == 1
    assert blessing.get_int_custom_property(MODEL_ID) == 11


def test_every_signature_is_asked_at_every_batch_size(checked):
    calls = {(call["signature"], call["batch"]): call for call in checked[1]["calls"]}
    assert set(calls) == set(
        product(("serving_default", "predict", "rank"), (1, 16, 64, 256, 1024))
    )
    assert all(0 < call["p50_ms"] <= call["p99_ms"] for call in calls.values())
    assert all(call["difference"] <= 1e-6 for call in calls.values())


def test_sizes_and_memory_are_those_of_the_model_and_its_process(checked, world):
    report = checked[1]
    files = (world / "model").rglob("*")
    assert report["model_bytes"] == sum(f.stat().st_size for f in files if f.is_file())
    assert 100 < report["memory_before_load_mb"] < report["memory_mb"] < 4000
    assert report["load_s"] > 0


def test_the_quality_is_that_of_rows_with_a_label(checked):
    outputs = checked[1]["outputs"]
    assert outputs["ctr"]["rows"] == ROWS
    assert outputs["cvr"]["rows"] == ROWS / 3
    for output in outputs.values():
        assert output["metric"] == "auc"
        assert output["served"] == pytest.approx(1, abs=1e-3)
        assert output["trainer"] == pytest.approx(1)


def test_warm_up_requests_cover_signatures_and_sizes_with_few_rows(checked, rows, predictions):
    folder = f"{checked[0].uri}/stamped_model"
    saved = tf.saved_model.load(folder)
    path = f"{folder}/assets.extra/tf_serving_warmup_requests"
    seen = set()
    for record in tf.data.TFRecordDataset(path).as_numpy_iterator():
        request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
        name = request.model_spec.signature_name
        inputs = {k: tf.constant(tf.make_ndarray(v)) for k, v in request.inputs.items()}
        answer = saved.signatures[name](**inputs)
        batch = len(answer["ctr"])
        seen.add((name, batch))
        for proto in request.inputs.values():
            assert len(proto.string_val) <= serving_replay.WARMUP_ROWS
        if name != "rank":
            few = min(batch, serving_replay.WARMUP_ROWS)
            np.testing.assert_allclose(answer["ctr"][:few], predictions["ctr"][:few], atol=1e-6)
    assert seen == set(product(("serving_default", "predict", "rank"), (1, 16, 64, 256, 1024)))


def test_the_check_looks_for_the_file_that_the_trainer_writes():
    assert serving_check.RECORDED == recording.FILE


# -- other answers than the trainer's ------------------------------------------------------


def test_a_tampered_model_is_refused_and_not_handed_on(world, tmp_path):
    Tiny(weight=0.31).save(tmp_path / "model/Format-Serving")
    blessing, report = check(world, tmp_path / "model", tmp_path / "out", max_load_s=1e-3)
    assert report["blessed"] is False
    assert blessing.get_int_custom_property("blessed") == 0
    assert not (tmp_path / "out/stamped_model").exists()
    told = "\n".join(report["failures"])
    assert "ctr differs from the trainer's prediction by 0.0" in told
    assert "serving_default at batch 1 differs from the trainer's prediction by 0.0" in told
    assert "max_load_s allows 0.001" in told
    assert "cvr" not in told


def test_a_model_with_a_broken_file_is_an_error(world, tmp_path):
    folder = tmp_path / "model/Format-Serving"
    Tiny().save(folder)
    shard = folder / "variables/variables.data-00000-of-00001"
    shard.write_bytes(bytes(byte ^ 255 for byte in shard.read_bytes()))
    with pytest.raises(RuntimeError, match="cannot be served"):
        check(world, tmp_path / "model", tmp_path / "out")


def test_a_model_that_needs_the_process_that_made_it_is_an_error(world, tmp_path):
    module = Tiny()

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def here_only(examples):
        ctr = tf.py_function(lambda x: tf.fill([len(x)], 0.5), [examples], tf.float32)
        return {"ctr": ctr, "cvr": ctr}

    module.save(
        tmp_path / "model/Format-Serving", serving_default=here_only.get_concrete_function()
    )
    with pytest.raises(RuntimeError, match="cannot be served"):
        check(world, tmp_path / "model", tmp_path / "out")


def test_an_unknown_signature_is_an_error_that_names_it(tmp_path):
    module = Tiny()
    module.save(tmp_path, explain=module.serving_default.get_concrete_function())
    with pytest.raises(ValueError, match="the signature explain; known: serving_default, predict"):
        serving_replay.Model(str(tmp_path), MISSING)


def test_a_rank_that_mixes_up_the_candidates_is_found(tmp_path, rows, predictions):
    module = Tiny()

    @tf.function
    def reversed_rank(user, history, price, city):
        return module.rank(user, history, price[::-1], city[::-1])

    wrong = reversed_rank.get_concrete_function(**{**SPECS, **OF_REQUEST})
    module.save(tmp_path, rank=wrong)
    model = serving_replay.Model(str(tmp_path), MISSING)
    encoded = [encode(row) for row in rows]
    assert serving_replay.replay(model, "rank", 1, encoded, predictions)["difference"] <= 1e-6
    assert serving_replay.replay(model, "rank", 16, encoded, predictions)["difference"] > 0.01
