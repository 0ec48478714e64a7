"""A day's numbers, from examples made by hand."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from ncs4cvr.components import day_profile
from ncs4cvr.components.day_profile import Watched, profile, read
from ncs4cvr.pipeline.recipes.kuairand import RECIPE

WATCHED = Watched("user", "video", {"click": "", "buy": "click"}, ("price", "city", "tab"))
SCHEMA = """
feature { name: "day" type: INT } feature { name: "user" type: INT }
feature { name: "video" type: BYTES } feature { name: "click" type: INT }
feature { name: "buy" type: INT } feature { name: "price" type: FLOAT }
feature { name: "city" type: BYTES } feature { name: "other" type: INT }
"""


def schema():
    return text_format.Parse(SCHEMA, schema_pb2.Schema())


def columns(rows=8, day=20220101, **changes):
    made = {
        "day": np.full(rows, day),
        "user": np.arange(rows) // 2,
        "video": np.array([b"v%d" % n for n in range(rows)], object),
        "click": np.arange(rows) % 2,
        "buy": np.arange(rows) % 4 // 3,
        "price": np.arange(rows, dtype=np.float32),
        "city": np.array([b"Lima", b"Oslo"] * (rows // 2), object),
        "tab": np.ones(rows, np.int64),
    }
    return {**made, **changes}


def only(**changes):
    (day,) = profile({"train": columns(**changes)}, 1.0, WATCHED).values()
    return day


def test_labels_and_number_features_of_a_recipe_are_watched_keys_clocks_and_lists_are_not():
    watched = Watched.of(RECIPE)
    assert watched.given == {"click": "", "conversion": "click"}  # no output learns likes
    assert {"tab", "duration_ms", "user_click_rate", "music_type"} <= set(watched.features)
    assert not {"user_id", "video_id", "time_ms", "tag", "history_video"} & set(watched.features)
    assert set(watched.plain) == {"user_id", "video_id", "time_ms", "tag"}
    assert (watched.time, watched.utc_offset_hours) == ("time_ms", 8)


def test_rows_and_shares_are_counted_on_the_rows_where_they_count():
    day = only()
    assert day.rows == 8
    assert day.shares["rows with click"] == (4, 8)
    assert day.shares["rows with click that have buy"] == (2, 4)
    # Four users of two rows: the busiest hundredth is one user.
    assert day.shares["rows of the busiest 1% of the users"] == (2, 8)


def test_a_label_that_nothing_learns_still_says_which_rows_count(shards):
    watched = dataclasses.replace(WATCHED, given={"buy": "click"})
    (day,) = profile(*read({"train": shards["train"]}, 8, schema(), watched), watched).values()
    assert day.shares["rows with click that have buy"] == (2, 4)


def test_a_few_values_are_put_in_the_order_of_the_label():
    """Oslo always clicks, Lima never does, and which is first in the alphabet plays no part."""
    day = only()
    assert day.aucs["click", "city"][0] == 1
    assert day.aucs["click", "tab"][0] == 0.5


def test_many_values_are_taken_as_they_are(monkeypatch):
    monkeypatch.setattr(day_profile, "FEW_VALUES", 3)
    # Clicks at 1, 3, 5, 7, others at 0, 2, 4, 6: 10 of 16 pairs.
    assert only().aucs["click", "price"][0] == pytest.approx(10 / 16)
    assert only(price=-np.arange(8.0)).aucs["click", "price"][0] == pytest.approx(6 / 16)
    # Of clicked rows 1, 3, 5, 7 those at 3 and 7 buy.
    assert only().aucs["buy", "price"][0] == pytest.approx(3 / 4)


def test_the_error_is_that_of_ranks_without_a_meaning():
    rng = np.random.default_rng(1)
    y = np.arange(60) < 20
    drawn = [day_profile._auc(y, rng.random(60)) for _ in range(4000)]
    assert np.std([auc for auc, _ in drawn]) == pytest.approx(drawn[0][1], rel=0.05)


def test_a_label_of_one_class_has_no_auc():
    assert not [key for key in only(click=np.ones(8, int)).aucs if key[0] == "click"]


def test_the_middle_of_a_quantity_leaves_out_zeros_and_gaps(monkeypatch):
    monkeypatch.setattr(day_profile, "FEW_VALUES", 3)
    price = np.array([np.nan, 0, 0, 0, 3, 4, 5, 6])
    assert only(price=price).middles == {"price": 4.5}


def after_three_days(**odd):
    """The fourth day, odd in some way, of a split whose others are as they always are."""
    parts = [columns(day=20220101 + n) for n in range(3)] + [columns(day=20220104, **odd)]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return profile({"train": joined}, 1.0, WATCHED)[20220104]


def test_a_quantity_is_one_on_the_day_that_cuts_it_to_a_few_values(monkeypatch):
    """As a length does that comes in minutes instead of milliseconds."""
    monkeypatch.setattr(day_profile, "FEW_VALUES", 3)
    day = after_three_days(price=np.array([2, 1] * 4, np.float32))
    assert day.middles == {"price": 1.5}
    assert day.aucs["click", "price"][0] == 0  # the lower of both values clicks


def test_a_column_of_a_few_values_stays_one_on_the_day_that_brings_many(monkeypatch):
    monkeypatch.setattr(day_profile, "FEW_VALUES", 3)
    many = np.arange(8)
    day = after_three_days(tab=-many, city=np.array([b"c%d" % n for n in many], object))
    assert "tab" not in day.middles
    # Every value has a row of its own, whose click is the value's mean.
    assert day.aucs["click", "tab"][0] == day.aucs["click", "city"][0] == 1


def test_rows_with_a_value_are_counted_whatever_its_type():
    gaps = {
        "price": np.array([np.nan, 0, -np.inf, 3, 4, 5, 6, 7]),
        "city": np.array([b"", b"", b"Oslo", b"Oslo"] * 2, object),
        "tab": np.array([-(2**63), 0, 1, 2, 3, 4, 5, 6]),
    }
    assert only(**gaps).valued == {"price": (7, 8), "city": (4, 8), "tab": (7, 8)}


def test_a_column_with_one_value_is_constant():
    assert only().constant == {"tab"}


def test_a_key_and_a_clock_that_stand_still_are_constant():
    """As a video's id that is always 0, and times that came as days."""
    watched = dataclasses.replace(WATCHED, plain=("user", "video", "time"))
    stuck = columns(video=np.full(8, b"0", object), time=np.full(8, 10**12))
    (day,) = profile({"train": stuck}, 1.0, watched).values()
    assert day.constant == {"tab", "video", "time"}
    assert not any(column in ("user", "video", "time") for _, column in day.aucs)


