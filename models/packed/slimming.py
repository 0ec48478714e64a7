"""Takes out of a saved_model.pb what only repeats itself."""

from __future__ import annotations

import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

SHAPES = "_output_shapes"


def slim(folder: str) -> None:
    """Drops the shapes that saving notes on every node of a function; loaders infer them anew.

    Args:
      folder: of a SavedModel.
    """
    path = f"{folder}/saved_model.pb"
    with tf.io.gfile.GFile(path, "rb") as file:
        saved = saved_model_pb2.SavedModel.FromString(file.read())
    for graph in saved.meta_graphs:
        for function in graph.graph_def.library.function:
            for node in function.node_def:
                node.attr.pop(SHAPES, None)
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(saved.SerializeToString(deterministic=True))
