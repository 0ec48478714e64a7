"""A tiny log behind a real Transform, and models of a few hundred weights."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models import trainer
from ncs4cvr.models.layers.sharing import set_ticket
from ncs4cvr.models.learning.ranker import Ranker, compiled
from ncs4cvr.models.pruning.tickets import Tickets
from ncs4cvr.models.serving import export as exporting
from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.log import Split
from ncs4cvr.schemas.recipe import Recipe
from tiny_world import LOG, TINY, Row, World, as_example, rows_of, world_of
from training_days import fitted, searched
from unpacking import unpacked


@pytest.fixture(scope="session")
def unpack() -> Callable[[bytes], tuple[list, list]]:
    """Reads an asset in NumPy: masked pieces [task][piece], and the embedding tables."""
    return unpacked


@pytest.fixture(autouse=True)
def _seeded():
    """Determinism, once switched on by a search, wants a seed for every random operation."""
    tf.keras.utils.set_random_seed(1)


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return TINY


@pytest.fixture(scope="session")
def encode() -> Callable[[Row], bytes]:
    return as_example


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return world_of(tmp_path_factory.mktemp("world"), rows_of(300, seed=1), TINY)


@dataclasses.dataclass(frozen=True)
class Day:
    """A day's training: what it is told, and its data, a hundred rows a day."""

    recipe: Recipe
    world: World


@pytest.fixture(scope="session")
def days(tmp_path_factory: pytest.TempPathFactory) -> tuple[Day, Day]:
    """Two days in a row; each has a window of three, and the second's newest users are new."""
    made, rows = [], rows_of(400, seed=1)
    for i, row in enumerate(rows):
        row["day"] = [20220101 + i // 100]
        if i >= 300:
            row["user"] = [row["user"][0] + 6]
    for first, last in ((1, 3), (2, 4)):
        split = Split("train", f"2022-01-0{first}", f"2022-01-0{last}")
        log = dataclasses.replace(LOG, splits=(split,))
        recipe = TINY.replace(log=log, warm_start="on", search_every_days=9, max_epochs=1)
        window = rows[100 * (first - 1) : 100 * last]
        made.append(Day(recipe, world_of(tmp_path_factory.mktemp("day"), window, recipe)))
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


@pytest.fixture(scope="module")
def first(days, fn_args, tmp_path_factory):
    """The first day: its tickets, its folder, its model."""
    tickets, folder = tmp_path_factory.mktemp("tickets"), tmp_path_factory.mktemp("first")
    searched(days[0], tickets)
    model, start = fitted(days[0], fn_args, folder, tickets=str(tickets))
    return tickets, folder / "run", model, start


@pytest.fixture(scope="module")
def second(days, first, fn_args, tmp_path_factory):
    tickets, folder = tmp_path_factory.mktemp("tickets"), tmp_path_factory.mktemp("second")
    searched(days[1], tickets, first[1])
    told = {"tickets": str(tickets), "last_run": str(first[1])}
    model, start = fitted(days[1], fn_args, folder, **told)
    return tickets, folder / "run", model, start
