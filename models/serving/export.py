"""A trained ranker -> a SavedModel that answers raw features and needs no code of ours."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform.saved.saved_transform_io_v2 import SavedModelLoader

from ncs4cvr.models.layers.trunk import Trunk
from ncs4cvr.models.learning.ranker import Ranker
from ncs4cvr.models.packed import store
from ncs4cvr.models.packed.layers import masked_layers
from ncs4cvr.models.packed.slimming import slim
from ncs4cvr.models.serving.raw_columns import (
    any_batch,
    as_many_rows,
    as_parsed,
    dense_inputs,
    raw_spec,
)
from ncs4cvr.schemas.log import TIMES, Log

CHECKED_EXAMPLES = 256  # by the export itself
#: How far a loaded model's probabilities may lie from the trainer's. Whether fewer bits cost AUC is
#: ServingCheck's question; here a broken export is found.
TOLERANCE = {True: 1e-5, False: 0.05}


class ServingModule(tf.Module):
    """The forward pass as it is served: tickets, values and embeddings from a store.

    Saved are these, biases and heads alone: no mask, no optimizer.

    Args:
      model: a trained ranker.
      transform_graph: turns raw columns into the ranker's features.
      folder: keeps the packed asset until the module is saved; None makes plain variables of all.
      known: see store.Packing.
    """

    def __init__(
        self,
        model: Ranker,
        transform_graph: tft.TFTransformOutput,
        folder: str | None = None,
        known: Mapping[str, Any] | None = None,
    ):
        super().__init__(name="ncs4cvr")
        self.recipe = model.recipe
        self.spec = raw_spec(self.recipe, transform_graph)
        # Not TFT's Keras layer: saving a layer traces it several times over, which took most of
        # the export. Its loader does the work; as the layer does, track the tables it holds.
        loader = SavedModelLoader(transform_graph.transform_savedmodel_dir)
        self._lookup_tables = loader.__dict__
        self._transform = loader.apply_transform_model
        # The ranker's Keras layers stay out of the SavedModel; their variables go in.
        self._ranker = _Untracked(model)
        # Numbers of the fields that a ranking request has once, and of the candidates' fields.
        self.split = _split(model)
        self.weights, self.towers = self._store(folder, known)
        layers = [*model.towers, *model.heads]
        # Masked kernels are in the store; any other sharing goes in as it is.
        if not self.towers:
            layers.append(model.sharing)
        layers += [trunk.embedding for trunk in model.trunks]
        stored = {trunk.embedding.table.ref() for trunk in model.trunks}
        self.parameters = [
            v for layer in layers for v in layer.trainable_variables if v.ref() not in stored
        ]

    def _store(self, folder: str | None, known: Mapping[str, Any] | None):
        model: Ranker = self._ranker.held
        recipe = self.recipe
        towers = masked_layers(model, self.split)
        tables = [trunk.embedding.table.numpy() for trunk in model.trunks]
        if folder is None:
            return store.plain(towers, tables)
        if recipe.weights != "f32" and not towers:
            raise ValueError(
                f"weights={recipe.weights!r} is for the weights that tickets keep, and sharing "
                f"{recipe.sharing!r} has no tickets; set weights='f32'"
            )
        how = store.Packing(recipe.weights, recipe.embeddings, recipe.compute, known)
        return store.packed(towers, tables, how, folder, {"tasks": [t.name for t in recipe.tasks]})

    def features(self, raw: Mapping[str, Any]) -> dict[str, tf.Tensor]:
        """Raw columns as `raw_spec` types them -> the ranker's features."""
        return self._transform(dict(raw))

    def score(self, inputs: Mapping[str, tf.Tensor], ranking: bool = False) -> dict[str, tf.Tensor]:
        """Transformed features -> {output: [batch]}, products included.

        Args:
          inputs: of rows; of one request and its candidates where `ranking`.
          ranking: features of the request have one row, which stands for all candidates.
        """
        model: Ranker = self._ranker.held
        if self.towers:
            xs = [self._halves(inputs, k, ranking) for k in range(len(model.trunks))]
        else:
            xs = [self._whole(inputs, k, ranking) for k in range(len(model.trunks))]
        if len(xs) == 1:
            xs *= len(model.heads)  # a trunk for all
        hidden = self.towers(xs) if self.towers else model.sharing(xs, training=False)
        out = model.probabilities(model.task_logits(hidden))
        for product in self.recipe.products:
            out[product.name] = tf.reduce_prod(tf.stack([out[f] for f in product.factors]), axis=0)
        return out

    def _halves(self, inputs: Mapping[str, tf.Tensor], k: int, ranking: bool) -> list[tf.Tensor]:
        """The inputs of the first masked layer: what a request has once, and the rest."""
        trunk: Trunk = self._ranker.held.trunks[k]
        once, others = self.split
        if not once:
            return [trunk.interaction(self._vectors(inputs, k, others))]
        request = self._vectors(inputs, k, once)
        if ranking:
            request = tf.ensure_shape(request, [1, len(once), None])
        return list(trunk.interaction.halves(request, self._vectors(inputs, k, others)))

    def _whole(self, inputs: Mapping[str, tf.Tensor], k: int, ranking: bool) -> tf.Tensor:
        """The inputs of dense layers that are not masked, in the order of training."""
        trunk: Trunk = self._ranker.held.trunks[k]
        once, others = self.split
        if not ranking or not once:
            return trunk.interaction(self._vectors(inputs, k, range(len(trunk.fields))))
        candidates = self._vectors(inputs, k, others)
        request = self._vectors(inputs, k, once)
        request = tf.repeat(request, tf.shape(candidates)[0], axis=0)
        back = np.argsort([*once, *others])
        return trunk.interaction(tf.gather(tf.concat([request, candidates], 1), back, axis=1))

    def _vectors(self, inputs: Mapping[str, tf.Tensor], k: int, numbers: Sequence[int]):
        trunk: Trunk = self._ranker.held.trunks[k]
        chosen = [trunk.fields[number] for number in numbers]
        return trunk.vectors(inputs, chosen, lambda ids: self.weights.rows(k, ids))

    def signatures(self) -> dict[str, tf.types.experimental.ConcreteFunction]:
        """serving_default: serialized tf.Examples; predict: one dense tensor per raw column;
        rank: the same, but one row of the columns that a request has once.
        """

        # Traced once for all signatures: whatever the batch, it is the same function. There is
        # nothing for AutoGraph to rewrite, and its search takes longer than all else here.
        features = tf.function(self.features, autograph=False).get_concrete_function(
            {column: any_batch(spec) for column, spec in self.spec.items()}
        )

        @tf.function(autograph=False)
        def rows(raw):
            return self.score(features(raw))

        @tf.function(
            input_signature=[tf.TensorSpec([None], tf.string, "examples")], autograph=False
        )
        def serving_default(examples):
            return rows(tf.io.parse_example(examples, self.spec))

        @tf.function(autograph=False)
        def predict(**columns):
            raw = {c: as_parsed(self.spec[c], x) for c, x in columns.items()}
            with tf.control_dependencies([as_many_rows(columns)]):
                return rows(raw)

        @tf.function(autograph=False)
        def rank(**columns):
            # Servers compare types with a signature, but not shapes: two users would become one.
            one = {c: tf.ensure_shape(x, x.shape) if x.shape[0] else x for c, x in columns.items()}
            raw = {c: as_parsed(self.spec[c], x) for c, x in one.items()}
            candidates = {c: x for c, x in columns.items() if not x.shape[0]}
            with tf.control_dependencies([as_many_rows(candidates)]):
                return self.score(features(raw), ranking=True)

        made = {
            "serving_default": serving_default.get_concrete_function(),
            "predict": predict.get_concrete_function(**dense_inputs(self.recipe, self.spec)),
        }
        if self.split[0]:
            inputs = dense_inputs(self.recipe, self.spec, ranking=True)
            made["rank"] = rank.get_concrete_function(**inputs)
        return made


