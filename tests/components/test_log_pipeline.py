"""From raw rows to examples: what each example holds, and that no row goes astray."""

import dataclasses
import json

import numpy as np
import pytest

from ncs4cvr.components.records import LogError
from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.log import Split

DAY_MS = 86_400_000
TRAIN = Split("train", "2022-01-02", "2022-01-04")
ENDINGS = ("parquet", "csv", "csv.gz", "jsonl", "jsonl.gz", "tfrecord", "tfrecord.gz")


def day_of(row):
    return row["ts"] // DAY_MS


def clicked(row):
    return row["is_click"]


def converted(row):
    return row["is_click"] & row["long_view"]


def expected(log, row):
    """What the example of `row` must hold, one row at a time, straight from the definitions."""
    user, video, now = row["user_id"], row["video_id"], row["ts"]
    past = [r for r in log.events if r["user_id"] == user and r["ts"] < now]
    old = [r for r in log.history if r["user_id"] == user]
    seen = [r for r in log.events if r["video_id"] == video and day_of(r) < day_of(row)]
    seen_old = [r for r in log.history if r["video_id"] == video]
    clicks, conversions = sum(map(clicked, past)), sum(map(converted, past))
    old_long = sum(r["long_view"] for r in old)
    long_seen = sum(map(converted, seen)) + sum(r["long_view"] for r in seen_old)
    share = row["played"] / row["duration"] if row["duration"] > 0 else 0
    result = {
        "user_id": user,
        "video_id": video,
        "time_ms": now,
        "day": 20220101 + day_of(row) - 18_993,
        "click": row["is_click"],
        "conversion": converted(row),
        "completion": np.float32(min(max(share, 0), 1)),
        "tab": row["tab"],
        "duration": row["duration"],
        "user_n": len(past) + len(old),
        "user_clicks": clicks,
        # The history file does not know clicks, so its rows are no trials of conversion | click.
        "user_cvr": np.float32((conversions + 1) / (clicks + 2)),
        "user_long": np.float32((conversions + old_long + 1) / (len(past) + len(old) + 4)),
        "video_n": len(seen) + len(seen_old),
        "video_ctr": np.float32((sum(map(clicked, seen)) + 1) / (len(seen) + 2)),
        "video_long": np.float32((long_seen + 1) / (len(seen) + len(seen_old) + 4)),
    }
    for table, key in ((log.users, "user_id"), (log.videos, "video_id")):
        for other in table:
            if other[key] == row[key]:
                result |= other
    return result


