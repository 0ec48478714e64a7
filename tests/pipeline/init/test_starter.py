"""`ncs4cvr init` on logs with other names than ours."""

import argparse
import csv
import datetime
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from ncs4cvr.components.log.plan import make_plan
from ncs4cvr.components.log.records import LogError
from ncs4cvr.pipeline import recipe_files
from ncs4cvr.pipeline.cli import main
from ncs4cvr.pipeline.init.starter import write_starter
from ncs4cvr.pipeline.init.starter_options import add_options
from ncs4cvr.pipeline.status import DONE


def write(path, rows):
    with open(path, "w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def rows(tmp_path):
    """Ten days of 40 rows; half of the clicks convert."""
    rng = random.Random(1)
    events = [
        {
            "uid": f"u{rng.randrange(20)}",
            "item_id": rng.randrange(30),
            "timestamp": 1_640_995_200 + 86_400 * (i // 40) + i % 40,
            "click": int(i % 4 < 2),
            "purchase": int(i % 4 == 0),
            "watch_time": rng.randrange(50),
            "duration": rng.randrange(1, 60),
            "scene": rng.choice(["home", "search"]),
            "share_count": rng.randrange(3),
            "same": 1,
        }
        for i in range(400)
    ]
    write(
        tmp_path / "videos.csv", [{"item_id": i, "tags": f"t{i % 3}|t{i % 5}"} for i in range(30)]
    )
    return events


def init(tmp_path, events, *more):
    write(tmp_path / "events.csv", events)
    parser = argparse.ArgumentParser()
    add_options(parser)
    files = ["--events", f"{tmp_path}/events.csv", "--videos", f"{tmp_path}/videos.csv"]
    return write_starter(parser.parse_args([*files, "--output", f"{tmp_path}/mine.py", *more]))


def test_a_recipe_is_written_that_the_log_can_be_read_with(tmp_path, rows):
    told = init(tmp_path, rows)
    assert "user: column 'uid', by its name and values" in told
    recipe = recipe_files.load(f"{tmp_path}/mine.py")
    make_plan(recipe.log, recipe.features)
    log = recipe.log
    assert (log.column("user_id"), log.column("video_id")) == ("uid", "item_id")
    assert log.column("time_ms") == "timestamp"
    assert log.time_unit == "s"
    assert [(label.name, label.column) for label in log.labels] == [
        ("click", "click"),
        ("conversion", "purchase"),
        ("completion", "watch_time"),
    ]
    assert [(s.first, s.last) for s in log.splits] == [
        ("2022-01-01", "2022-01-07"),
        ("2022-01-08", "2022-01-08"),
        ("2022-01-09", "2022-01-10"),
    ]
    actions = next(f for f in recipe.features if f.name == "history_action")
    assert actions.bins == 2 ** len(log.history_actions)  # one id a combination of actions
    priors = {tally.name: tally.prior for tally in log.tallies}
    assert priors["user_click_rate"] == priors["video_conversion_rate"] == 0.5
    # Of all impressions: known where a history file tells of conversions and not of clicks.
    of_all = next(tally for tally in log.tallies if tally.name == "user_ctcvr_rate")
    assert (of_all.hits, of_all.trials, of_all.prior) == ("conversion", "impression", 0.25)
    assert priors["video_ctcvr_rate"] == 0.25
    features = {feature.name: feature for feature in recipe.features}
    assert features["tags"].separator == "|"
    assert features["user_id"].dtype == "string"
    assert features["scene"].dtype == "string"
    assert not {"share_count", "same", "watch_time", "click"} & set(features)


def test_an_unclear_column_is_asked_for_and_a_flag_answers(tmp_path, rows):
    odd = [{**{k: v for k, v in r.items() if k != "click"}, "opened": r["click"]} for r in rows]
    with pytest.raises(LogError, match=r"clearly the click .* --click COLUMN.* do: .*opened"):
        init(tmp_path, odd)
    init(tmp_path, odd, "--click", "opened")
    assert recipe_files.load(f"{tmp_path}/mine.py").log.labels[0].column == "opened"


def test_text_of_tfrecord_files_is_text(tmp_path, rows):
    def feature(value):
        if isinstance(value, str):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    init(tmp_path, rows)  # writes the videos
    (tmp_path / "mine.py").unlink()
    with tf.io.TFRecordWriter(str(tmp_path / "events.tfrecord")) as out:
        for row in rows:
            features = {name: feature(value) for name, value in row.items()}
            example = tf.train.Example(features=tf.train.Features(feature=features))
            out.write(example.SerializeToString())
    init(tmp_path, rows, "--events", f"{tmp_path}/events.tfrecord")
    features = {each.name: each for each in recipe_files.load(f"{tmp_path}/mine.py").features}
    assert features["scene"].dtype == features["user_id"].dtype == "string"


def test_columns_of_times_and_of_parts_are_left_out(tmp_path, rows):
    init(tmp_path, rows)
    (tmp_path / "mine.py").unlink()
    born = [datetime.datetime(2000, 1, 1 + i % 9) for i in range(len(rows))]
    table = pa.Table.from_pylist(rows).append_column("born", pa.array(born))
    table = table.append_column("birthday", pa.array([day.date() for day in born]))
    table = table.append_column("place", pa.array([{"x": i % 3} for i in range(len(rows))]))
    pq.write_table(table, tmp_path / "events.parquet")
    told = init(tmp_path, rows, "--events", f"{tmp_path}/events.parquet")
    for left in ("born (of the type timestamp", "birthday (of the type date32", "place (of the"):
        assert left in told


def test_times_with_fractions_of_a_second_are_in_seconds(tmp_path, rows):
    for row in rows:
        row["timestamp"] = f"{row['timestamp']}.25"
    init(tmp_path, rows)
    log = recipe_files.load(f"{tmp_path}/mine.py").log
    assert log.time_unit == "s"
    assert log.splits[0].first == "2022-01-01"


def test_rates_are_those_of_the_training_days(tmp_path, rows):
    for row in rows[280:]:  # validation and test: nobody clicks
        row["click"] = row["purchase"] = 0
    told = init(tmp_path, rows)
    assert "click rate 0.5000, conversions per click 0.5000" in told


@pytest.mark.parametrize(("theirs", "ours"), [
    (("a.b", "a b"), ["event_a_b", "event_a_b_2"]),
    (("self", "history_video"), ["event_history_video", "event_self"]),
    (("x" * 120, "x" * 130), ["event_" + "x" * 84, "event_" + "x" * 84 + "_2"]),
    (("Stra\u00dfe", "\u8bbe\u5907", "\u57ce\u5e02"), ["event_Stra_e", "event__", "event___2"]),
])  # fmt: skip
def test_names_that_tensorflow_does_not_take_or_that_become_the_same(tmp_path, rows, theirs, ours):
    rows = [{**row, **dict.fromkeys(theirs, i % 5)} for i, row in enumerate(rows)]
    init(tmp_path, rows)
    recipe = recipe_files.load(f"{tmp_path}/mine.py")
    events = [f.column for f in recipe.features if f.source == "event"]
    found = [column for column in events if recipe.log.column(column) in theirs]
    assert sorted(found) == sorted(ours)


def test_rows_without_a_readable_time_are_in_no_rate(tmp_path, rows):
    rows[0]["timestamp"] = "soon"  # a click; four of a thousand such rows are let through
    init(tmp_path, rows, "--time", "timestamp")
    (tally,) = [
        t
        for t in recipe_files.load(f"{tmp_path}/mine.py").log.tallies
        if t.name == "user_click_rate"
    ]
    assert tally.prior == pytest.approx(139 / 279, abs=1e-4)  # of the training days


def test_a_training_split_of_fewer_rows_than_the_test_split_is_told(tmp_path, rows):
    assert "hardly enough" not in init(tmp_path, rows)
    (tmp_path / "mine.py").unlink()
    told = init(tmp_path, rows[30:120])  # 10 rows of the first day, 40 of the others
    assert "train has 10 rows and test 40: hardly enough to learn from" in told


def test_it_is_told_before_they_are_read_how_many_files_there_are(tmp_path, rows, capfd):
    write(tmp_path / "a.csv", rows[:200])
    write(tmp_path / "b.csv", rows[200:])
    told = ["--events", f"{tmp_path}/[ab].csv", "--output", f"{tmp_path}/mine.py"]
    assert main(["init", *told]) == DONE
    printed = capfd.readouterr()
    assert "reading 2 files, the events twice" in printed.err
    assert "reading" not in printed.out


def test_nothing_is_overwritten(tmp_path, rows):
    init(tmp_path, rows)
    with pytest.raises(LogError, match=r"mine\.py exists"):
        init(tmp_path, rows)


@pytest.mark.parametrize(
    ("unit", "told"),
    [(10**4, "neither seconds nor milliseconds"), (10**6, "times in s or ms since 1970")],
)
def test_times_of_another_unit_are_refused(tmp_path, rows, unit, told):
    for row in rows:
        row["timestamp"] *= unit
    with pytest.raises(LogError, match=told):
        init(tmp_path, rows)


def test_columns_that_only_clicks_fill_are_no_features(tmp_path, rows):
    """Whatever they are called: at serving time nobody knows them."""
    rng = random.Random(2)
    for row in rows:
        clicked, converted = row["click"], row["purchase"]
        row["depth_s"] = rng.randrange(1, 9) if clicked else 0
        row["amount"] = f"{rng.random() * 9:.2f}" if converted else ""
        row["plan"] = rng.choice(["basic", "pro"]) if converted else "none"
        row["fee"] = f"{rng.random() * 9:.2f}"
        row["rare"] = int(clicked and rng.random() < 0.05)  # a few; may be chance
    told = init(tmp_path, rows)
    for name in ("depth_s", "amount", "plan"):
        assert f"{name} (the same in every row without a click: known only afterwards?)" in told
    recipe = recipe_files.load(f"{tmp_path}/mine.py")
    assert {"fee", "rare"} <= {feature.name for feature in recipe.features}
    assert not {"depth_s", "amount", "plan"} & {feature.name for feature in recipe.features}


def test_columns_that_nearly_only_clicks_fill_are_no_features(tmp_path, rows):
    # Half of the rows are clicked. Of "depth" 4 of 104 values lie in others, a thirteenth of what
    # chance would do; of "deals" 30 of 100, as a feature may have.
    clicked = 0
    for i, row in enumerate(rows):
        clicked += row["click"]
        row["depth"] = int((row["click"] and clicked <= 100) or (not row["click"] and i < 10))
        row["deals"] = int((row["click"] and clicked <= 70) or (not row["click"] and i < 60))
    told = init(tmp_path, rows)
    assert sum(row["depth"] for row in rows) == 104
    features = {feature.name for feature in recipe_files.load(f"{tmp_path}/mine.py").features}
    assert "deals" in features
    assert "depth" not in features
    assert "depth (nearly the same in every row without a click: known only afterwards?)" in told


def test_a_ratio_of_columns_with_missing_values_is_no_label(tmp_path, rows):
    odd = [{**row, "watch_time": row["watch_time"] if i % 20 else ""} for i, row in enumerate(rows)]
    assert "no completion: 5% of the rows have no 'watch_time'" in init(tmp_path, odd)
    labels = {label.name for label in recipe_files.load(f"{tmp_path}/mine.py").log.labels}
    assert labels == {"click", "conversion"}


def test_objects_in_json_are_no_features(tmp_path, rows):
    init(tmp_path, rows)
    (tmp_path / "mine.py").unlink()
    with open(tmp_path / "events.jsonl", "w") as stream:
        for i, row in enumerate(rows):
            stream.write(json.dumps({**row, "app": {"os": "ab"[i % 2], "v": None}}) + "\n")
    told = init(tmp_path, rows, "--events", f"{tmp_path}/events.jsonl")
    assert "app (objects: write the parts as columns of their own)" in told
    features = {feature.name for feature in recipe_files.load(f"{tmp_path}/mine.py").features}
    assert "app" not in features
    assert "scene" in features


def test_a_likelier_column_that_is_passed_over_is_told_with_its_reason(tmp_path, rows):
    odd = [{**row, "is_conversion": row["purchase"] if row["click"] else ""} for row in rows]
    assert "not 'is_conversion', which has missing values" in init(tmp_path, odd)
    words = [{**row, "click": ["no", "yes"][row["click"]]} for row in rows]
    with pytest.raises(LogError, match=r"clearly the click .* not 'click', which holds 'yes'"):
        init(tmp_path, words, "--output", f"{tmp_path}/other.py")


def test_labels_may_be_the_words_true_and_false(tmp_path, rows):
    init(tmp_path, rows)
    plain = (tmp_path / "mine.py").read_text()
    (tmp_path / "mine.py").unlink()
    init(tmp_path, [{**row, "click": bool(row["click"])} for row in rows])
    assert (tmp_path / "mine.py").read_text() == plain


def test_all_columns_that_are_unclear_are_asked_for_at_once(tmp_path, rows):
    names = {"uid": "a", "click": "b", "purchase": "c"}
    odd = [{names.get(k, k): v for k, v in row.items()} for row in rows]
    with pytest.raises(LogError) as told:
        init(tmp_path, odd)
    for role in ("user", "click", "conversion"):
        assert f"say --{role} COLUMN" in str(told.value)


def test_the_clock_of_times_that_tell_their_zone_is_theirs(tmp_path, rows):
    def zoned(row, zone):
        moment = datetime.datetime.fromtimestamp(row["timestamp"], zone)
        return {**row, "timestamp": moment.isoformat()}

    east = datetime.timezone(datetime.timedelta(hours=5.5))
    told = init(tmp_path, [zoned(row, east) for row in rows])
    assert recipe_files.load(f"{tmp_path}/mine.py").log.utc_offset_hours == 5.5
    assert "days and hours are those of UTC+5.5, as the times are written" in told
    (tmp_path / "mine.py").unlink()
    mixed = [zoned(row, east if i % 2 else datetime.timezone.utc) for i, row in enumerate(rows)]
    assert "days and hours are those of UTC; --utc-offset-hours" in init(tmp_path, mixed)
    (tmp_path / "mine.py").unlink()
    init(tmp_path, [zoned(row, east) for row in rows], "--utc-offset-hours", "8")
    assert recipe_files.load(f"{tmp_path}/mine.py").log.utc_offset_hours == 8


@pytest.mark.parametrize(("moment", "first"), [(0, "1970-01-01"), (4_070_908_800, "2099-01-01")])
def test_a_time_that_lies_years_from_the_others_is_in_no_split(tmp_path, rows, moment, first):
    rows[5]["timestamp"] = moment
    told = init(tmp_path, rows)
    assert f"in no split: 1 rows of {first} to {first}, which lie years from the others" in told
    splits = recipe_files.load(f"{tmp_path}/mine.py").log.splits
    assert (splits[0].first, splits[-1].last) == ("2022-01-01", "2022-01-10")


def test_times_in_two_units_are_refused_or_told(tmp_path, rows):
    late = [{**row, "timestamp": row["timestamp"] * (1000 if i > 350 else 1)}
            for i, row in enumerate(rows)]  # fmt: skip
    with pytest.raises(LogError, match=r"49 of 400 rows have no time in 'timestamp'.* one unit"):
        init(tmp_path, late, "--time", "timestamp")
    early = [{**row, "timestamp": row["timestamp"] * (1000 if i > 49 else 1)}
             for i, row in enumerate(rows)]  # fmt: skip
    assert "are all times in one unit?" in init(tmp_path, early)


def test_times_in_floats_of_32_bits_are_no_times(tmp_path, rows):
    init(tmp_path, rows)
    (tmp_path / "mine.py").unlink()
    table = pa.Table.from_pylist(rows)
    at = table.column_names.index("timestamp")
    narrow = table["timestamp"].cast(pa.float32(), safe=False)
    pq.write_table(table.set_column(at, "timestamp", narrow), tmp_path / "events.parquet")
    with pytest.raises(LogError, match="no column is clearly the time"):
        init(tmp_path, rows, "--events", f"{tmp_path}/events.parquet")


@pytest.mark.parametrize(("factor", "doubt"), [(1, False), (1000, True)])
def test_watched_and_duration_in_two_units_show(tmp_path, rows, factor, doubt):
    told = init(tmp_path, [{**row, "duration": row["duration"] * factor} for row in rows])
    assert "completion: watch_time / duration, about" in told
    assert ("are both in the same unit?" in told) == doubt


def test_the_clock_of_days_is_told_until_it_is_named(tmp_path, rows):
    assert "days and hours are those of UTC; --utc-offset-hours" in init(tmp_path, rows)
    (tmp_path / "mine.py").unlink()
    assert "those of UTC" not in init(tmp_path, rows, "--utc-offset-hours", "8")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_whole_numbers_of_more_than_63_bits_are_ids(tmp_path, rows, ending):
    for i, row in enumerate(rows):
        row["device"] = 2**63 - 3 + i % 6
    init(tmp_path, rows)  # writes the videos
    (tmp_path / "mine.py").unlink()
    table = pa.Table.from_pylist([{**row, "device": 0} for row in rows])
    devices = pa.array([row["device"] for row in rows], pa.uint64())
    at = table.column_names.index("device")
    pq.write_table(table.set_column(at, "device", devices), tmp_path / "events.parquet")
    more = ["--events", f"{tmp_path}/events.parquet"] if ending == "parquet" else []
    init(tmp_path, rows, *more)
    (device,) = (
        f for f in recipe_files.load(f"{tmp_path}/mine.py").features if f.column == "device"
    )
    assert (device.kind, device.dtype) == ("category", "string")


def test_whole_numbers_that_are_taken_for_quantities_are_told(tmp_path, rows):
    many = [{**row, "price": 7 * (i % 1100)} for i, row in enumerate(rows * 4)]
    told = init(tmp_path, many)
    assert (
        "quantities, as they have more than 1000 values: price (ids want kind='category')" in told
    )


def test_files_may_write_a_column_in_different_types(tmp_path, rows):
    """Of pandas and of databases: ids as decimals, what has gaps as floats, yes and no as bool."""
    init(tmp_path, rows)
    expected = (tmp_path / "mine.py").read_text().replace("events.csv", "*.parquet")
    (tmp_path / "mine.py").unlink()
    table = pa.Table.from_pylist(rows)
    kinds = {"item_id": pa.decimal128(38, 0), "duration": pa.float64(), "scene": pa.large_string()}
    for half, changed in enumerate(({}, {**kinds, "click": pa.bool_()})):
        part = table.slice(half * 200, 200)
        for name, kind in changed.items():
            cells = part[name].to_pylist()
            cells = [bool(cell) for cell in cells] if pa.types.is_boolean(kind) else cells
            at = part.column_names.index(name)
            part = part.set_column(at, name, pa.array(cells, kind))
        pq.write_table(part, tmp_path / f"{half}.parquet")
    init(tmp_path, rows, "--events", f"{tmp_path}/*.parquet")
    assert (tmp_path / "mine.py").read_text() == expected