def export(
    model: Ranker,
    transform_graph: tft.TFTransformOutput,
    folder: str,
    raw_examples: Sequence[bytes] = (),
    plain: bool = False,
    known: Mapping[str, Any] | None = None,
) -> None:
    """Writes the SavedModel, and checks what it answers if there are examples.

    Beside the model it says how its log writes times: schemas.log.TIMES.

    Args:
      model: a trained ranker.
      transform_graph: turns raw columns into the ranker's features.
      folder: to write to.
      raw_examples: serialized tf.Examples before Transform to check it with; none where a later
        step does, as ServingCheck in a pipeline.
      plain: dense float32 variables instead of a packed asset, for converters to other formats,
        which cannot read weights that an initialiser makes.
      known: see store.Packing.

    Raises:
      ValueError: a weight is NaN or infinite; nothing is written.
      RuntimeError: the saved model, loaded anew, does not answer as the trainer does.
    """
    _check_finite(model)
    with tempfile.TemporaryDirectory() as kept:
        module = ServingModule(model, transform_graph, None if plain else kept, known)
        tf.saved_model.save(module, folder, signatures=module.signatures())
    if not plain:
        slim(folder)
    _keep_times(model.recipe.log, folder)
    if not raw_examples:
        return
    rows = tf.io.parse_example(raw_examples, raw_spec(model.recipe, transform_graph))
    trained = model(transform_graph.transform_features_layer()(rows), training=False)
    served = tf.saved_model.load(folder).signatures["serving_default"](tf.constant(raw_examples))
    tolerance = TOLERANCE[plain or model.recipe.lossless]
    for name, expected in trained.items():
        worst = float(tf.reduce_max(tf.abs(served[name] - expected)))
        if not worst <= tolerance:
            raise RuntimeError(
                f"the export in {folder} differs from the trained model by {worst:.2g} in {name}"
            )


def _check_finite(model: Ranker) -> None:
    """A NaN need not show in answers: few rows may read it, and relu makes 0 of it."""
    for variable in model.weights:
        wrong = np.count_nonzero(~np.isfinite(variable.numpy()))
        if wrong:
            raise ValueError(
                f"{variable.name} of the trained model holds {wrong} number(s) that are NaN or "
                f"infinite, of {tf.size(variable)}; lower learning_rate (now "
                f"{model.recipe.learning_rate}), or look for NaN and huge values in unbinned "
                "number features"
            )


def _keep_times(log: Log, folder: str) -> None:
    """For `ncs4cvr predict`: rows of a log hold times as the log does, the model takes ms."""
    told = {"column": log.time, "unit": log.time_unit, "utc_offset_hours": log.utc_offset_hours}
    tf.io.gfile.makedirs(f"{folder}/{TIMES.partition('/')[0]}")
    with tf.io.gfile.GFile(f"{folder}/{TIMES}", "w") as out:
        out.write(json.dumps(told) + "\n")


def _split(model: Ranker) -> tuple[list[int], list[int]]:
    """See `ServingModule.split`. Without candidates, or without a request, all are candidates'."""
    once: list[int] = []
    others: list[int] = []
    for number, feature in enumerate(model.trunks[0].fields):
        (once if model.recipe.per_request(feature) else others).append(number)
    return (once, others) if once and others else ([], sorted(once + others))


class _Untracked:
    """Holds Keras layers where tf.Module does not look for things to save."""

    def __init__(self, held: Ranker):
        self.held = held
