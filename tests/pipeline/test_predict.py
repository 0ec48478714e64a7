"""Files of raw features become the dense inputs of a model."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from ncs4cvr.pipeline import predict
from ncs4cvr.pipeline.predict import InputError
from ncs4cvr.schemas.log import MISSING


def tensor(values, dtype, rank=1):
    spec = tf.TensorSpec([None] * rank, dtype)
    return predict.to_tensor(pd.Series(values, name="x"), spec, "f.csv").numpy()


def test_gaps_are_written_as_missing():
    assert tensor([1, None], tf.int64).tolist() == [1, MISSING["int"]]
    assert tensor(["a", None], tf.string).tolist() == [b"a", b""]
    floats = tensor([0.5, None], tf.float32)
    assert floats[0] == 0.5
    assert np.isnan(floats[1])


def test_lists_are_padded_on_the_right_and_json_is_a_list():
    gap = MISSING["int"]
    assert tensor([[1, 2], "[3]", None], tf.int64, 2).tolist() == [[1, 2], [3, gap], [gap, gap]]


@pytest.mark.parametrize("values", [["x"], [0.5], ["1;2"]])
def test_what_is_no_whole_number_is_refused_with_its_row(values):
    with pytest.raises(InputError, match=r"f\.csv: column 'x' must hold int; row 2 holds"):
        tensor([1, *values], tf.int64)


def test_text_of_digits_stays_text(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("tag,n\n07,1\n,2\n")
    rows = predict.read(path, ["tag"])
    assert rows["tag"].tolist()[0] == "07"
    assert tensor(rows["tag"], tf.string).tolist() == [b"07", b""]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("rows.txt", "x", "ends in"),
        ("gone.csv", None, "no such file"),
        ("rows.parquet", "x", "cannot be read as parquet"),
        ("rows.jsonl", "{", "cannot be read as jsonl"),
        ("rows.csv", "a,b\n", "holds no row"),
        ("rows.csv", "", "cannot be read as csv"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, name, text, told):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=told):
        predict.read(path)


def test_the_newest_version_is_taken(tmp_path):
    for version in ("9", "10", "notes"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "saved_model.pb").touch()
    assert predict.newest_version(tmp_path).name == "10"
    assert predict.newest_version(tmp_path / "9").name == "9"


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_a_null_word_is_missing_in_every_format(tmp_path, name):
    path = tmp_path / name
    path.write_text(
        'city\nOslo\n""\n' if name.endswith("csv") else '{"city":"Oslo"}\n{"city":null}\n'
    )
    rows = predict.read(path, ["city"])
    spec = tf.TensorSpec([None], tf.string)
    assert predict.to_tensor(rows["city"], spec, path).numpy().tolist() == [b"Oslo", b""]
