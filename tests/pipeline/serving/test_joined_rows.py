"""A split of a finished run becomes a file that `predict` reads as the model was trained."""

import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from judged_runs import TYPES, Judged, schema, shard, table
from noted_runs import CACHED, COMPLETE, FAILED

from ncs4cvr.components.log.log_steps import GZIP
from ncs4cvr.pipeline.run import durable, recovery
from ncs4cvr.pipeline.serving import joined_rows
from ncs4cvr.pipeline.serving.rows import InputError, Times, read, to_tensor
from ncs4cvr.schemas.log import MISSING

LARGE = 2**53 + 1  # no float tells it from its neighbour
TEXTS = ["Oslo", "NA", 'a "b", c', "x\r\ny\nz\r", " 07 ", "[1]", "Zürich 🚲\u2028", "null", "1.0"]


def split(folder, *shards, times=None):
    for number, columns in enumerate(shards):
        shard(folder, number, columns)
    return joined_rows.Examples(folder, schema(), times)


@pytest.fixture(params=joined_rows.ENDINGS)
def path(request, tmp_path):
    """Of a file of each kind."""
    return tmp_path / f"rows{request.param}"


def tensor(path, name, dtype, rank=1, times=None):
    spec = tf.TensorSpec([None] * rank, dtype)
    return to_tensor(read(path), name, spec, path, times=times).numpy()


# -- what is in the file ---------------------------------------------------------------------------


def test_the_model_is_asked_for_exactly_the_values_of_the_examples(path, tmp_path):
    users = [1, LARGE, None, -LARGE, 2**63 - 1, 0, 5, 6, 7]
    prices = np.array([0.1, 1e-45, 3.4028235e38, -2.5, 1 / 3, 7, 1e-7, 1e16, 16777217], np.float32)
    hostile = table(users, city=pa.array(TEXTS), price=pa.array(prices))
    examples = split(tmp_path / "Split-test", hostile)
    assert joined_rows.write(examples, path) == 9
    expected = [MISSING["int"] if user is None else user for user in users]
    assert tensor(path, "user", tf.int64).tolist() == expected
    assert tensor(path, "city", tf.string).tolist() == [text.encode() for text in TEXTS]
    assert tensor(path, "price", tf.float32).tobytes() == prices.tobytes()


def test_missing_values_stay_missing_also_where_no_row_has_one(path, tmp_path):
    some = table([1, 2], city=pa.array(["Oslo", None]), price=pa.array([None, 2.5], pa.float32()))
    joined_rows.write(split(tmp_path / "Split-test", some, table([3])), path)
    gap = MISSING["int"]
    assert tensor(path, "city", tf.string).tolist() == [b"Oslo", b"", b""]
    assert np.isnan(tensor(path, "price", tf.float32)).tolist() == [True, False, True]
    assert tensor(path, "gone", tf.int64).tolist() == [gap] * 3


def test_histories_of_any_length_are_lists(path, tmp_path):
    videos = [["a", 'b", "c', "1"], [], ["ü"]]
    columns = table(
        [1, 2, 3],
        history_video=pa.array(videos),
        history_action=pa.array([[1, LARGE], [], [0]]),
    )
    joined_rows.write(split(tmp_path / "Split-test", columns), path)
    gap = MISSING["int"]
    expected = [[1, LARGE], [gap, gap], [0, gap]]
    assert tensor(path, "history_action", tf.int64, 2).tolist() == expected
    found = [[word.decode() for word in row if word] for row in tensor(
        path, "history_video", tf.string, 2)]  # fmt: skip
    assert found == videos


def test_parquet_keeps_kinds_and_nulls(tmp_path):
    examples = split(tmp_path / "Split-test", table([1, None]))
    joined_rows.write(examples, tmp_path / "rows.parquet")
    rows = pq.read_table(tmp_path / "rows.parquet")
    kinds = {"user": pa.int64(), "price": pa.float32(), "city": pa.string(), "gone": pa.int64()}
    assert {name: rows.schema.field(name).type for name in kinds} == kinds
    assert rows.schema.field("history_video").type == pa.list_(pa.string())
    assert rows.column_names == list(TYPES)
    assert rows["user"].to_pylist() == [1, None]
    assert rows["gone"].to_pylist() == [None, None]


def test_json_lines_say_null(tmp_path):
    joined_rows.write(split(tmp_path / "Split-test", table([1])), tmp_path / "rows.jsonl")
    (line,) = (tmp_path / "rows.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "user": 1, "time": 1_651_795_200_000, "city": None, "price": None, "gone": None,
        "history_video": [], "history_action": [],
    }  # fmt: skip


@pytest.mark.parametrize("unit", ["ms", "s"])
def test_times_come_as_the_log_writes_them_to_the_millisecond(path, tmp_path, unit):
    times = Times("time", unit, 8)
    joined_rows.write(split(tmp_path / "Split-test", table([1, 2, 3]), times=times), path)
    found = tensor(path, "time", tf.int64, times=times).tolist()
    assert found == [1_651_795_200_000, 1_651_795_200_001, 1_651_795_200_002]


def test_rows_come_a_bounded_number_at_a_time_and_in_the_shards_order(path, tmp_path, monkeypatch):
    monkeypatch.setattr(joined_rows, "BATCH_ROWS", 2)
    examples = split(tmp_path / "Split-test", table([1, 2, 3]), table([4, 5]))
    sizes = [batch.num_rows for batch in joined_rows._batches(examples)]
    assert sizes == [2, 1, 2]
    assert joined_rows.write(examples, path) == 5
    assert tensor(path, "user", tf.int64).tolist() == [1, 2, 3, 4, 5]


