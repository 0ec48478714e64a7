"""A tiny log behind a real Transform, and models of a few hundred weights."""

import dataclasses
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from ncs4cvr.models import export as exporting
from ncs4cvr.models import trainer
from ncs4cvr.models.batches import Batches
from ncs4cvr.models.packed import asset, coding
from ncs4cvr.models.preprocessing import preprocessing_fn, vocabulary_sizes
from ncs4cvr.models.ranker import Ranker, compiled
from ncs4cvr.models.sharing import set_ticket
from ncs4cvr.models.tickets import Tickets
from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.log import Label, Log, Split
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


@pytest.fixture(scope="session")
def unpack() -> Callable[[bytes], tuple[list, list]]:
    """Reads an asset in NumPy: masked pieces [task][piece], and the embedding tables."""
    return _unpack


@pytest.fixture(autouse=True)
def _seeded():
    """Determinism, once switched on by a search, wants a seed for every random operation."""
    tf.keras.utils.set_random_seed(1)


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return TINY


@pytest.fixture(scope="session")
def encode() -> Callable[[Row], bytes]:
    return _encode


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return _world(tmp_path_factory.mktemp("world"), _rows(300, seed=1), TINY)


def _world(folder: Path, rows: list[Row], recipe: Recipe) -> World:
    valid_rows = _rows(150, seed=2)
    graph = _transform_graph(rows, folder, recipe)
    for name, split in (("train", rows), ("valid", valid_rows)):
        _write(folder / f"{name}.gz", [_encode(row) for row in split])
    return World(rows, valid_rows, folder, graph, vocabulary_sizes(recipe, graph))


@dataclasses.dataclass(frozen=True)
class Day:
    """A day's training: what it is told, and its data, a hundred rows a day."""

    recipe: Recipe
    world: World


