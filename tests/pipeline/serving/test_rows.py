"""Files of raw rows become the dense inputs of a model, cell by cell as in training."""

import datetime
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from ncs4cvr.pipeline.serving.rows import InputError, Times, check_columns, read, to_tensor
from ncs4cvr.schemas.log import MISSING

LARGE = 2**53 + 1  # no float tells it from its neighbour


def tensor(values, dtype, rank=1, kind=None):
    spec = tf.TensorSpec([None] * rank, dtype)
    return to_tensor(pa.table({"x": pa.array(values, kind)}), "x", spec, "f.csv").numpy()


@pytest.fixture
def file(tmp_path):
    """A file with one column x, in any of the three formats."""

    def write(kind, cells):
        path = tmp_path / f"rows.{kind}"
        if kind == "parquet":
            pq.write_table(pa.table({"x": cells}), path)
        elif kind == "jsonl":
            path.write_text("".join(json.dumps({"x": cell}) + "\n" for cell in cells))
        else:
            texts = ["" if cell is None else json.dumps(str(cell)) for cell in cells]
            path.write_text("\n".join(["x,y", *(f"{text},1" for text in texts), ""]))
        return path

    return write


def read_as(path, dtype):
    return to_tensor(read(path), "x", tf.TensorSpec([None], dtype), path).numpy().tolist()


def test_gaps_are_written_as_missing():
    assert tensor([1, None], tf.int64).tolist() == [1, MISSING["int"]]
    assert tensor(["a", None], tf.string).tolist() == [b"a", b""]
    floats = tensor([0.5, None], tf.float32)
    assert floats[0] == 0.5
    assert np.isnan(floats[1])


def test_lists_are_padded_on_the_right_and_lose_their_gaps():
    gap = MISSING["int"]
    expected = [[1, 2], [3, gap], [gap, gap]]
    assert tensor([[1, None, 2], [3], None], tf.int64, 2).tolist() == expected
    assert tensor(["[1, null, 2]", "[3]", ""], tf.int64, 2).tolist() == expected
    assert tensor([["a", "b"], []], tf.string, 2).tolist() == [[b"a", b"b"], [b"", b""]]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_large_number_beside_a_gap_stays_what_it_is(file, kind):
    assert read_as(file(kind, [LARGE, None]), tf.int64) == [LARGE, MISSING["int"]]


@pytest.mark.parametrize(("kind", "cell", "text"), [
    ("csv", "NA", b"NA"), ("csv", "null", b"null"), ("csv", "07", b"07"),
    ("jsonl", True, b"1"), ("jsonl", 5.0, b"5"), ("jsonl", "null", b"null"),
    ("parquet", 5.0, b"5"), ("parquet", 2.5, b"2.5"), ("parquet", b"a", b"a"),
    ("parquet", True, b"true"), ("parquet", ["a"], b"a"),
])  # fmt: skip
def test_text_is_that_of_training(file, kind, cell, text):
    assert read_as(file(kind, [cell, None]), tf.string) == [text, b""]


@pytest.mark.parametrize("values", [["x"], ["0.5"], ["1;2"], ["1e20"]])
def test_what_is_no_whole_number_is_refused_with_its_row(values):
    with pytest.raises(InputError, match=r"f\.csv: column 'x' must hold int; row 2 holds"):
        tensor(["1", *values], tf.int64)


def test_a_list_is_refused_where_one_value_is_wanted():
    with pytest.raises(InputError, match=r"must hold one value a row; row 2 holds .*join"):
        tensor([["a"], ["a", "b"]], tf.string)


def test_a_broken_cell_in_a_list_is_refused_with_its_row():
    with pytest.raises(InputError, match="must hold int; row 3 holds 'b'"):
        tensor(['["1"]', "", '["2", "b"]'], tf.int64, 2)


def test_a_timestamp_is_no_number_of_milliseconds():
    with pytest.raises(InputError, match=r"must hold int, it holds timestamp\[us\]; convert it"):
        tensor([datetime.datetime(2022, 5, 1)], tf.int64)


@pytest.mark.parametrize(
    ("unit", "cells"),
    [
        ("s", [1_651_795_200]), ("s", ["1651795200"]), ("s", [1_651_795_200.0]),
        ("ms", [1_651_795_200_000]), ("ms", ["1651795200000"]),
        ("s", ["2022-05-06T00:00:00Z"]), ("ms", ["2022-05-06T08:00:00"]),
        ("s", [b"2022-05-06T08:00:00"]), ("s", [datetime.datetime(2022, 5, 6, 8)]),
        ("ms", [datetime.datetime(2022, 5, 6, tzinfo=datetime.timezone.utc)]),
    ],
)  # fmt: skip
def test_times_are_those_of_training(unit, cells):
    spec, times = tf.TensorSpec([None], tf.int64), Times("x", unit, 8)
    rows = pa.table({"x": [*cells, None], "y": [7, 8]})
    came = to_tensor(rows, "x", spec, "f.csv", times=times).numpy().tolist()
    assert came == [1_651_795_200_000, MISSING["int"]]
    assert to_tensor(rows, "y", spec, "f.csv", times=times).numpy().tolist() == [7, 8]


@pytest.mark.parametrize("cell", ["soon", "1651795200000", "1e30"])
def test_what_is_no_time_of_the_log_is_refused_with_its_row(cell):
    rows = pa.table({"x": ["1651795200", cell]})
    told = rf"'x' must hold a time in s since 1970, or an ISO time; row 2 holds '{cell}'; correct"
    with pytest.raises(InputError, match=told):
        to_tensor(rows, "x", tf.TensorSpec([None], tf.int64), "f.csv", times=Times("x", "s", 0))


def test_a_timestamp_of_no_calendar_is_refused_with_its_row():
    rows = pa.table({"x": pa.array([0, 2**62], pa.timestamp("ms"))})
    with pytest.raises(InputError, match=rf"or an ISO time; row 2 holds {2**62}; correct"):
        to_tensor(rows, "x", tf.TensorSpec([None], tf.int64), "f.csv", times=Times("x", "s", 0))


def test_a_column_of_another_kind_is_refused():
    with pytest.raises(InputError, match="column 'x' must hold float, it holds date32"):
        tensor([datetime.date(2022, 5, 1)], tf.float32)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("rows.txt", "x", "ends in"),
        ("gone.csv", None, "no such file"),
        ("rows.parquet", "x", "cannot be read as parquet"),
        ("rows.jsonl", '{"a": 1}\n{\n', "line 2 must hold one JSON object, it is '{'"),
        ("rows.csv", "a,b\n1,2\n3\n", "line 3 must hold 2 fields in a line, it is '3'"),
        ("rows.csv", "a,b\n", "holds no row"),
        ("rows.csv", "", "the first line must name every column"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path, name, text, told):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=told):
        read(path)


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    rows = pa.table([["a"], [1], [2]], ["city", "x", "x"])
    with pytest.raises(InputError, match="2 columns are called 'x', expected one; rename the"):
        check_columns(rows, {"x": 0}, tmp_path)
    check_columns(rows, {"city": 0}, tmp_path)


def test_a_column_that_is_missing_is_named_with_the_nearest(tmp_path):
    with pytest.raises(InputError, match=r"lacks 1 of the model's 2 columns: city \(is it citi"):
        check_columns(pa.table({"citi": ["a"], "x": [1]}), {"city": 0, "x": 0}, tmp_path)
