"""The splits of a finished `ncs4cvr run`, as the benchmark reads them.

Training reads Transform's own files, as the Trainer does. Predictions are made on arrays: each raw
split is put through the transform graph once, as serving would, and kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from ncs4cvr.models.learning.batches import Batches
from ncs4cvr.models.preprocessing import vocabulary_sizes
from ncs4cvr.models.serving.raw_columns import raw_spec
from ncs4cvr.pipeline.recipe_parts import for_transform
from ncs4cvr.schemas.recipe import Recipe
from quality_parts import finished
from quality_parts.finished import NoRun

USER, RAW = "(user)", "(raw) "  # names that no column has
BLOCK = 8192


@dataclass(frozen=True)
class Rows:
    """One split as arrays, in a fixed order.

    Attributes:
      columns: transformed features and labels.
      users: [rows], 0 .. users - 1.
      raw: number features as the log has them, NaN where missing; for models without buckets.
    """

    columns: Mapping[str, np.ndarray]
    users: np.ndarray
    raw: Mapping[str, np.ndarray]

    def in_order(self, batch_size: int = BLOCK) -> Iterator[dict[str, tf.Tensor]]:
        """Batches of tensors, as `Batches.in_order` gives them."""
        for start in range(0, len(self.users), batch_size):
            part = slice(start, start + batch_size)
            yield {name: tf.constant(column[part]) for name, column in self.columns.items()}

    def labels(self, recipe: Recipe) -> dict[str, np.ndarray]:
        """{label: [rows]}."""
        names = [label.name for label in recipe.log.labels if label.name in self.columns]
        return {name: self.columns[name].ravel() for name in names}

    def save(self, path: Path) -> None:
        """Writes one .npz, whole or not at all."""
        arrays = {**self.columns, USER: self.users, **{RAW + n: c for n, c in self.raw.items()}}
        new = path.with_suffix(".new")
        with new.open("wb") as out:
            np.savez_compressed(out, **arrays)
        new.replace(path)

    @staticmethod
    def load(path: Path) -> Rows:
        """Reads what `save` wrote."""
        with np.load(path, allow_pickle=False) as arrays:
            every = {name: arrays[name] for name in arrays.files}
        users = every.pop(USER)
        raw = {n.removeprefix(RAW): every.pop(n) for n in list(every) if n.startswith(RAW)}
        return Rows(every, users, raw)


@dataclass(frozen=True)
class Data:
    """Where the examples of a run lie.

    Attributes:
      graph, raw: folders of the run's artifacts.
      rows: folder of the kept arrays.
      fingerprint: digest of the examples and of all that decides how they are transformed.
    """

    graph: Path
    raw: Path
    rows: Path
    fingerprint: str

    @staticmethod
    def of_run(recipe: Recipe, run: Path, kept: Path, command: str) -> Data:
        """The examples and the graph of the last run whose Transform finished.

        Args:
          recipe: the run's.
          run: its folder.
          kept: where the arrays go.
          command: what makes the run, for messages.

        Raises:
          NoRun: there are none, or they were made with other features; says the command.
        """
        of = ("transform_graph", "examples")
        graph, raw = finished.artifacts(run, "Transform", of, command)
        fingerprint = _fingerprint(recipe, graph, raw)
        data = Data(graph, raw, kept / f"data-{fingerprint}", fingerprint)
        known = data.transform_graph().transformed_feature_spec()
        missing = {f.name for f in recipe.features} - known.keys()
        if missing:
            raise NoRun(
                f"the run in {run} has no features {sorted(missing)}; the recipe changed since. "
                f"Make it anew: {command}"
            )
        return data

    def transform_graph(self) -> tft.TFTransformOutput:
        """The transform graph, opened."""
        return tft.TFTransformOutput(str(self.graph))

    def sizes(self, recipe: Recipe) -> dict[str, int]:
        """Ids per vocabulary."""
        return vocabulary_sizes(recipe, self.transform_graph())

    def batches(self, split: str) -> Batches:
        """A split for training."""
        pattern = str(self.raw / f"Split-{split}" / "*")
        return Batches(pattern, self.transform_graph())

    def split(self, recipe: Recipe, split: str) -> Rows:
        """A split as arrays, transformed at the first call and kept."""
        path = self.rows / f"{split}.npz"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = _transformed(recipe, self.transform_graph(), self.raw / f"Split-{split}")
            rows.save(path)
        return Rows.load(path)


def _fingerprint(recipe: Recipe, graph: Path, raw: Path) -> str:
    """Of the examples, and of what the graph and this recipe make of them.

    The graph itself differs from run to run by the paths in it: it is known by its vocabularies
    and by what the analysis was made from, its code included.
    """
    digest = hashlib.sha256()
    for file in (*sorted(graph.rglob("vocabulary_*")), *sorted(raw.rglob("Split-*/*.gz"))):
        digest.update(file.read_bytes())
    # components.analysis writes it; importing that brings TFX, which would count as memory here.
    made_from = json.loads((graph / "analysis.json").read_text(encoding="utf-8"))["made_from"]
    digest.update(json.dumps(made_from, sort_keys=True).encode())
    digest.update(for_transform(recipe).to_json().encode())  # which columns are taken
    return digest.hexdigest()[:12]


def _transformed(recipe: Recipe, graph: tft.TFTransformOutput, raw: Path) -> Rows:
    spec = raw_spec(recipe, graph)
    full = graph.raw_feature_spec()
    extra = [label.name for label in recipe.log.labels if label.name in full]
    numbers = [f for f in recipe.features if f.kind == "number"]
    user = recipe.log.user if recipe.log.user in full else ""
    wanted = {**spec, **{name: full[name] for name in [*extra, user] if name}}
    layer = graph.transform_features_layer()
    parts: dict[str, list[np.ndarray]] = {}
    files = sorted(str(f) for f in raw.glob("*"))
    for records in tf.data.TFRecordDataset(files, "GZIP").batch(BLOCK):
        rows = tf.io.parse_example(records, wanted)
        made = {n: c.numpy() for n, c in layer({c: rows[c] for c in spec}).items()}
        made.update({name: _dense(rows[name], 0) for name in extra})
        made.update({RAW + f.name: _dense(rows[f.column], np.nan) for f in numbers})
        if user:
            made[USER] = _dense(rows[user], b"" if rows[user].dtype == tf.string else -1)
        for name, column in made.items():
            parts.setdefault(name, []).append(column)
    every = {name: np.concatenate(part) for name, part in parts.items()}
    names = every.pop(USER, np.arange(len(next(iter(every.values())))))
    raw_numbers = {f.name: every.pop(RAW + f.name) for f in numbers}
    return Rows(every, np.unique(names, return_inverse=True)[1].astype(np.int64), raw_numbers)


def _dense(column, missing) -> np.ndarray:
    """[rows], the first value of each row."""
    if isinstance(column, tf.SparseTensor):
        if isinstance(missing, float):
            column = tf.SparseTensor(
                column.indices, tf.cast(column.values, tf.float64), column.dense_shape
            )
        column = tf.sparse.to_dense(column, default_value=missing)
    values = column.numpy()
    if not values.size:
        return np.full(len(values), missing)
    return values.reshape(len(values), -1)[:, 0]