@pytest.fixture(scope="session")
def days(tmp_path_factory: pytest.TempPathFactory) -> tuple[Day, Day]:
    """Two days in a row; each has a window of three, and the second's newest users are new."""
    made, rows = [], _rows(400, seed=1)
    for i, row in enumerate(rows):
        row["day"] = [20220101 + i // 100]
        if i >= 300:
            row["user"] = [row["user"][0] + 6]
    for first, last in ((1, 3), (2, 4)):
        split = Split("train", f"2022-01-0{first}", f"2022-01-0{last}")
        log = dataclasses.replace(LOG, splits=(split,))
        recipe = TINY.replace(log=log, warm_start="on", search_every_days=9, max_epochs=1)
        window = rows[100 * (first - 1) : 100 * last]
        made.append(Day(recipe, _world(tmp_path_factory.mktemp("day"), window, recipe)))
    return made[0], made[1]


@dataclasses.dataclass(frozen=True)
class Trained:
    """What search_fn and run_fn left: folders, and the model as it was exported."""

    found: str
    tickets: str
    folder: Path
    model: Ranker

    @property
    def saved(self) -> str:
        """The SavedModel."""
        return f"{self.folder}/Format-Serving"


@pytest.fixture(scope="session")
def trained(world: World, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    recipe = TINY.replace(rounds=1, max_epochs=2, patience=9)
    found, tickets, folder = (tmp_path_factory.mktemp(n) for n in ("found", "tickets", "trained"))
    splits = (f"{world.folder}/train*", f"{world.folder}/valid*")
    trainer.search_fn(recipe.to_json(), *splits, f"{world.folder}/graph", str(found))
    _sparser(Tickets.load(str(found))).save(str(tickets))
    models = []

    def export(model: Ranker, *args: Any, **by_name: Any) -> None:
        models.append(model)
        exporting.export(model, *args, **by_name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "export", export)
        trainer.run_fn(_fn_args(world, recipe, folder, tickets=str(tickets)))
    return Trained(str(found), str(tickets), folder, models[0])


def _sparser(found: Tickets) -> Tickets:
    """Other masks with the same start: whatever round was chosen, two thirds are pruned."""
    rng = np.random.default_rng(1)
    shapes = [tuple(shape) for shape in found.facts["shapes"]]
    masks = {task: [rng.random(shape) < 1 / 3 for shape in shapes] for task in found.tickets}
    return Tickets(masks, found.start, found.facts)


@pytest.fixture(scope="session")
def fn_args(world: World) -> Callable[..., SimpleNamespace]:
    """Makes what TFX hands to run_fn: recipe, folder for the outputs, tickets=..."""
    return partial(_fn_args, world)


def _fn_args(world: World, recipe: Recipe, folder: Path, **config: str) -> SimpleNamespace:
    return SimpleNamespace(
        custom_config={
            "recipe": recipe.to_json(),
            "checkpoint": f"{folder}/checkpoint",
            **config,
        },
        transform_output=f"{world.folder}/graph",
        train_files=[f"{world.folder}/train*"],
        eval_files=[f"{world.folder}/valid*"],
        model_run_dir=f"{folder}/run",
        serving_model_dir=f"{folder}/Format-Serving",
    )


@pytest.fixture
def small() -> Callable[..., tuple[Ranker, dict[str, tf.Tensor]]]:
    """Builds a ranker of two category features, and a batch of 32 rows for it."""
    return _small


def _small(tickets=None, **changes: Any) -> tuple[Ranker, dict[str, tf.Tensor]]:
    features = (Feature("user"), Feature("video"))
    recipe = TINY.replace(**{"features": features, "hidden": (6, 4), **changes})
    rng = np.random.default_rng(3)
    click = rng.integers(0, 2, 32)
    batch = {
        "user": rng.integers(0, 5, 32),
        "video": rng.integers(0, 9, 32),
        "click": click,
        "conversion": click * rng.integers(0, 2, 32),
        "completion": rng.uniform(size=32).astype("float32"),
    }
    batch = {name: tf.constant(values) for name, values in batch.items()}
    model = compiled(recipe, {"user": 5, "video": 9})
    model(batch)
    model.optimizer.build(model.trainable_variables)
    for task, ticket in enumerate(tickets or []):
        set_ticket(model.sharing.connections(task), ticket)
    return model, batch


def _rows(count: int, seed: int) -> list[Row]:
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


def _spec(name: str) -> Any:
    kind = tf.float32 if name in FLOATS else tf.string if name in STRINGS else tf.int64
    # As a schema with a shape gives it; all others may be missing.
    return tf.io.FixedLenFeature([1], kind) if name == "tab" else tf.io.VarLenFeature(kind)


def _encode(row: Row) -> bytes:
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


def _transform_graph(rows: list[Row], folder: Path, recipe: Recipe) -> tft.TFTransformOutput:
    import apache_beam as beam
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils

    schema = schema_utils.schema_from_feature_spec({name: _spec(name) for name in rows[0]})
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


def _write(path: Path, records: list[bytes]) -> None:
    with tf.io.TFRecordWriter(str(path), "GZIP") as out:
        for record in records:
            out.write(record)


def _unpack(blob: bytes) -> tuple[list[list[np.ndarray]], list[np.ndarray]]:
    layout = asset.read(blob)
    kinds = {"int8": np.dtype(np.int8), **coding.VALUES}

    def numbers(name: str, kind: str) -> np.ndarray:
        spans = [layout.parts[f"{name}.{b}"] for b in range(kinds[kind].itemsize)]
        planes = [np.frombuffer(zlib.decompress(blob[at : at + n]), np.uint8) for at, n in spans]
        flat = np.ascontiguousarray(np.stack(planes, axis=1)).view(kinds[kind])
        return flat.reshape(-1).astype(np.float32)

    blocks, keeps = asset.tickets(blob)
    width = layout.block
    values = numbers("value", layout.weights) if len(blocks) else np.zeros(0)
    dense = []
    for kept in keeps:
        cells = sum(p.inputs * p.outputs for p in layout.pieces)
        every = np.zeros((cells // width, width), np.float32)
        every[blocks[kept]] = values.reshape(-1, width)[kept]
        cuts = np.split(every, [p.first for p in layout.pieces][1:])
        shapes = [(p.outputs // width, p.inputs, width) for p in layout.pieces]
        dense.append(
            [
                c.reshape(s).swapaxes(0, 1).reshape(s[1], -1)
                for c, s in zip(cuts, shapes, strict=True)
            ]
        )
    tables = []
    for k, shape in enumerate(layout.tables):
        table = numbers(f"table.{k}", layout.embeddings).reshape(shape)
        scales = numbers(f"scale.{k}", "f32")[:, None] if layout.embeddings == "int8" else 1
        tables.append(table * scales)
    return dense, tables
