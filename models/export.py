"""A trained ranker -> a SavedModel that answers raw features and needs no code of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2
from tensorflow_transform.saved.saved_transform_io_v2 import SavedModelLoader

from ncs4cvr.models.ranker import Ranker
from ncs4cvr.schemas.log import MISSING
from ncs4cvr.schemas.recipe import Recipe

WARMUP_REQUESTS = 8


class ServingModule(tf.Module):
    """The forward pass with every ticket folded into its own kernels: W_t = W * M_t.

    Saved are embeddings, folded kernels, biases and heads alone: no mask, no optimizer.

    Args:
      model: a trained ranker.
      transform_graph: turns raw columns into the ranker's features.
    """

    def __init__(self, model: Ranker, transform_graph: tft.TFTransformOutput):
        super().__init__(name="ncs4cvr")
        self.recipe = model.recipe
        self._spec = raw_spec(self.recipe, transform_graph)
        # Not TFT's Keras layer: saving a layer traces it several times over, which took most of
        # the export. Its loader does the work; as the layer does, track the tables it holds.
        loader = SavedModelLoader(transform_graph.transform_savedmodel_dir)
        self._tables = loader.__dict__
        self._transform = loader.apply_transform_model
        # The ranker's Keras layers stay out of the SavedModel; their variables go in.
        self._ranker = _Untracked(model)
        layers = [*model.trunks, *model.towers, *model.heads]
        # Masked kernels are folded, one tower a task; any other sharing goes in as it is.
        self.folded = _folded(model)
        if not self.folded:
            layers.append(model.sharing)
        self.parameters = [v for layer in layers for v in layer.trainable_variables]

    def score(self, raw: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Raw columns (as `raw_spec` types them) -> {output: [batch]}, products included."""
        inputs = self._transform(dict(raw))
        model: Ranker = self._ranker.held
        xs = [trunk(inputs, training=False) for trunk in model.trunks]
        if len(xs) == 1:
            xs *= len(model.heads)  # a trunk for all
        if self.folded:
            hidden = [_tower(x, tower) for x, tower in zip(xs, self.folded, strict=True)]
        else:
            hidden = model.sharing(xs, training=False)
        out = model.probabilities(model.task_logits(hidden))
        for product in self.recipe.products:
            out[product.name] = tf.reduce_prod(tf.stack([out[f] for f in product.factors]), axis=0)
        return out

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """serving_default: serialized tf.Examples; predict: one dense tensor per raw column."""

        # There is nothing for AutoGraph to rewrite, and its search takes longer than all else here.
        @tf.function(
            input_signature=[tf.TensorSpec([None], tf.string, "examples")], autograph=False
        )
        def serving_default(examples):
            return self.score(tf.io.parse_example(examples, self._spec))

        @tf.function(autograph=False)
        def predict(**columns):
            return self.score({c: _as_parsed(self._spec[c], x) for c, x in columns.items()})

        return {
            "serving_default": serving_default.get_concrete_function(),
            "predict": predict.get_concrete_function(**dense_inputs(self.recipe, self._spec)),
        }


def export(
    model: Ranker,
    transform_graph: tft.TFTransformOutput,
    folder: str,
    raw_examples: Sequence[bytes],
) -> None:
    """Writes the SavedModel, with warm-up requests from real raw examples in assets.extra.

    Args:
      model: a trained ranker.
      transform_graph: turns raw columns into the ranker's features.
      folder: to write to.
      raw_examples: serialized tf.Examples before Transform, at least one.

    Raises:
      RuntimeError: the saved model, loaded anew, does not answer as the trainer does (1e-5).
    """
    module = ServingModule(model, transform_graph)
    tf.saved_model.save(module, folder, signatures=module.signatures())
    write_warmup(folder, raw_examples[:WARMUP_REQUESTS])
    rows = tf.io.parse_example(raw_examples, raw_spec(model.recipe, transform_graph))
    trained = model(transform_graph.transform_features_layer()(rows), training=False)
    served = tf.saved_model.load(folder).signatures["serving_default"](tf.constant(raw_examples))
    for name, expected in trained.items():
        worst = float(tf.reduce_max(tf.abs(served[name] - expected)))
        if not worst <= 1e-5:
            raise RuntimeError(
                f"the export in {folder} differs from the trained model by {worst:.2g} in {name}"
            )


def raw_spec(recipe: Recipe, transform_graph: tft.TFTransformOutput) -> dict[str, Any]:
    """How raw examples are parsed: the columns that features need, no labels."""
    spec = transform_graph.raw_feature_spec()
    return {f.column: spec[f.column] for f in recipe.features}


def dense_inputs(recipe: Recipe, spec: Mapping[str, Any]) -> dict[str, tf.TensorSpec]:
    """The inputs of `predict`: [batch] or, for sequences, [batch, n]; see MISSING for gaps."""
    inputs = {}
    for f in recipe.features:
        shape = [None, None] if f.kind == "sequence" else [None]
        inputs[f.column] = tf.TensorSpec(shape, spec[f.column].dtype, f.column)
    return inputs


def write_warmup(folder: str, raw_examples: Sequence[bytes]) -> None:
    """Requests that TF Serving replays before a version takes traffic."""
    request = predict_pb2.PredictRequest(
        model_spec=model_pb2.ModelSpec(name="ncs4cvr", signature_name="serving_default")
    )
    request.inputs["examples"].CopyFrom(tf.make_tensor_proto(list(raw_examples)))
    entry = prediction_log_pb2.PredictionLog(
        predict_log=prediction_log_pb2.PredictLog(request=request)
    )
    path = f"{folder}/assets.extra/tf_serving_warmup_requests"
    tf.io.gfile.makedirs(f"{folder}/assets.extra")
    with tf.io.TFRecordWriter(path) as out:
        out.write(entry.SerializeToString())


class _Untracked:
    """Holds Keras layers where tf.Module does not look for things to save."""

    def __init__(self, held: Ranker):
        self.held = held


def _folded(model: Ranker) -> list[list[tuple[tf.Variable, tf.Variable]]]:
    """(kernel * mask, bias) per layer and task; nothing where the sharing has no masks."""
    towers = []
    for task in range(len(model.heads)):
        connections = model.sharing.connections(task)
        if not connections:
            return []
        biases = model.sharing.mlp_of(task).biases
        layers = zip(connections, biases, strict=True)
        towers.append([(tf.Variable(k * mask), tf.Variable(b)) for (k, mask), b in layers])
    return towers


def _tower(x: tf.Tensor, layers: Sequence[tuple[tf.Variable, tf.Variable]]) -> tf.Tensor:
    for kernel, bias in layers:
        x = tf.nn.relu(tf.matmul(x, kernel) + bias)
    return x


def _as_parsed(spec, x: tf.Tensor):
    """A dense column as parse_example would give it: missing entries left out where sparse."""
    if isinstance(spec, tf.io.FixedLenFeature):
        return tf.reshape(x, [-1, *spec.shape])
    x = tf.reshape(x, [tf.shape(x)[0], -1])
    if x.dtype == tf.string:
        present = x != MISSING["string"]
    elif x.dtype == tf.int64:
        present = x != tf.constant(MISSING["int"], tf.int64)
    else:
        present = ~tf.math.is_nan(x)
    where = tf.where(present)
    return tf.SparseTensor(where, tf.gather_nd(x, where), tf.shape(x, tf.int64))
