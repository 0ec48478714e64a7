"""The bundled Census-Income files are UCI's with columns that a script makes, and only those."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

FOLDER = Path(__file__).parents[2] / "data" / "census_income"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("add_columns", FOLDER / "add_columns.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tables():
    return {name: pq.read_table(FOLDER / f"{name}.parquet") for name in ("train", "test")}


def test_the_files_are_what_the_script_makes_of_the_original_columns(script, tables, tmp_path):
    for name, table in tables.items():
        pq.write_table(table.drop(list(script.ADDED)), tmp_path / f"{name}.parquet")
    script.main(tmp_path)
    for name, table in tables.items():
        assert pq.read_table(tmp_path / f"{name}.parquet").equals(table)


def test_running_the_script_again_changes_nothing(script, tables, tmp_path):
    for name in tables:
        shutil.copy(FOLDER / f"{name}.parquet", tmp_path)
    script.main(tmp_path)
    for name, table in tables.items():
        assert pq.read_table(tmp_path / f"{name}.parquet").equals(table)


def test_rows_are_numbered_through_both_files(tables):
    rows = np.concatenate([tables[name]["row"].to_numpy() for name in ("train", "test")])
    np.testing.assert_array_equal(rows, np.arange(199_523 + 99_762))


def test_a_tenth_of_the_training_file_validates_and_the_test_file_tests(script, tables):
    days = pc.value_counts(tables["train"]["split_day"]).to_pylist()
    counts = {day["values"]: day["counts"] for day in days}
    assert counts == {script.TRAIN: 199_523 - 19_952, script.VALIDATE: 19_952}
    assert tables["test"]["split_day"].unique().to_pylist() == [script.TEST]


def test_labels_agree_with_the_original_columns(tables):
    for table in tables.values():
        over = pc.equal(table["income_50k"], "50000+.")
        never = pc.equal(table["marital_status"], "Never married")
        assert pc.sum(table["income"]).as_py() == pc.sum(over).as_py()
        assert pc.sum(table["never_married"]).as_py() == pc.sum(never).as_py()
        degrees = set(
            table.filter(pc.equal(table["bachelor"], 1))["education"].unique().to_pylist()
        )
        others = set(table.filter(pc.equal(table["bachelor"], 0))["education"].unique().to_pylist())
        assert len(degrees) == 4
        assert not degrees & others


def test_values_that_are_not_ucis_are_named(script):
    table = pa.table({"income_50k": [" 50000+."], "marital_status": ["x"], "education": ["x"]})
    with pytest.raises(ValueError, match=r"'income_50k' never holds 50000\+\."):
        script.with_columns(table, 0, np.array([script.TRAIN], object))
