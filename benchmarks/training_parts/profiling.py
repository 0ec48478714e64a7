"""What a step is made of: its matrix products, and the profiler's time by part of the model."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from ncs4cvr.models.learning.ranker import Ranker

PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
TRUNK = re.compile(r"(^|/)(trunk_\d+|dot_interaction_gradient)(_\d+)?/")
WAITING = "IteratorGetNextAsOptionalOp::DoCompute"  # from asking for a batch to having it
PARTS = {  # the first that matches an operation's name
    "optimizer": re.compile(r"(^|/)Adam/"),
    "interaction": re.compile(r"dot_interaction"),
    "embeddings": re.compile(r"(^|/)trunk_\d+/"),
}
Product = tuple[tuple[int, ...], tuple[int, ...], bool, bool]  # shapes of a and b, transposed?


def products(model: Ranker, batch: dict[str, tf.Tensor]) -> list[Product]:
    """The matrix products of the dense layers in one training step, forward and backward.

    Those of the interaction and the interests do not count: what they cost is overhead here.
    """
    spec = {n: tf.TensorSpec(x.shape, x.dtype) for n, x in batch.items()}
    step = tf.function(model.train_step, autograph=False).get_concrete_function(spec)
    found = []
    for op in step.graph.get_operations():
        if op.type not in PRODUCTS or TRUNK.search(op.name):
            continue
        flags = ("transpose_a", "transpose_b") if op.type == "MatMul" else ("adj_x", "adj_y")
        shapes = [tuple(x.shape.as_list()) for x in op.inputs]
        found.append((*shapes, *map(op.get_attr, flags)))
    return found


def flops(product: Product) -> int:
    """2 m k n, times the batch dimensions."""
    a, b, transpose_a, transpose_b = product
    m = a[-1] if transpose_a else a[-2]
    n, k = (b[-2], b[-1]) if transpose_b else (b[-1], b[-2])
    outer = 1
    for x, y in zip(a[:-2], b[:-2]):
        outer *= max(x, y)
    return 2 * m * n * k * outer


def alone(wanted: list[Product]) -> Callable[[], object]:
    """Makes a function that does these products and nothing else, in parallel where TensorFlow can.

    Each has operands of its own, so that none is merged with another.
    """
    operands = [(tf.random.normal(a), tf.random.normal(b)) for a, b, *_ in wanted]

    def multiply(pairs):
        results = [
            tf.matmul(a, b, transpose_a=ta, transpose_b=tb)
            for (a, b), (*_, ta, tb) in zip(pairs, wanted, strict=True)
        ]
        return tf.stack([tf.reshape(r, [-1])[0] for r in results])  # or they would be left out

    compiled = tf.function(multiply, autograph=False)
    return lambda: compiled(operands).numpy()


def one_by_one(wanted: list[Product]) -> Callable[[], object]:
    """The same, one after the other and on operands that products of one shape have in common.

    Warm caches make each faster than in a model; several threads work on one product at a time.
    """
    shapes = {shape for a, b, *_ in wanted for shape in (a, b)}
    operands = {shape: tf.random.normal(shape) for shape in shapes}

    def multiply():
        for a, b, ta, tb in wanted:
            last = tf.matmul(operands[a], operands[b], transpose_a=ta, transpose_b=tb)
        return last.numpy()

    return multiply


def shares(run: Callable[[], object]) -> tuple[dict[str, float], float]:
    """Runs once under the profiler: (the operations' time by part, time waiting for input).

    The first as shares of the time of all the model's threads, the second of the wall's clock.
    """
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    run()
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        with tf.profiler.experimental.Trace("measured"):
            run()
        tf.profiler.experimental.stop()
        (path,) = Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
    spent: Counter[str] = Counter()
    wall = waited = 0
    for plane in space.planes:
        if plane.name != "/host:CPU":
            continue
        names = {i: m.name for i, m in plane.event_metadata.items()}
        for line in plane.lines:
            for event in line.events:
                name = names[event.metadata_id]
                if name == "measured":
                    wall += event.duration_ps
                elif name == WAITING:
                    waited += event.duration_ps
                elif not line.name.startswith("tf_data") and (part := _part(name)):
                    spent[part] += event.duration_ps
    total = sum(spent.values())
    return {part: ps / total for part, ps in spent.most_common()}, waited / wall


def _part(name: str) -> str:
    """The part of the model an event belongs to; empty for what is not one operation."""
    operation, colon, kind = name.rpartition(":")
    if not colon or not re.fullmatch(r"_?[A-Z][A-Za-z0-9]+", kind) or "::" in name:
        return ""
    for part, pattern in PARTS.items():
        if pattern.search(operation):
            return part
    return "dense products" if "MatMul" in kind else "rest of dense layers, losses"
