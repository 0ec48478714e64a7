"""The towers that the serving benchmark keeps."""

import dataclasses

import pytest
import tensorflow as tf

from ncs4cvr.schemas.log import Split
from tiny_world import TINY, as_example, rows_of, transform_graph, write

ROWS = {"train": 128, "validate": 100}


@pytest.fixture
def recipe():
    splits = (
        Split("train", "2022-01-01", "2022-01-01"),
        Split("validate", "2022-01-02", "2022-01-02"),
    )
    return TINY.replace(log=dataclasses.replace(TINY.log, splits=splits))


@pytest.fixture
def data(tmp_path, recipe):
    """Examples and a graph of a tiny log."""
    from quality_parts.data import Data

    tf.keras.utils.set_random_seed(1)
    for split, count in ROWS.items():
        (tmp_path / f"raw/Split-{split}").mkdir(parents=True)
        write(tmp_path / f"raw/Split-{split}/data.gz", [as_example(r) for r in rows_of(count, 1)])
    transform_graph(rows_of(ROWS["train"], 1), tmp_path, recipe)
    return Data(tmp_path / "graph", tmp_path / "raw", tmp_path / "rows", "f")


def test_towers_are_trained_anew_for_a_recipe_that_trains_otherwise(
    data, recipe, tmp_path, monkeypatch
):
    from serving_parts import tickets

    monkeypatch.setattr(tickets, "REMOVED", (0.5,))
    size = tickets.Size("T", 4, 4, (20, 4))

    def kept(recipe):
        assert list(tickets.trained(size, recipe, data, tmp_path / "kept")) == [0.5]
        return {file: file.stat().st_mtime_ns for file in (tmp_path / "kept").iterdir()}

    before = kept(recipe)
    assert len(before) == 1
    moved = dataclasses.replace(recipe.log, events="elsewhere")
    assert kept(recipe.replace(log=moved)) == before
    after = kept(recipe.replace(learning_rate=0.02))
    assert len(after) == 2
    assert before.items() <= after.items()
