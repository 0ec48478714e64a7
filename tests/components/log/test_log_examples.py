"""From raw rows to examples: what each example holds, however its rows come."""

import dataclasses

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from log_oracle import day_of, expected, expected_history
from ncs4cvr.components.log.records import LogError

ENDINGS = ("parquet", "csv", "csv.gz", "jsonl", "jsonl.gz", "tfrecord", "tfrecord.gz")


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


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_labels_may_be_written_as_true_and_false(logs, tmp_path, ending):
    log = logs.random(tmp_path, 5, rows=120)
    numbers = logs.run(log.write(ending), tmp_path / "numbers")
    for row in log.events:
        row |= {"is_click": ["False", "True"][int(row["is_click"])]}
        row |= {"long_view": ["false", "true"][int(row["long_view"])]}
    words = logs.run(log.write(ending), tmp_path / "words")
    assert words.examples == numbers.examples
    assert not words.dead


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


def test_a_bucket_may_hold_no_video_but_those_of_the_history_file(logs, tmp_path):
    log = logs.random(tmp_path, 16)
    log.history += [{**log.history[0], "video_id": 1000 + i, "steps": i} for i in range(12)]
    few = dataclasses.replace(log, events=[{**r, "video_id": 100} for r in log.events])
    result = logs.run(few.write(), tmp_path / "out")
    assert sum(result.counts["events"]["examples"].values()) == 50


def test_it_is_counted_who_has_a_row_among_users_and_videos(logs, tmp_path):
    log = logs.random(tmp_path, 18)
    counts = logs.run(log.write(), tmp_path / "out", bucket_rows=15).counts
    for kind, key in (("users", "user_id"), ("videos", "video_id")):
        asked = {row[key] for row in log.events}
        met = asked & {row[key] for row in getattr(log, kind)}
        assert 0 < len(met) < len(asked)
        assert (counts[kind]["asked"], counts[kind]["met"]) == (len(asked), len(met))


@pytest.mark.parametrize(("kind", "key"), [("users", "user_id"), ("videos", "video_id")])
def test_a_file_that_knows_nobody_of_the_events_is_refused(logs, tmp_path, kind, key):
    log = logs.random(tmp_path, 19)
    setattr(log, kind, [{**row, key: f"{row[key]:06d}"} for row in getattr(log, kind)])
    described = log.write("csv")
    asked = len({row[key] for row in log.events})
    with pytest.raises(
        LogError, match=rf"{kind}-\*\.csv has none of the {asked} {kind} .* '{key}'"
    ):
        logs.run(described, tmp_path / "a")
    unread = tuple(f for f in logs.features if f.source != kind[:-1])
    logs.run(described, tmp_path / "b", unread)  # no feature needs it


def test_columns_that_nobody_reads_may_be_of_any_type(logs, tmp_path):
    log = logs.random(tmp_path, 17)
    first = logs.run(log.write(), tmp_path / "a")
    table = pq.read_table(tmp_path / "events-0.parquet")
    table = table.append_column("place", pa.array([{"x": i % 3} for i in range(60)]))
    table = table.append_column("at", pa.array(range(60), pa.time32("s")))
    pq.write_table(pa.concat_tables([table, table.slice(0, 5)]), tmp_path / "events-0.parquet")
    again = logs.run(log.log(), tmp_path / "b")
    assert again.examples == first.examples
    assert again.counts["events"]["duplicates"] == 5


def test_a_log_alone_needs_no_users_videos_or_history(logs, tmp_path):
    log = dataclasses.replace(logs.random(tmp_path, 15).write(), users="", videos="", history="")
    features = tuple(f for f in logs.features if f.source not in ("user", "video"))
    result = logs.run(log, tmp_path / "out", features)
    assert sum(result.counts["events"]["examples"].values()) == 50
