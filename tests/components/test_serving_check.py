"""The check before a push: real SavedModels, asked by a real process without our package."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2
from tfx.types import standard_artifacts

from ncs4cvr.components import serving_check, serving_replay
from ncs4cvr.components.artifacts import MODEL_ID
from ncs4cvr.components.serving_check import ServingCheck, compared, judged
from ncs4cvr.models import recording
from ncs4cvr.schemas.log import MISSING

ROWS = 300
OFF = dict.fromkeys(
    ("serving_auc_tolerance", "max_p99_ms", "max_load_s", "max_model_mb", "max_serving_mb"), 0.0
)
SPECS = {
    "user": tf.TensorSpec([None], tf.int64, "user"),
    "price": tf.TensorSpec([None], tf.float32, "price"),
    "city": tf.TensorSpec([None], tf.string, "city"),
    "history": tf.TensorSpec([None, None], tf.int64, "history"),
}
OF_REQUEST = {
    "user": tf.TensorSpec([], tf.int64, "user"),
    "history": tf.TensorSpec([1, None], tf.int64, "history"),
}


def rows_of(count, seed=1):
    """Values per column; an empty list is a missing value. Row 0 misses all but its user."""
    rng = np.random.default_rng(seed)
    rows = [{"user": [5], "price": [], "city": [], "history": []}]
    for _ in range(count - 1):
        rows.append(
            {
                "user": [int(rng.integers(9))],
                "price": [float(rng.normal())] if rng.random() < 0.8 else [],
                "city": ["Lima" * int(rng.integers(3))],
                "history": [int(v) for v in rng.integers(0, 7, rng.integers(4))],
            }
        )
    return rows


def encode(row):
    features = {}
    for name, values in row.items():
        kind = {"price": "float_list", "city": "bytes_list"}.get(name, "int64_list")
        if kind == "bytes_list":
            values = [v.encode() for v in values]
        if values:
            getattr(features.setdefault(name, tf.train.Feature()), kind).value.extend(values)
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def right(row):
    """What the model below must say of a row: its formula in plain Python."""
    ctr = 0.3 * row["user"][0] + sum(row["price"]) - 0.5 * len(row["history"])
    cvr = 0.2 * sum(row["history"]) - 0.1 * len("".join(row["city"]))
    return {"ctr": 1 / (1 + np.exp(-ctr)), "cvr": 1 / (1 + np.exp(-cvr))}


class Tiny(tf.Module):
    """One weight, a formula, and the three signatures."""

    def __init__(self, weight=0.3):
        super().__init__()
        self.weight = tf.Variable(weight)

    def score(self, user, price, city, history):
        there = history != MISSING["int"]
        price = tf.where(tf.math.is_nan(price), 0.0, price)
        length = tf.reduce_sum(tf.cast(there, tf.float32), 1)
        total = tf.reduce_sum(tf.cast(tf.where(there, history, 0), tf.float32), 1)
        ctr = self.weight * tf.cast(user, tf.float32) + price - 0.5 * length
        cvr = 0.2 * total - 0.1 * tf.cast(tf.strings.length(city), tf.float32)
        return {"ctr": tf.sigmoid(ctr), "cvr": tf.sigmoid(cvr)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def serving_default(self, examples):
        spec = {name: tf.io.VarLenFeature(s.dtype) for name, s in SPECS.items()}
        gaps = {tf.int64: MISSING["int"], tf.float32: MISSING["float"], tf.string: ""}
        columns = {}
        for name, values in tf.io.parse_example(examples, spec).items():
            gap = gaps[values.dtype]
            dense = tf.sparse.to_dense(values, gap)
            one = tf.pad(dense, [[0, 0], [0, 1]], constant_values=gap)[:, 0]
            columns[name] = dense if name == "history" else one
        return self.score(**columns)

    @tf.function
    def predict(self, **columns):
        return self.score(**columns)

    @tf.function
    def rank(self, user, history, price, city):
        rows = tf.shape(price)[0]
        return self.score(tf.fill([rows], user), price, city, tf.repeat(history, rows, 0))

    def save(self, folder, **more):
        signatures = {
            "serving_default": self.serving_default.get_concrete_function(),
            "predict": self.predict.get_concrete_function(**SPECS),
            "rank": self.rank.get_concrete_function(**{**SPECS, **OF_REQUEST}),
            **more,
        }
        tf.saved_model.save(self, str(folder), signatures=signatures)


@pytest.fixture(scope="module")
def rows():
    return rows_of(ROWS)


@pytest.fixture(scope="module")
def predictions(rows):
    answers = [right(row) for row in rows]
    return {name: np.array([a[name] for a in answers], np.float32) for name in ("ctr", "cvr")}


@pytest.fixture(scope="module")
def world(tmp_path_factory, rows, predictions):
    """A folder with the model as the Trainer leaves it, and the recorded requests."""
    folder = tmp_path_factory.mktemp("serving")
    Tiny().save(folder / "model/Format-Serving")
    (folder / "run").mkdir()
    # Labels that the predictions separate: an AUC of 1. CVR counts on every third row.
    labels = {name: (p > np.median(p)).astype(np.float32) for name, p in predictions.items()}
    labels["cvr"][np.arange(ROWS) % 3 > 0] = np.nan
    path = str(folder / "run/recorded.npz")
    recording.save(path, [encode(row) for row in rows], predictions, labels)
    return folder


def check(world, model, out, exact=1, **bounds):
    """Runs the component on a model; its blessing and its report."""
    made = standard_artifacts.Model(), standard_artifacts.ModelRun()
    blessing = standard_artifacts.InfraBlessing()
    made[0].uri, made[1].uri, blessing.uri = str(model), str(world / "run"), str(out)
    made[0].id = 11
    ServingCheck.EXECUTOR_SPEC.executor_class().Do(
        {"model": [made[0]], "model_run": [made[1]]},
        {"blessing": [blessing]},
        {"exact": exact, "code_version": "1", **OFF, **bounds},
    )
    return blessing, json.loads((Path(out) / serving_check.REPORT).read_text())


@pytest.fixture(scope="module")
def checked(world, tmp_path_factory):
    return check(world, world / "model", tmp_path_factory.mktemp("blessing"))


@pytest.fixture(scope="module")
def measured(checked):
    return {k: v for k, v in checked[1].items() if k not in ("blessed", "failures")}


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


# -- bounds --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bound", "value", "told"),
    [
        ("max_load_s", lambda m: m["load_s"], "load takes {:.2f} s; max_load_s allows {:g}"),
        (
            "max_model_mb",
            lambda m: m["model_bytes"] / 1e6,
            "the model's files take {:.2f} MB; max_model_mb allows {:g}",
        ),
        (
            "max_serving_mb",
            lambda m: m["memory_mb"],
            "memory after load is {:.2f} MB; max_serving_mb allows {:g}",
        ),
        (
            "max_p99_ms",
            lambda m: next(
                c["p99_ms"]
                for c in m["calls"]
                if c["signature"] == "serving_default" and c["batch"] == 64
            ),
            "serving_default at batch 64 takes {:.2f} ms (p99); max_p99_ms allows {:g}",
        ),
    ],
)
def test_a_bound_that_does_not_hold_is_named_with_the_value(measured, bound, value, told):
    came = value(measured)
    report = judged(measured, {**OFF, bound: came / 2})
    assert report["failures"] == [told.format(came, came / 2)]
    assert report["blessed"] is False
    assert judged(measured, {**OFF, bound: came})["blessed"] is True


def test_all_bounds_that_do_not_hold_are_named(measured):
    tight = dict.fromkeys(OFF, 1e-9)
    assert len(judged(measured, tight)["failures"]) == 4  # the tolerance is for lossy exports


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


def lossy(measured, served, tolerance):
    """The report on a lossy export whose CTR has these answers."""
    label = np.repeat([0.0, 1.0], 50)
    trainer = np.linspace(0, 1, 100)
    outputs = {"ctr": compared(served(trainer), trainer, label)}
    changed = {**measured, "exact": False, "outputs": outputs}
    return judged(changed, {**OFF, "serving_auc_tolerance": tolerance})


def test_a_lossy_export_may_differ_as_long_as_its_auc_holds(measured):
    assert lossy(measured, np.sqrt, 0.0)["blessed"] is True


def test_a_lossy_export_may_lose_no_more_auc_than_the_tolerance(measured):
    def swapped(trainer):  # the best negative and the worst positive: 1 of 2,500 pairs
        served = trainer.copy()
        served[[49, 50]] = served[[50, 49]]
        return served

    assert lossy(measured, swapped, 0.0005)["blessed"] is True
    assert lossy(measured, swapped, 0.0003)["failures"] == [
        "ctr has an auc of 0.99960, the trainer's 1.00000; "
        "serving_auc_tolerance allows a difference of 0.0003"
    ]


def test_an_answer_that_is_no_number_is_refused(measured):
    def broken(trainer):
        return np.where(trainer > 0.99, np.nan, trainer)

    assert lossy(measured, broken, 1.0)["failures"] == [
        f"ctr is NaN or infinite in 1 of {ROWS} rows"
    ]


def test_an_output_of_one_class_cannot_be_judged_by_its_auc(measured):
    some = np.array([0.1, 0.2])
    outputs = {"ctr": compared(some, some, np.array([1.0, np.nan]))}
    report = judged({**measured, "exact": False, "outputs": outputs}, OFF)
    assert "ctr cannot be judged: its 1 recorded rows are of one class" in report["failures"][0]


def test_a_ratio_is_judged_by_its_squared_error():
    found = compared(np.array([0.5, 0.25]), np.array([0.5, 0.5]), np.array([0.5, 0.75]))
    assert found["metric"] == "mse"
    assert found["served"] == pytest.approx(0.5**2 / 2)
    assert found["trainer"] == pytest.approx(0.25**2 / 2)


@pytest.mark.parametrize("difference", [2e-6, serving_replay.sys.float_info.max])
def test_a_call_that_differs_from_the_other_calls_is_named(measured, difference):
    calls = [dict(call) for call in measured["calls"]]
    calls[3].update(difference=difference, output="cvr")
    (line,) = judged({**measured, "calls": calls}, OFF)["failures"]
    assert line.startswith(f"{calls[3]['signature']} at batch {calls[3]['batch']} differs")
    assert "in cvr; 1e-06 is allowed" in line
