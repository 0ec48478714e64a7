"""A slimmed SavedModel computes the same, in fewer bytes."""

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import function_pb2
from tensorflow.core.protobuf import saved_model_pb2

from ncs4cvr.models.packed import slimming


class Model(tf.Module):
    """A table, a variable, a branch and equal constants."""

    def __init__(self):
        super().__init__()
        keys = tf.lookup.KeyValueTensorInitializer(["a", "b"], [1.0, 2.0])
        self.table = tf.lookup.StaticHashTable(keys, -1.0)
        self.scale = tf.Variable(3.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "word")], autograph=False)
    def call(self, word):
        value = self.table.lookup(word)
        low = tf.cond(tf.size(word) > 2, lambda: value + 1.0, lambda: value - 1.0)
        return {"out": (low + 1.0) * self.scale + 1.0}


@pytest.fixture
def folder(tmp_path):
    model = Model()
    tf.saved_model.save(model, str(tmp_path), signatures=model.call)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "expected"), [(["a", "x"], [4.0, -2.0]), (["a", "b", "x"], [10.0, 13.0, 4.0])]
)
def test_it_computes_the_same(folder, words, expected):
    slimming.slim(str(folder))
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    np.testing.assert_array_equal(signature(word=tf.constant(words))["out"], expected)
    assert signature.structured_input_signature[1]["word"].shape.as_list() == [None]


def test_it_is_smaller_and_slimming_again_changes_nothing(folder):
    path = folder / "saved_model.pb"
    before = path.read_bytes()
    slimming.slim(str(folder))
    once = path.read_bytes()
    assert len(once) < len(before)
    slimming.slim(str(folder))
    assert path.read_bytes() == once


class Counting(tf.Module):
    """Reads a variable, and another one in the order that writing it asks for."""

    def __init__(self):
        super().__init__()
        self.step, self.scale = tf.Variable(0.0), tf.Variable(2.0)

    @tf.function(input_signature=[tf.TensorSpec([], name="x")], autograph=False)
    def scaled(self, x):
        return {"out": tf.reduce_sum([x * self.scale.read_value() for _ in range(2)])}

    @tf.function(input_signature=[tf.TensorSpec([], name="x")], autograph=False)
    def counted(self, x):
        before = self.step.read_value()
        self.step.assign_add(x)
        return {"before": before, "after": self.step.read_value()}


def test_nobody_waits_for_reads_where_nobody_writes(tmp_path):
    model = Counting()
    tf.saved_model.save(model, str(tmp_path), {"scaled": model.scaled, "counted": model.counted})
    slimming.slim(str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    one, two = (loaded.signatures[name] for name in ("scaled", "counted"))
    assert one(x=tf.constant(3.0))["out"] == 12
    for step in range(4):
        assert {k: v.numpy() for k, v in two(x=tf.constant(1.0)).items()} == {
            "before": step,
            "after": step + 1,
        }
    graph = saved_model_pb2.SavedModel.FromString((tmp_path / "saved_model.pb").read_bytes())
    waits = {}
    for function in graph.meta_graphs[0].graph_def.library.function:
        ops = {node.name: node.op for node in function.node_def}
        waited = [r[1:] for node in function.node_def for r in node.input if r[0] == "^"]
        waited += function.control_ret.values()
        found = {ops[name] for name in waited} & set(slimming.READS)
        waits["AssignAddVariableOp" in ops.values()] = found
    assert waits == {True: {"ReadVariableOp"}, False: set()}


def test_references_of_every_kind_follow_the_new_names():
    function = function_pb2.FunctionDef()
    function.signature.input_arg.add(name="0")  # as a short name would be
    for name, op, inputs in (
        ("one", "Const", []),
        ("same", "Const", []),
        ("sum", "AddV2", ["one:output:0", "same:output:0", "0"]),
        ("last", "NoOp", ["^sum"]),
    ):
        node = function.node_def.add(name=name, op=op, input=inputs)
        if op == "Const":
            node.attr["value"].tensor.float_val.append(1.0)
    function.node_def[2].attr["_class"].list.s.append(b"loc:@same")
    function.ret["y"] = "sum:z:0"
    function.signature.control_output.append("done")
    function.control_ret["done"] = "last"
    slimming._merge_constants(function)
    slimming._shorten(function)
    one, total, last = function.node_def
    assert [one.name, total.name, last.name] == ["1", "2", "3"]
    assert list(total.input) == ["1:output:0", "1:output:0", "0"]
    assert total.attr["_class"].list.s[0] == b"loc:@1"
    assert list(last.input) == ["^2"]
    assert function.ret["y"] == "2:z:0"
    (end,) = function.signature.control_output
    assert dict(function.control_ret) == {end: "3"}


@pytest.mark.parametrize(("name", "shortened"), [("weights", True), ("", False)])
def test_a_resource_without_a_name_keeps_that_of_its_node(name, shortened):
    function = function_pb2.FunctionDef()
    node = function.node_def.add(name="variable", op="VarHandleOp")
    node.attr["shared_name"].s = name.encode()
    assert slimming._called_by_name(function) is not shortened