# -- what cannot be written ------------------------------------------------------------------------


def alone(folder, name, values):
    """A split whose only row has these bytes in a column."""
    row = tf.train.Example()
    row.features.feature[name].bytes_list.value.extend(values)
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / "data.gz"), GZIP) as out:
        out.write(row.SerializeToString())
    return joined_rows.Examples(folder, schema(), None)


@pytest.mark.parametrize(
    ("name", "values"),
    [("city", [b"\xff"]), ("history_video", [b"a", b"\xff"])],
)
def test_bytes_that_are_no_text_are_refused_as_predict_would(path, tmp_path, name, values):
    examples = alone(tmp_path / "Split-test", name, values)
    with pytest.raises(
        InputError, match=f"column '{name}' of the examples does not hold .*predict"
    ):
        joined_rows.write(examples, path)
    assert os.listdir(tmp_path) == ["Split-test"]


def test_a_nul_character_is_refused_in_csv_alone(path, tmp_path):
    examples = alone(tmp_path / "Split-test", "city", [b"a\0b"])
    if path.suffix == ".csv":
        with pytest.raises(InputError, match=r"'city' holds text with a NUL .* write \.parquet or"):
            joined_rows.write(examples, path)
        assert not path.exists()
    else:
        joined_rows.write(examples, path)
        assert tensor(path, "city", tf.string).tolist() == [b"a\0b"]


def test_a_shard_that_is_cut_off_leaves_no_file(path, tmp_path, monkeypatch):
    monkeypatch.setattr(joined_rows, "BATCH_ROWS", 2)
    examples = split(tmp_path / "Split-test", table([1, 2, 3]), table([4, 5]))
    last = tmp_path / "Split-test/data_tfrecord-00001-of-00002.gz"
    last.write_bytes(last.read_bytes()[:-30])
    with pytest.raises(
        InputError, match=r"00001-of-00002.gz cannot be read to its end.* makes it anew"
    ):
        joined_rows.write(examples, path)
    assert os.listdir(tmp_path) == ["Split-test"]


def test_a_file_is_what_it_was_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("old")

    def stopped():
        with durable.whole(path) as new:
            new.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["rows.csv"])
    with durable.whole(path) as new:
        new.write_text("new")
        assert path.read_text() == "old"
    assert (path.read_text(), os.listdir(tmp_path)) == ("new", ["rows.csv"])


# -- which examples --------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path):
    return Judged(tmp_path)


def users(run, name="test"):
    examples = joined_rows.find(run.folder, name)
    path = run.folder / "rows.jsonl"
    joined_rows.write(examples, path)
    return [json.loads(line)["user"] for line in path.read_text().splitlines()]


def test_the_last_finished_run_is_taken_whatever_came_after_or_from_the_cache(run):
    first, second = run.made(1), run.made(16)
    run.judged(COMPLETE, first)
    run.judged(FAILED, second)
    run.made(31)  # refused before it was judged
    assert users(run) == [1]
    run.judged(COMPLETE, second)
    assert users(run, "train") == [16]
    run.judged(CACHED, first)
    assert users(run) == [1]


def test_the_unit_of_times_is_that_of_the_runs_model(run):
    run.judged(COMPLETE, run.made(1))
    assert joined_rows.find(run.folder, "test").times == Times("time", "s", 0)


def test_no_run_and_one_that_did_not_finish_are_named(run):
    told = r"no run in .* has finished: ModelGate never ended there; give the folder of a finished"
    with pytest.raises(FileNotFoundError, match=told):
        joined_rows.find(run.folder / "none", "test")
    run.judged(FAILED, run.made(1))
    with pytest.raises(FileNotFoundError, match=told):
        joined_rows.find(run.folder, "test")


def test_a_split_that_there_is_not_is_named_with_those_that_there_are(run):
    run.judged(COMPLETE, run.made(1))
    with pytest.raises(
        FileNotFoundError, match="no split 'valid'; give --split one of test, train"
    ):
        joined_rows.find(run.folder, "valid")


@pytest.mark.parametrize("what", ["examples", "schema", "model"])
def test_what_was_cleaned_away_is_named(run, what):
    made = run.made(1)
    run.judged(COMPLETE, made)
    shutil.rmtree(made[what])
    with pytest.raises(FileNotFoundError, match=rf"/{what}/\d+, of the last finished run, was rem"):
        joined_rows.find(run.folder, "test")


@pytest.mark.parametrize("file", ["examples/1/Split-test/data_tfrecord-00000-of-00002.gz",
                                  "schema/2/schema.pbtxt"])  # fmt: skip
def test_what_has_changed_since_it_was_made_is_refused(run, file):
    run.judged(COMPLETE, run.made(1))
    (path,) = run.folder.glob(f"artifacts/*/{file}")
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(
        InputError, match=f"{path.name} has changed; the next `ncs4cvr run` makes it anew"
    ):
        joined_rows.find(run.folder, "test")


def test_metadata_that_are_damaged_are_refused(run):
    run.judged(COMPLETE, run.made(1))
    (run.folder / recovery.DATABASE).write_text("noise" * 1000)
    with pytest.raises(InputError, match=r"metadata\.sqlite is damaged .* puts it in order"):
        joined_rows.find(run.folder, "test")
