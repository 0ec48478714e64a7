"""Small models whose scores are arithmetic, with the signatures of a pushed one."""

from pathlib import Path

import tensorflow as tf

from ncs4cvr.schemas.log import MISSING

GAP = MISSING["int"]


class Small(tf.Module):
    """ctr = user / 100, cvr = price (0 if missing) + the history's length, ctcvr = their product.

    An empty city takes .5 off the ctr.
    """

    @staticmethod
    def score(user, city, price, history):
        length = tf.reduce_sum(tf.cast(history != tf.constant(GAP, tf.int64), tf.float32), axis=1)
        ctr = tf.cast(user, tf.float32) / 100 - tf.where(city == "", 0.5, 0.0)
        cvr = tf.where(tf.math.is_nan(price), 0.0, price) + length
        return {"ctr": ctr, "cvr": cvr, "ctcvr": ctr * cvr}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "examples")])
    def serving_default(self, examples):
        spec = {
            "user": tf.io.FixedLenFeature([], tf.int64),
            "price": tf.io.FixedLenFeature([], tf.float32),
        }
        row = tf.io.parse_example(examples, spec)
        none = tf.fill([tf.shape(row["user"])[0], 1], tf.constant(GAP, tf.int64))
        city = tf.fill(tf.shape(row["user"]), "Oslo")
        return self.score(row["user"], city, row["price"], none)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int64, "user"),
            tf.TensorSpec([None], tf.string, "city"),
            tf.TensorSpec([None], tf.float32, "price"),
            tf.TensorSpec([None, None], tf.int64, "history"),
        ]
    )
    def predict(self, user, city, price, history):
        return self.score(user, city, price, history)

    @tf.function(
        input_signature=[
            tf.TensorSpec([1], tf.int64, "user"),
            tf.TensorSpec([1], tf.string, "city"),
            tf.TensorSpec([None], tf.float32, "price"),
            tf.TensorSpec([1, None], tf.int64, "history"),
        ]
    )
    def rank(self, user, city, price, history):
        rows = tf.shape(price)[0]
        return self.score(
            tf.repeat(user, rows),
            tf.repeat(city, rows),
            price,
            tf.repeat(history, rows, axis=0),
        )


class One(Small):
    """The same with one output, the cvr, under another name."""

    @staticmethod
    def score(user, city, price, history):
        return {"watch": Small.score(user, city, price, history)["cvr"]}


def saved(module: tf.Module, folder: Path) -> Path:
    """The module as a SavedModel with its three signatures."""
    signatures = {n: getattr(module, n) for n in ("serving_default", "predict", "rank")}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    return folder
