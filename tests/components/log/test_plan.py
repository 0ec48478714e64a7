"""What is refused before a row is read, and what each message says."""

import dataclasses
import datetime as dt

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ncs4cvr.components.log.plan import make_plan
from ncs4cvr.components.log.records import LogError
from ncs4cvr.components.log.row_checks import check_rows
from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.log import Label, Tally


@pytest.fixture
def small(logs, tmp_path):
    return logs.random(tmp_path, 1)


def refuse(log, features, message):
    with pytest.raises(LogError, match=message):
        make_plan(log, features)


def test_an_event_feature_that_names_a_label_is_a_leak(small):
    log = small.log()
    for column in ("is_click", "played", "click"):
        with pytest.raises(LogError, match=r"is a label: .* \(label leak\); drop the feature"):
            check_rows(log, [Feature("x", column=column)])
    check_rows(log, [Feature("x", column="duration")])
    hidden = dataclasses.replace(log, columns=(*log.columns, ("hidden", "is_click")))
    with pytest.raises(LogError, match="label leak"):
        check_rows(hidden, [Feature("hidden")])


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        (Feature("x", "tally"), r"no tally column 'x'; name one of \['user_clicks'"),
        (Feature("x", "history"), r"no history column 'x'; name one of \['history_action'"),
        (Feature("day"), "column 'day' is a name that examples use themselves"),
        (Feature("user_n", "user"), "column 'user_n' is a name that examples use themselves"),
    ],
)
def test_a_feature_without_a_source_is_refused(small, feature, message):
    with pytest.raises(LogError, match=message):
        check_rows(small.log(), [feature])


def test_rows_that_contradict_each_other_are_refused(small):
    log = small.log()
    two = [Feature("tab"), Feature("tab2", "video", column="tab")]
    with pytest.raises(LogError, match="both read column 'tab' but as event/int and video/int"):
        check_rows(log, two)
    with pytest.raises(LogError, match=r"comes from the users file, but Log\.users is empty"):
        check_rows(dataclasses.replace(log, users=""), [Feature("age", "user")])
    ratio = dataclasses.replace(log, tallies=(Tally("t", "user", "completion"),))
    with pytest.raises(LogError, match="'completion' is a ratio; name a binary label"):
        check_rows(ratio, [])
    circle = (Label("a", "a", given="b"), Label("b", "b", given="a"))
    with pytest.raises(LogError, match="in a circle"):
        check_rows(dataclasses.replace(log, labels=circle, tallies=(), history_actions=()), [])


def test_a_missing_column_names_its_file_its_neighbours_and_the_cure(small):
    for row in small.events:
        row["is_clicked"] = row.pop("is_click")
    refuse(
        small.write(),
        [],
        r"events-0.parquet: no column 'is_click'; nearest are is_clicked.* "
        r'map it: Log\(columns=\(\("is_click", "is_clicked"\),\)\)',
    )


def twice(path, name):
    """Writes the file anew, with one of its columns a second time."""
    table = pq.read_table(path)
    pq.write_table(table.append_column(name, table[name]), path)


@pytest.mark.parametrize(
    ("file", "column"),
    [
        ("events-0", "user_id"), ("events-0", "ts"), ("events-0", "tab"), ("events-0", "is_click"),
        ("users-0", "user_id"), ("history-0", "video_id"), ("history-0", "steps"),
        ("history-0", "long_view"),
    ],
)  # fmt: skip
def test_a_needed_column_that_a_file_names_twice_is_refused(small, tmp_path, file, column):
    log = small.write()
    twice(tmp_path / f"{file}.parquet", column)
    told = rf"{file}\.parquet: 2 columns are called '{column}', expected one; rename the others"
    refuse(log, [Feature("tab")], told)


def test_a_column_that_nobody_reads_may_be_there_twice(logs, small, tmp_path):
    log = small.write()
    once = logs.run(log, tmp_path / "once", (Feature("tab"),))
    twice(tmp_path / "events-0.parquet", "row")
    again = logs.run(log, tmp_path / "again", (Feature("tab"),))
    assert again.examples == once.examples


def test_a_column_of_the_wrong_type_is_refused(small):
    for row in small.events:
        row["is_click"] = dt.date(2022, 5, 6)
    refuse(small.write(), [], "column 'is_click' holds date32.*, expected 0 or 1; write it as that")


@pytest.mark.parametrize("ending", ["parquet", "tfrecord"])
def test_times_in_floats_of_32_bits_are_refused(small, tmp_path, ending):
    for row in small.events:
        row["ts"] = float(row["ts"])
    log = small.write(ending)
    if ending == "parquet":
        make_plan(log, [])  # of 64 bits
        table = pq.read_table(tmp_path / "events-0.parquet")
        narrow = table["ts"].cast(pa.float32(), safe=False)
        pq.write_table(table.set_column(2, "ts", narrow), tmp_path / "events-0.parquet")
    refuse(
        log, [], f"events-0.{ending}: column 'ts' holds floats of 32 bits, which keep .* minutes"
    )


def test_a_feature_column_missing_in_the_users_file_is_refused(small):
    refuse(small.write("csv"), [Feature("agee", "user")], "users-0.csv: no column 'agee'; nearest")


def test_a_log_without_rows_is_refused(small, tmp_path):
    log = small.write()
    pq.write_table(pa.table({"user_id": pa.array([], pa.int64())}), tmp_path / "events-0.parquet")
    refuse(log, [], "events: .*events-0.parquet hold no row")
    (tmp_path / "events-0.csv").write_text("user_id,video_id\n")
    refuse(dataclasses.replace(log, events=f"{tmp_path}/events-0.csv"), [], "hold no row")


def test_ids_are_words_if_a_feature_or_a_file_says_so(logs, tmp_path, small):
    assert make_plan(small.write("csv"), []).user_type == "int"
    assert make_plan(small.log("csv"), [Feature("user_id", dtype="string")]).user_type == "string"
    for row in small.events:
        row["user_id"] = f"00{row['user_id']}"
    assert make_plan(small.write("csv"), []).user_type == "string"
    (tmp_path / "words").mkdir()
    words = logs.random(tmp_path / "words", 1, words=True)
    assert make_plan(words.write(), []).video_type == "string"


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_broken_rows_at_a_files_head_make_no_words_of_its_ids(small, tmp_path, ending):
    log = small.write(ending)
    path = tmp_path / f"events-0.{ending}"
    lines = path.read_text().splitlines(keepends=True)
    head = 1 if ending == "csv" else 0
    path.write_text("".join([*lines[:head], *["[7]\n"] * 1100, *lines[head:]]))
    plan = make_plan(log, [])
    assert (plan.user_type, plan.video_type) == ("int", "int")


def test_buckets_grow_with_the_log_and_are_at_least_two(small):
    log = small.write()
    assert make_plan(log, [], bucket_rows=1000).buckets == 2
    assert make_plan(log, [], bucket_rows=10).buckets == 6
