"""A tiny log, the recipe that reads it, and a real Transform of it."""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from ncs4cvr.models.learning.batches import Batches
from ncs4cvr.models.preprocessing import preprocessing_fn, vocabulary_sizes
from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.log import Label, Log
from ncs4cvr.schemas.recipe import Recipe
from ncs4cvr.schemas.tasks import Product, Task

Row = dict[str, list]  # a missing value is an empty list

LABELS = (
    Label("click", "click"),
    Label("conversion", "conversion", given="click"),
    Label("completion", "played", over="duration"),
)
LOG = Log(events="", utc_offset_hours=8, labels=LABELS, history_actions=("conversion",))
TINY = Recipe(
    name="tiny",
    log=LOG,
    features=(
        Feature("user", min_count=3, hash_buckets=2),
        # Before its vocabulary's own feature and with other numbers: only the owner's count.
        Feature(
            "history_video", "history", "sequence", vocabulary="video", hash_buckets=9, length=3
        ),
        Feature("video", min_count=4, hash_buckets=3),
        Feature("tab", kind="index", bins=4),
        Feature("genres", "video", "tags", "string", min_count=2, hash_buckets=1, length=3),
        Feature("age", "user", "number", bins=4),
        Feature("price", "video", "number", "float"),
        Feature("spent", "user", "number", bins=4, zero_apart=True),
        Feature("spent_log", "user", "number", column="spent", log=True),
        Feature("hour", kind="hour", column="time_ms"),
        Feature("weekday", kind="weekday", column="time_ms"),
        Feature("history_action", "history", "sequence", bins=2, length=3),
    ),
    tasks=(Task("ctr", "click"), Task("cvr", "conversion", given="click")),
    products=(Product("ctcvr", ("ctr", "cvr"), "conversion"),),
    embedding_dim=4,
    hidden=(8, 4),
    rounds=2,
    learning_rate=0.01,
    batch_size=64,
    max_epochs=3,
)
FLOATS = ("price", "completion")
STRINGS = ("genres",)


@dataclasses.dataclass(frozen=True)
class World:
    """Training and validation rows, as written to files, with what Transform learned."""

    rows: list[Row]
    valid_rows: list[Row]
    folder: Path
    graph: tft.TFTransformOutput
    sizes: dict[str, int]

    @property
    def train(self) -> Batches:
        """The training split."""
        return Batches(f"{self.folder}/train.gz", self.graph)

    @property
    def valid(self) -> Batches:
        """The validation split."""
        return Batches(f"{self.folder}/valid.gz", self.graph)


def world_of(folder: Path, rows: list[Row], recipe: Recipe) -> World:
    valid_rows = rows_of(150, seed=2)
    graph = transform_graph(rows, folder, recipe)
    for name, split in (("train", rows), ("valid", valid_rows)):
        write(folder / f"{name}.gz", [as_example(row) for row in split])
    return World(rows, valid_rows, folder, graph, vocabulary_sizes(recipe, graph))


def rows_of(count: int, seed: int) -> list[Row]:
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        user, video = int(rng.integers(12)), int(min(rng.geometric(0.2), 20))
        click = int(rng.random() < 0.2 + 0.6 * (video % 2))
        conversion = int(click and rng.random() < 0.2 + 0.6 * (user % 2))
        length = int(rng.integers(0, 5))
        rows.append(
            {
                "user": [user],
                "video": [video] if i % 10 else [],
                "tab": [int(rng.integers(-1, 6))],
                "genres": [",".join(rng.choice(list("abcde"), rng.integers(0, 3)))],
                "age": [int(rng.integers(10, 70))] if i % 7 else [],
                "price": [float(rng.normal(20, 5))] if i % 5 else [],
                "spent": [(0, 0, i + 1)[i % 3]] if i % 11 else [],
                "time_ms": [int(rng.integers(0, 10**12))],
                "day": [20220101],
                "history_video": [int(v) for v in rng.integers(1, 15, length)],
                "history_action": [int(a) for a in rng.integers(0, 2, length)],
                "click": [click],
                "conversion": [conversion],
                "completion": [float(rng.random() * click)],
            }
        )
    return rows


def spec(name: str) -> Any:
    kind = tf.float32 if name in FLOATS else tf.string if name in STRINGS else tf.int64
    # As a schema with a shape gives it; all others may be missing.
    return tf.io.FixedLenFeature([1], kind) if name == "tab" else tf.io.VarLenFeature(kind)


def as_example(row: Row) -> bytes:
    features = {}
    for name, values in row.items():
        if not values and name != "history_video":
            continue
        if name in FLOATS:
            feature = tf.train.Feature(float_list=tf.train.FloatList(value=values))
        elif name in STRINGS:
            words = [v.encode() for v in values]
            feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=words))
        else:
            feature = tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        features[name] = feature
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def transform_graph(rows: list[Row], folder: Path, recipe: Recipe) -> tft.TFTransformOutput:
    import apache_beam as beam
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils

    schema = schema_utils.schema_from_feature_spec({name: spec(name) for name in rows[0]})
    metadata = dataset_metadata.DatasetMetadata(schema)
    config = {"recipe": recipe.to_json()}
    options = beam.options.pipeline_options.PipelineOptions(
        ["--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"]
    )
    with beam.Pipeline(options=options) as p, tft_beam.Context(temp_dir=str(folder / "tmp")):
        data = (p | beam.Create(rows), metadata)
        analyzed = data | tft_beam.AnalyzeDataset(partial(preprocessing_fn, custom_config=config))
        analyzed | tft_beam.WriteTransformFn(str(folder / "graph"))
    graph = tft.TFTransformOutput(str(folder / "graph"))
    metadata_io.write_metadata(metadata, f"{folder}/graph/{graph.RAW_METADATA_DIR}")
    return graph


def write(path: Path, records: list[bytes]) -> None:
    with tf.io.TFRecordWriter(str(path), "GZIP") as out:
        for record in records:
            out.write(record)