def test_days_are_told_apart_and_pairs_of_the_day_before_are_found_again():
    mixed = columns(day=np.array([20220102, 20220101] * 4), video=np.full(8, b"v", object))
    first, second = profile({"train": mixed}, 1.0, WATCHED).items()
    assert (first[0], second[0]) == (20220101, 20220102)
    assert first[1].rows == second[1].rows == 4
    assert second[1].shares["rows with a user and a video of the day before"] == (4, 4)
    other = columns(day=20220103)
    days = profile({"train": mixed, "test": other}, 1.0, WATCHED)
    assert days[20220103].split == "test"
    assert days[20220103].shares["rows with a user and a video of the day before"] == (0, 8)


@pytest.mark.parametrize(("ahead", "block"), [(0, "15:00 to 18:00"), (8, "00:00 to 03:00")])
def test_hours_are_those_of_the_log_s_clock(ahead, block):
    """16:45 UTC on 2022-01-01, 18,993 days after 1970, is 00:45 of the next day in China."""
    watched = dataclasses.replace(WATCHED, time="time", utc_offset_hours=ahead)
    moment = (18_993 * 24 + 16.75) * 3_600_000
    splits = {
        f"s{n}": columns(day=20220101 + n, time=np.full(8, int(moment) + n * 86_400_000))
        for n in range(3)
    }
    middle = profile(splits, 1.0, watched)[20220102].hours
    # Two rows a user: as good as four.
    assert middle.shares(range(8))[f"rows from {block}"] == (4, 4)
    assert middle.labels == {
        f"rows with click from {block}": (2, 4),
        f"rows with click that have buy from {block}": (2, 4),
    }


