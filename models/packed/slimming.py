"""Takes out of a saved_model.pb what only repeats itself: a third of it, with many columns."""

from __future__ import annotations

import itertools

import tensorflow as tf
from tensorflow.core.framework import function_pb2, node_def_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from ncs4cvr.models.packed.inlining import inline, rewire, used

SHAPES = "_output_shapes"
READS = ("VarHandleOp", "ReadVariableOp")


def slim(folder: str) -> None:
    """Makes the functions of a SavedModel smaller; they compute the same.

    Functions that are called in one place are put there (see inlining.py). Shapes that saving notes
    on every node go, as loaders infer them, and definitions of ops, as they have them. Equal
    constants of a function become one, and no node waits for a variable to be read where none is
    written. Nodes inside functions get short names, unless somebody
    calls them by theirs: a function that makes resources without a name (the node's is the
    resource's) or that has a gradient of its own (Python's loader looks its tensors up) stays as it
    is.

    Args:
      folder: of the SavedModel.
    """
    path = f"{folder}/saved_model.pb"
    with tf.io.gfile.GFile(path, "rb") as file:
        saved = saved_model_pb2.SavedModel.FromString(file.read())
    for graph in saved.meta_graphs:
        graph.meta_info_def.ClearField("stripped_op_list")
        inline(graph.graph_def.library, _called(graph))
        written = _near_writing(graph.graph_def.library)
        for function in graph.graph_def.library.function:
            for node in function.node_def:
                node.attr.pop(SHAPES, None)
            if function.signature.name not in written:
                _forget_reads(function)
            if not _called_by_name(function):
                _merge_constants(function)
                _shorten(function)
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(saved.SerializeToString(deterministic=True))
    # Checksums of the graph as it was; loaders do without.
    if tf.io.gfile.exists(f"{folder}/fingerprint.pb"):
        tf.io.gfile.remove(f"{folder}/fingerprint.pb")


def _called(graph: meta_graph_pb2.MetaGraphDef) -> set[str]:
    """Names of the functions that loaders and the graph's own nodes call or look into."""
    nodes, objects = graph.graph_def.node, graph.object_graph_def
    functions = [f for n in nodes for v in n.attr.values() for f in (v.func, *v.list.func)]
    looked_into = {o.captured_tensor.concrete_function for o in objects.nodes}
    return {f.name for f in functions} | set(objects.concrete_functions) | looked_into


def _called_by_name(function: function_pb2.FunctionDef) -> bool:
    if "internal_grad_fn" in function.signature.name:
        return True
    return any(
        "_gradient_op_type" in node.attr
        or ("shared_name" in node.attr and not node.attr["shared_name"].s)
        for node in function.node_def
    )


def _near_writing(library: function_pb2.FunctionDefLibrary) -> set[str]:
    """Names of the functions that write variables, and of all that call them or are called."""
    calls = {f.signature.name: {u for n in f.node_def for u in used(n)} for f in library.function}
    written = {
        f.signature.name
        for f in library.function
        if any(n.op.startswith("Assign") for n in f.node_def)
    }
    while more := {
        name
        for name, called in calls.items()
        if name not in written and (called & written or any(name in calls[w] for w in written))
    }:
        written |= more
    return written


def _forget_reads(function: function_pb2.FunctionDef) -> None:
    """Nobody waits for a read where nobody writes: tracing puts all of them in an order."""
    reads = {node.name for node in function.node_def if node.op in READS}
    for node in function.node_def:
        node.input[:] = [r for r in node.input if r[0] != "^" or r[1:] not in reads]
    for key, name in list(function.control_ret.items()):  # a map must not change under its iterator
        if name in reads:
            del function.control_ret[key]
            function.signature.control_output.remove(key)


def _merge_constants(function: function_pb2.FunctionDef) -> None:
    first: dict[bytes, str] = {}
    instead: dict[str, str] = {}
    kept = []
    for node in function.node_def:
        if node.op == "Const" and not node.input:
            bare = node_def_pb2.NodeDef()
            bare.CopyFrom(node)
            bare.name = ""
            key = bare.SerializeToString(deterministic=True)
            instead[node.name] = first.setdefault(key, node.name)
            if first[key] != node.name:
                continue
        kept.append(node)
    copies = [node_def_pb2.NodeDef.FromString(node.SerializeToString()) for node in kept]
    del function.node_def[:]
    function.node_def.extend(copies)
    rewire(function, instead)


def _shorten(function: function_pb2.FunctionDef) -> None:
    arguments = {argument.name for argument in function.signature.input_arg}
    free = (name for n in itertools.count() if (name := f"{n:x}") not in arguments)
    short = {node.name: next(free) for node in function.node_def}
    rewire(function, short)
    for node in function.node_def:
        node.name = short[node.name]
    ends = {key: f"{n:x}" for n, key in enumerate(function.signature.control_output)}
    done = {ends[key]: node for key, node in function.control_ret.items()}
    function.control_ret.clear()
    function.control_ret.update(done)
    function.signature.control_output[:] = ends.values()