def expected_history(log, row, length=4):
    """(video, action, gap, time) of the last impressions, newest first; ties by video, action."""
    user, now = row["user_id"], row["ts"]
    past = [
        (r["ts"], r["video_id"], clicked(r) + 2 * converted(r))
        for r in log.events
        if r["user_id"] == user and r["ts"] < now
    ]
    old = sorted((r for r in log.history if r["user_id"] == user), key=lambda r: r["steps"])
    entries = [(v, a, (now - t) // 1000, t) for t, v, a in sorted(past, reverse=True)]
    entries += [(r["video_id"], 2 * r["long_view"], -1, 0) for r in old]
    return entries[:length]


@pytest.mark.parametrize(("seed", "words"), [(1, False), (2, True), (3, False)])
def test_examples_hold_what_plain_python_computes(logs, tmp_path, seed, words):
    log = logs.random(tmp_path, seed, words=words)
    result = logs.run(log.write(), tmp_path / "out", bucket_rows=15)
    assert result.counts["events"]["history_only"] == 10
    want = []
    for row in log.events:
        if day_of(row) == 18_993:
            continue
        split = "train" if day_of(row) <= 18_996 else "test"
        history = list(zip(*expected_history(log, row), strict=True)) or [()] * 4
        names = ("history_video", "history_action", "history_gap_s", "history_time_ms")
        want.append(expected(log, row) | dict(zip(names, history, strict=True)) | {"split": split})
    want = sorted((dict(sorted(row.items())) for row in want), key=key)
    got = sorted((dict(sorted(row.items())) for row in result.examples), key=key)
    assert got == want


def key(row):
    return row["time_ms"], str(row["user_id"]), str(row["video_id"]), row["click"], repr(row)


def test_present_and_future_labels_change_no_input_but_past_ones_do(logs, tmp_path):
    log = logs.random(tmp_path, 4)
    (tmp_path / "changed").mkdir()
    changed = dataclasses.replace(log, folder=tmp_path / "changed")
    users = [r["user_id"] for r in log.events]
    user = max(set(users), key=users.count)
    moment = sorted({r["ts"] for r in log.events if r["user_id"] == user})[5]
    changed.events = [
        {**r, "is_click": 1 - r["is_click"], "long_view": 1 - r["long_view"], "played": 99}
        if r["user_id"] == user and r["ts"] >= moment
        else r
        for r in log.events
    ]

    def inputs(small, out):
        rows = logs.run(small.write(), out).examples
        keep = [r for r in rows if r["user_id"] == user]
        labels = ("click", "conversion", "completion")
        return [{k: v for k, v in r.items() if k not in labels} for r in keep]

    before, after = inputs(log, tmp_path / "a"), inputs(changed, tmp_path / "b")

    def until_now(rows):
        return sorted(repr(r) for r in rows if r["time_ms"] <= moment)

    def later(rows):
        return sorted(repr(r) for r in rows if r["time_ms"] > moment)

    assert len(until_now(before)) > 2
    assert until_now(before) == until_now(after)
    assert later(before) != later(after)


@pytest.mark.slow
def test_every_format_gives_the_same_examples(logs, tmp_path):
    results = []
    for ending in ENDINGS:
        folder = tmp_path / ending
        folder.mkdir()
        log = logs.random(folder, 5)
        results.append(logs.run(log.write(ending), folder / "out"))
    for result in results[1:]:
        assert result.examples == results[0].examples


@pytest.mark.slow
def test_files_pieces_buckets_and_workers_change_no_example(logs, tmp_path):
    log = logs.random(tmp_path, 6)
    first = logs.run(log.write(), tmp_path / "a")
    again = logs.run(log.log(), tmp_path / "b")
    assert first.shards == again.shards
    log.events.reverse()
    log.history.reverse()
    shuffled = logs.run(log.write(pieces=3), tmp_path / "c")
    assert shuffled.shards == first.shards
    small = logs.run(log.log(), tmp_path / "d", bucket_rows=7)
    assert len(small.shards) > len(first.shards)
    assert small.examples == first.examples
    many = ("--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner",
            "--direct_running_mode=multi_threading", "--direct_num_workers=2")  # fmt: skip
    threads = logs.run(log.log(), tmp_path / "e", beam_args=many)
    assert threads.shards == first.shards


def test_exact_duplicates_are_dropped_and_counted(logs, tmp_path):
    log = logs.random(tmp_path, 7)
    first = logs.run(log.write(), tmp_path / "a")
    log.events += log.events[:9]
    log.events.append({**log.events[20], "row": 999})  # differs in a column that nobody reads
    again = logs.run(log.write(pieces=2), tmp_path / "b")
    assert again.counts["events"]["duplicates"] == 9
    assert sum(again.counts["events"]["examples"].values()) == (
        sum(first.counts["events"]["examples"].values()) + 1
    )


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


BREAKAGES = [
    ("user_id", "", "a value, not a missing one"),
    ("video_id", "x1", "a whole number"),
    ("ts", "soon", "a time in ms since 1970, or an ISO time"),
    ("ts", "1893456000000", "a day up to 2022-01-06, the last day of the splits"),
    ("is_click", "2", "0 or 1"),
    ("is_click", "", "a value, not a missing one"),
    ("long_view", "yes", "0 or 1"),
    ("played", "inf", "a finite number"),
    ("duration", "-inf", "a finite number"),
    ("tab", "1.5", "a whole number"),
]


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_each_broken_cell_is_one_dead_letter_with_its_reason(logs, tmp_path, ending):
    log = logs.random(tmp_path, 10, rows=120)
    whole = len(log.events)
    for i, (column, cell, _) in enumerate(BREAKAGES):
        log.events.append({**log.events[i + 40], column: cell})
    result = logs.run(dataclasses.replace(log.write(ending), max_bad_share=0.1), tmp_path / "out")
    head = 1 if ending == "csv" else 0
    assert [(d["row"], d["column"], d["came"], d["expected"]) for d in result.dead] == [
        (whole + i + 1 + head, column, cell, why) for i, (column, cell, why) in enumerate(BREAKAGES)
    ]
    assert all(d["file"].endswith(f"events-0.{ending}") for d in result.dead)
    assert result.dead[1]["raw"]["video_id"] == "x1"
    counts = result.counts["events"]
    assert counts["dead"]["is_click: expected 0 or 1"] == 1
    assert counts["rows"] == whole + len(BREAKAGES)
    written = sum(counts["examples"].values())
    assert counts["rows"] == written + counts["history_only"] + sum(counts["dead"].values())


def test_too_many_broken_rows_stop_the_run_and_leave_nothing(logs, tmp_path):
    log = logs.random(tmp_path, 11)
    log.events[3]["is_click"] = 7
    with pytest.raises(LogError, match="1 of 60 rows are broken") as error:
        logs.run(log.write(), tmp_path / "out")
    assert '"column": "is_click", "expected": "0 or 1", "came": 7' in str(error.value)
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]
    # TFX removes these folders itself, and would tell that they are gone instead of what was wrong.
    assert (tmp_path / "out/dead_letters").is_dir()
    assert (tmp_path / "out/Split-train").is_dir()


def test_kept_orphans_are_no_conversions_and_dropped_ones_dead_letters(logs, tmp_path):
    log = logs.random(tmp_path, 12)
    orphans = sum(r["long_view"] and not r["is_click"] for r in log.events)
    assert orphans > 3
    kept = logs.run(log.write(), tmp_path / "a")
    assert kept.counts["events"]["orphans"] == {"conversion": orphans}
    outside = orphans - sum(
        n["conversion"] for n in kept.counts["events"]["split_orphans"].values()
    )
    assert 0 <= outside < orphans
    assert not kept.dead
    log_ = dataclasses.replace(log.log(), orphan_conversions="drop")
    dropped = logs.run(log_, tmp_path / "b")
    assert len(dropped.dead) == orphans
    assert dropped.counts["events"]["dead"] == {
        "long_view: expected no conversion without click": orphans
    }


def test_the_first_row_of_a_user_counts_and_the_others_are_counted(logs, tmp_path):
    log = logs.random(tmp_path, 13)
    log.users.append({"user_id": 0, "city": "other", "age": 99})
    result = logs.run(log.write(), tmp_path / "out")
    assert {r["city"] for r in result.examples if r["user_id"] == 0} == {"c0"}
    assert result.counts["users"]["duplicate_keys"] == 1


def test_missing_values_and_unknown_keys_are_absent_features(logs, tmp_path):
    log = logs.random(tmp_path, 14)
    log.users[1]["city"] = None
    rows = logs.run(log.write(), tmp_path / "out").examples
    assert {"city" in r for r in rows if r["user_id"] == 1} == {False}
    assert {"age" in r for r in rows if r["user_id"] == 1} == {True}
    assert {"age" in r for r in rows if r["user_id"] == 4} == {False}


def test_a_log_alone_needs_no_users_videos_or_history(logs, tmp_path):
    log = dataclasses.replace(logs.random(tmp_path, 15).write(), users="", videos="", history="")
    features = tuple(f for f in logs.features if f.source not in ("user", "video"))
    result = logs.run(log, tmp_path / "out", features)
    assert sum(result.counts["events"]["examples"].values()) == 50


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


def test_a_file_cut_off_in_the_middle_is_named(logs, tmp_path):
    log = logs.random(tmp_path, 17, rows=3000).write("csv.gz")
    path = tmp_path / "events-0.csv.gz"
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(LogError, match=r"events-0\.csv\.gz: cannot be read to its end"):
        logs.run(log, tmp_path / "out")


def test_counts_are_written_beside_the_dead_letters(logs, tmp_path):
    result = logs.run(logs.random(tmp_path, 18).write(), tmp_path / "out", (Feature("tab"),))
    written = json.loads((tmp_path / "out" / "dead_letters" / "counts.json").read_text())
    assert written == result.counts
    assert set(result.examples[0]) == {
        "click", "completion", "conversion", "day", "split", "tab", "time_ms", "user_id",
        "video_id",
    }  # fmt: skip