def test_hours_at_the_log_s_ends_are_not_whole_on_its_first_and_last_day_alone():
    """Rows at 7:00 and 16:00 of every day."""
    watched = dataclasses.replace(WATCHED, time="time")
    hours = np.array([7, 16] * 4)
    days = profile(
        {
            f"s{n}": columns(day=20220101 + n, time=((18_993 + n) * 24 + hours) * 3_600_000)
            for n in range(3)
        },
        1.0,
        watched,
    )
    assert [day.hours.whole for day in days.values()] == [range(3, 8), range(8), range(5)]


def test_without_a_clock_there_are_no_hours():
    assert only().hours is None


def test_a_sample_is_blown_up_to_the_whole():
    (day,) = profile({"train": columns()}, 0.25, WATCHED).values()
    assert day.rows == 32


@pytest.fixture
def shards(tmp_path):
    """Four shards a split of two rows each; the third row has no price and no city."""
    made = columns()
    found = {}
    for split in ("train", "test"):
        found[split] = []
        for shard in range(4):
            path = str(tmp_path / f"{split}-{shard}.gz")
            found[split].append(path)
            with tf.io.TFRecordWriter(path, "GZIP") as out:
                for row in (2 * shard, 2 * shard + 1):
                    out.write(example({k: v[row] for k, v in made.items()}, gaps=row == 2))
    return found


def example(row, gaps):
    features = {}
    for name, value in row.items():
        if name == "price" and not gaps:
            features[name] = tf.train.Feature(float_list=tf.train.FloatList(value=[value]))
        elif name in ("city", "video") and not (gaps and name == "city"):
            features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        elif name not in ("price", "city"):
            features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def test_examples_are_read_with_their_gaps_and_without_columns_that_no_schema_has(shards):
    splits, share = read(shards, 16, schema(), WATCHED)
    assert share == 1
    assert set(splits["train"]) == {"day", "user", "video", "click", "buy", "price", "city"}
    assert splits["test"]["user"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert np.isnan(splits["test"]["price"][2])
    assert splits["test"]["city"][2] == b""
    day = profile({"test": splits["test"]}, share, WATCHED)[20220101]
    assert day.rows == 8
    assert day.valued == {"price": (7, 8), "city": (7, 8)}


def test_of_a_large_log_the_same_shards_of_every_split_are_read(shards, monkeypatch):
    monkeypatch.setattr(day_profile, "MOST_ROWS", 8)
    splits, share = read(shards, 16, schema(), dataclasses.replace(WATCHED, features=()))
    assert share == 0.5
    assert {len(each["day"]) for each in splits.values()} == {4}
    assert splits["train"]["user"].tolist() == splits["test"]["user"].tolist() == [0, 0, 1, 1]


def test_a_sample_without_a_row_of_a_split_says_that_nothing_came(shards, monkeypatch):
    """A day of so few rows is odd; it is no reason to break off."""
    monkeypatch.setattr(day_profile, "MOST_ROWS", 4)
    with tf.io.TFRecordWriter(shards["test"][0], "GZIP"):
        pass
    splits, share = read(shards, 16, schema(), WATCHED)
    assert set(profile(splits, share, WATCHED)) == {20220101}
    assert profile(splits, share, WATCHED)[20220101].split == "train"
