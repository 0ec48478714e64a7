"""Functions of a saved_model.pb that one other alone calls become part of it.

A SavedModel that was loaded and saved again, as the transform graph is, wraps the functions that
make and fill each of its tables once more every time; loaders build them all, one by one.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from tensorflow.core.framework import function_pb2, node_def_pb2

CALLS = ("PartitionedCall", "StatefulPartitionedCall")


def inline(library: function_pb2.FunctionDefLibrary, kept: Collection[str]) -> None:
    """Puts every function that is called in one place there, and removes it.

    Args:
      library: of a graph.
      kept: names of functions that are called from outside.
    """
    functions = {f.signature.name: f for f in library.function}
    uses = Counter(name for f in functions.values() for n in f.node_def for name in used(n))
    done: set[str] = set()

    def expand(function: function_pb2.FunctionDef) -> None:
        for node in list(function.node_def):
            name = node.attr["f"].func.name if node.op in CALLS else ""
            if name in functions and name not in kept and uses[name] == 1:
                expand(functions[name])
                _replace(function, node.name, functions[name])
                done.add(name)

    for name, function in functions.items():
        if name in kept or uses[name] != 1:
            expand(function)
    left = [f for name, f in functions.items() if name not in done]
    copies = [function_pb2.FunctionDef.FromString(f.SerializeToString()) for f in left]
    del library.function[:]
    library.function.extend(copies)


def used(node: node_def_pb2.NodeDef) -> Iterator[str]:
    """Functions that a node refers to."""
    for value in node.attr.values():
        yield from (f.name for f in (value.func, *value.list.func) if f.name)


def _replace(
    function: function_pb2.FunctionDef, call: str, called: function_pb2.FunctionDef
) -> None:
    """The nodes of what is called in place of the node that calls it."""
    node = next(n for n in function.node_def if n.name == call)
    before = [reference for reference in node.input if reference[0] == "^"]
    given = [reference for reference in node.input if reference[0] != "^"]
    body = function_pb2.FunctionDef.FromString(called.SerializeToString())
    taken = {a.name for a in function.signature.input_arg} | {n.name for n in function.node_def}
    names = {n.name: _free(n.name, taken) for n in body.node_def}
    arguments = (a.name for a in body.signature.input_arg)
    rewire(body, {**names, **dict(zip(arguments, given, strict=True))})
    for inner in body.node_def:
        inner.name = names[inner.name]
        inner.input.extend(before)
    results = {
        f"{call}:output:{k}": body.ret[a.name] for k, a in enumerate(body.signature.output_arg)
    }
    ends = {r.partition(":")[0] for r in (*body.ret.values(), *body.control_ret.values())}
    after = sorted(ends & {n.name for n in body.node_def})
    function.node_def.remove(node)
    function.node_def.extend(body.node_def)
    for other in function.node_def:
        other.input[:] = itertools.chain(
            *(
                [f"^{e}" for e in after] if r == f"^{call}" else [results.get(r, r)]
                for r in other.input
            )
        )
    for key, reference in list(function.ret.items()):  # a map must not change under its iterator
        function.ret[key] = results.get(reference, reference)
    for key in [key for key, name in function.control_ret.items() if name == call]:
        del function.control_ret[key]
        function.signature.control_output.remove(key)
        for end in after:
            function.control_ret[f"{key}_{end}"] = end
            function.signature.control_output.append(f"{key}_{end}")


def _free(name: str, taken: set[str]) -> str:
    """A name that is not taken, which it then is."""
    tried = (name if not k else f"{name}_{k}" for k in itertools.count())
    found = next(each for each in tried if each not in taken)
    taken.add(found)
    return found


def rewire(function: function_pb2.FunctionDef, names: Mapping[str, str]) -> None:
    """Puts other names, or other references, where nodes and arguments are referred to."""

    def renamed(reference: str) -> str:
        if reference[0] == "^":
            return "^" + names.get(reference[1:], reference[1:]).partition(":")[0]
        node, colon, output = reference.partition(":")
        return names.get(node, node) + colon + output

    for node in function.node_def:
        node.input[:] = [renamed(each) for each in node.input]
        places = node.attr["_class"].list.s if "_class" in node.attr else []
        places[:] = [
            b"loc:@" + names.get(p[5:].decode(), p[5:].decode()).encode()
            if p[:5] == b"loc:@"
            else p
            for p in places
        ]
    for refers in (function.ret, function.control_ret):
        for key, reference in list(refers.items()):  # a map must not change under its iterator
            refers[key] = renamed(reference)
