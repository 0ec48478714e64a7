"""Which day and split a row belongs to, and what becomes of rows of none."""

import dataclasses

import pytest

from log_oracle import DAY_MS, day_of
from ncs4cvr.components.log.records import LogError
from ncs4cvr.schemas.log import Split

TRAIN = Split("train", "2022-01-02", "2022-01-04")


def test_splits_hold_both_their_first_and_last_moment(logs, tmp_path):
    log = logs.random(tmp_path, 8)
    edges = [18_994 * DAY_MS, 18_997 * DAY_MS - 1, 18_997 * DAY_MS, 18_999 * DAY_MS - 1]
    for row, time in zip(log.events, edges, strict=False):
        row["ts"] = time
    rows = logs.run(log.write(), tmp_path / "out").splits
    for split, moments in (("train", edges[:2]), ("test", edges[2:])):
        assert set(moments) <= {row["time_ms"] for row in rows[split]}


def test_a_utc_offset_moves_days_but_not_times(logs, tmp_path):
    log = logs.random(tmp_path, 9)
    plain = logs.run(log.write(), tmp_path / "a")
    for row in log.events:
        row["ts"] -= 8 * 3_600_000
    moved = logs.run(dataclasses.replace(log.write(), utc_offset_hours=8), tmp_path / "b")
    assert [r["day"] for r in moved.examples] == [r["day"] for r in plain.examples]
    assert {r["time_ms"] + 8 * 3_600_000 for r in moved.examples} == {
        r["time_ms"] for r in plain.examples
    }


def test_a_day_column_decides_the_split_but_lets_no_future_into_tallies(logs, tmp_path):
    log = logs.random(tmp_path, 19)
    for row in log.events:
        row["date"] = 20220102 if day_of(row) == 18_993 else 20220101 + day_of(row) - 18_993
    plain = logs.run(log.write(), tmp_path / "a")
    late = max((r for r in log.events if day_of(r) == 18_996), key=lambda r: r["ts"])
    late["date"] = 20220105
    moved = logs.run(dataclasses.replace(log.write(), day="date"), tmp_path / "b")
    assert moved.counts["events"]["history_only"] == 0
    assert len(moved.splits["test"]) == len(plain.splits["test"]) + 1

    def inputs(result):
        gone = ("day", "split")
        rows = [{k: v for k, v in r.items() if k not in gone} for r in result.examples]
        return {repr(row) for row in rows}

    assert inputs(plain) <= inputs(moved)


@pytest.mark.parametrize("pieces", [1, 3])
def test_rows_after_the_splits_are_left_out_and_counted(logs, tmp_path, pieces):
    log = logs.random(tmp_path, 23)
    whole = logs.run(log.write(), tmp_path / "whole")
    splits = (TRAIN, Split("test", "2022-01-05", "2022-01-05"))
    early = dataclasses.replace(log.write(pieces=pieces), splits=splits, until="2022-01-06")
    result = logs.run(early, tmp_path / "early")
    events = result.counts["events"]
    assert events["later"] == sum(day_of(row) == 18_998 for row in log.events) > 0
    assert not result.dead
    assert events["rows"] == len(log.events)

    def of_5th(each):
        return sorted(repr(r) for r in each.examples if r["day"] == 20220105)

    assert of_5th(result) == of_5th(whole) != []


def test_a_file_may_hold_nothing_but_rows_after_the_splits(logs, tmp_path):
    log = logs.random(tmp_path, 24)
    written = log.write()
    (tmp_path / "more").mkdir()
    more = logs.random(tmp_path / "more", 25)
    more.events = [{**row, "ts": 18_999 * DAY_MS} for row in more.events]
    files = f"{written.events},{more.write().events}"
    result = logs.run(
        dataclasses.replace(written, events=files, until="2022-01-07"), tmp_path / "o"
    )
    assert result.counts["events"]["later"] == len(more.events)


def test_a_row_after_until_is_broken(logs, tmp_path):
    log = logs.random(tmp_path, 26)
    log.events[0]["ts"] = 18_999 * DAY_MS
    rules = dataclasses.replace(log.write(), until="2022-01-06", max_bad_share=0.1)
    result = logs.run(rules, tmp_path / "out")
    assert [d["expected"] for d in result.dead] == ["a day up to 2022-01-06, until"]


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (Split("late", "2022-01-07", "2022-01-08"), "split 'late' .* has no rows"),
        (Split("late", "2022-01-06", "2022-01-06"), "no positive of label 'click'"),
    ],
)
def test_a_split_without_rows_or_positives_stops_the_run(logs, tmp_path, split, message):
    log = logs.random(tmp_path, 16)
    for row in log.events:
        if day_of(row) == 18_998:
            row["is_click"] = 0
    train = Split("train", "2022-01-02", "2022-01-05")
    with pytest.raises(LogError, match=message):
        logs.run(dataclasses.replace(log.write(), splits=(train, split)), tmp_path / "out")
