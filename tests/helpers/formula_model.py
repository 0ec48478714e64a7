"""A SavedModel whose answers are a formula, rows for it, and the check of it before a push."""

import json
from pathlib import Path

import numpy as np
import tensorflow as tf
from tfx.types import standard_artifacts

from ncs4cvr.components import serving_check
from ncs4cvr.components.serving_check import ServingCheck
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


def check(world, model, out, exact=1, bf16=0, **bounds):
    """Runs the component on a model; its blessing and its report."""
    made = standard_artifacts.Model(), standard_artifacts.ModelRun()
    blessing = standard_artifacts.InfraBlessing()
    made[0].uri, made[1].uri, blessing.uri = str(model), str(world / "run"), str(out)
    made[0].id = 11
    ServingCheck.EXECUTOR_SPEC.executor_class().Do(
        {"model": [made[0]], "model_run": [made[1]]},
        {"blessing": [blessing]},
        {"exact": exact, "bf16": bf16, "code_version": "1", **OFF, **bounds},
    )
    return blessing, json.loads((Path(out) / serving_check.REPORT).read_text())
