"""A SavedModel whose functions were put where they are called computes the same."""

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from ncs4cvr.models.packed import slimming


class Counter(tf.Module):
    """Functions within functions, which count their calls before the answer is made."""

    def __init__(self):
        super().__init__()
        keys = tf.lookup.KeyValueTensorInitializer(["a", "b"], [1.0, 2.0])
        self.table = tf.lookup.StaticHashTable(keys, -1.0)
        self.calls = tf.Variable(0.0)

        @tf.function(autograph=False)
        def innermost(x):
            self.calls.assign_add(1.0)
            return x, x + x

        @tf.function(autograph=False)
        def inner(x):
            x, double = innermost(x)
            return x * double

        @tf.function(autograph=False)
        def shared(x):
            return x + 1.0

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "word")], autograph=False)
        def call(word):
            value = shared(shared(inner(self.table.lookup(word))))
            return {"out": value, "calls": self.calls.read_value()}

        self.call = call


@pytest.fixture
def folder(tmp_path):
    """As the transform graph is: saved, loaded and saved again."""
    model = Counter()
    tf.saved_model.save(model, str(tmp_path / "first"), signatures=model.call)
    loaded = tf.saved_model.load(str(tmp_path / "first"))
    tf.saved_model.save(loaded, str(tmp_path / "second"), signatures=loaded.signatures)
    return tmp_path / "second"


def functions(folder):
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    return [f.signature.name for f in saved.meta_graphs[0].graph_def.library.function]


def test_what_is_called_in_one_place_is_there_alone(folder):
    before = functions(folder)
    slimming.slim(str(folder))
    left = functions(folder)
    assert set(left) < set(before)
    for once in ("inner", "innermost", "signature_wrapper_call"):
        assert any(once in name for name in before)
        assert not any(once in name for name in left)
    assert sum("shared" in name for name in left) == 1  # called twice


def test_answers_and_the_order_of_effects_are_the_same(folder):
    slimming.slim(str(folder))
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    for call in (1, 2):
        told = signature(word=tf.constant(["a", "b", "x"]))
        assert told["out"].numpy().tolist() == [4.0, 10.0, 4.0]  # 2 x^2 + 2
        assert told["calls"].numpy() == call
