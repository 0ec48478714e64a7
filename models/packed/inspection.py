"""What is in an exported model: its bytes, its tickets, its ops, its signatures."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from ncs4cvr.models.packed import asset
from ncs4cvr.models.packed.asset import Layout


def facts(folder: str) -> dict[str, Any]:
    """All that `report` tells, for machines.

    Raises:
      ValueError: the folder holds no SavedModel, or its packed weights are broken.
    """
    path = os.path.join(folder, "saved_model.pb")
    if not os.path.isfile(path):
        raise ValueError(
            f"{folder} holds no saved_model.pb; give a version, such as runs/kuairand/serving/1"
        )
    with open(path, "rb") as file:
        content = file.read()
    try:
        saved = saved_model_pb2.SavedModel.FromString(content)
        saved.meta_graphs[0]
    except (DecodeError, IndexError) as error:
        raise ValueError(
            f"{path} is no SavedModel ({error}); the next `ncs4cvr run` pushes a whole one"
        ) from error
    graph = saved.meta_graphs[0]
    found: dict[str, Any] = {
        "tensorflow": graph.meta_info_def.tensorflow_version,
        "bytes": _sizes(folder),
        "signatures": _signatures(graph),
        "ops": dict(_ops(graph.graph_def).most_common()),
    }
    packed = os.path.join(folder, "assets", asset.NAME)
    if os.path.isfile(packed):
        with open(packed, "rb") as file:
            blob = file.read()
        try:
            found["packed"] = _packed(blob)
        except ValueError as error:
            raise ValueError(f"{packed}: {error}") from error
    return found


def _sizes(folder: str) -> dict[str, int]:
    """Bytes of the graph, variables, packed weights, other assets, and what assets.extra holds."""
    sizes = dict.fromkeys(("graph", "variables", "packed weights", "vocabularies", "extra"), 0)
    for where, _, names in os.walk(folder):
        for name in names:
            size, part = os.path.getsize(os.path.join(where, name)), os.path.relpath(where, folder)
            kind = {".": "graph", "variables": "variables", "assets.extra": "extra"}.get(part)
            kind = kind or ("packed weights" if name == asset.NAME else "vocabularies")
            sizes[kind] += size
    return {**sizes, "all": sum(sizes.values())}


def _packed(blob: bytes) -> dict[str, Any]:
    layout = asset.read(blob)
    masked = {
        "tickets": layout.bytes_of("gaps", "ticket"),
        "values": layout.bytes_of("value"),
        "biases": layout.bytes_of("bias"),
        "embeddings": layout.bytes_of("table", "scale"),
    }
    found: dict[str, Any] = {
        "weights": layout.weights,
        "embeddings": layout.embeddings,
        "bytes": masked,
        "information_limit": round(layout.limit),
        "compute": layout.notes.get("compute"),
    }
    if layout.pieces:
        found["of_the_limit"] = (masked["tickets"] + masked["values"]) / max(layout.limit, 1)
        found["tickets"] = _tickets(blob, layout)
    return found


def _tickets(blob: bytes, layout: Layout) -> dict[str, Any]:
    blocks, keeps = asset.tickets(blob)
    names = layout.notes.get("tasks") or [f"task {t}" for t in range(len(keeps))]
    layers = []
    for number, numbers in enumerate(layout.uses[0]):
        within = np.zeros(len(blocks), bool)
        for p in (layout.pieces[n] for tower in layout.uses for n in set(tower[number])):
            end = p.first + p.inputs * p.outputs // layout.block
            within |= (blocks >= p.first) & (blocks < end)
        shape = [sum(layout.pieces[n].inputs for n in numbers), layout.pieces[numbers[0]].outputs]
        of_all = shape[0] * shape[1] // layout.block
        layers.append({"shape": shape, **_shares(keeps[:, within], names, of_all)})
    total = sum(layer["shape"][0] * layer["shape"][1] for layer in layers) // layout.block
    return {"block": layout.block, "layers": layers, "all": _shares(keeps, names, total)}


def _shares(keeps: np.ndarray, names: list[str], blocks: int) -> dict[str, Any]:
    """Kept share a task, and the share of what some task keeps that all keep."""
    kept = {name: float(k.sum() / blocks) for name, k in zip(names, keeps, strict=True)}
    return {"kept": kept, "overlap": float(keeps.all(axis=0).sum() / max(keeps.shape[1], 1))}


def _signatures(graph: Any) -> dict[str, Any]:
    return {
        name: {
            side: {key: _typed(info) for key, info in sorted(getattr(signature, side).items())}
            for side in ("inputs", "outputs")
        }
        for name, signature in sorted(graph.signature_def.items())
        if signature.method_name.endswith("/predict")
    }


def _typed(info: Any) -> str:
    shape = tf.TensorShape(info.tensor_shape)
    sizes = ", ".join("n" if size is None else str(size) for size in shape)
    return f"{tf.as_dtype(info.dtype).name}[{sizes}]"


def _ops(graph: Any) -> Counter[str]:
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    functions = {f.signature.name for f in graph.library.function}
    return Counter(node.op for node in nodes if node.op not in functions)


def report(found: Mapping[str, Any]) -> str:
    """The facts for people."""
    lines = [f"{'bytes':<28}{'':>12}"]
    lines += [f"  {kind:<26}{size:>12,}" for kind, size in found["bytes"].items()]
    if packed := found.get("packed"):
        lines += ["", f"packed weights: {packed['weights']}, embeddings: {packed['embeddings']}"]
        lines += [f"  {kind:<26}{size:>12,}" for kind, size in packed["bytes"].items()]
        if tickets := packed.get("tickets"):
            share = packed["of_the_limit"]
            lines.append(
                f"  {'information limit':<26}{packed['information_limit']:>12,}"
                f"   tickets and values take {share:.2f} of it"
            )
            lines += ["", *_ticket_lines(tickets), "", *_compute_lines(packed["compute"])]
    else:
        lines += ["", "no packed weights: dense variables"]
    lines += ["", f"signatures (written by TensorFlow {found['tensorflow']})"]
    for name, signature in found["signatures"].items():
        inputs = ", ".join(f"{k} {t}" for k, t in signature["inputs"].items())
        lines += [f"  {name}: {inputs}", f"    -> {', '.join(signature['outputs'])}"]
    ops = found["ops"]
    lines += ["", f"ops: {sum(ops.values()):,} nodes of {len(ops)} kinds"]
    lines.append(
        "  " + ", ".join(f"{op} {count}" for op, count in list(ops.items())[:12]) + ", ..."
    )
    return "\n".join(lines)


def _ticket_lines(tickets: Mapping[str, Any]) -> list[str]:
    names = list(tickets["all"]["kept"])
    block = tickets["block"]
    head = f"kept share, blocks of {block}" if block > 1 else "tickets, kept share"
    lines = [f"{head:<24}" + "".join(f"{n:>10}" for n in names) + "   overlap"]
    rows = [("x".join(map(str, la["shape"])), la) for la in tickets["layers"]]
    for name, layer in [*rows, ("all", tickets["all"])]:
        kept = "".join(f"{layer['kept'][n]:>10.1%}" for n in names)
        lines.append(f"  {name:<22}{kept}   {layer['overlap']:.3f}")
    return lines


def _compute_lines(compute: Mapping[str, Any]) -> list[str]:
    lines = [f"computed {compute['asked']}:"]
    for batch, layers in compute["sparse_layers_from_batch"]:
        lines.append(f"  from batch {batch}: the first {layers} layers sparse")
    if "threads" in compute:
        for threads, table in zip(compute["threads"], compute["ms"], strict=True):
            head = f"milliseconds, {threads} thread" + "s" * (threads > 1)
            ways = range(len(table[0]))
            lines.append(f"  {head:<24}" + "".join(f"{f'{k} sparse':>11}" for k in ways))
            for batch, row in zip(compute["batches"], table, strict=True):
                lines.append(f"  batch {batch:<18}" + "".join(f"{ms:>11.3f}" for ms in row))
    return lines
