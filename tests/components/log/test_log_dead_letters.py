"""No row goes astray: each is an example, a duplicate or a dead letter, and counted."""

import dataclasses
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ncs4cvr.components.log.records import LogError
from ncs4cvr.schemas.features import Feature


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


@pytest.mark.parametrize(
    ("cell", "told"),
    [("soon", "60 of 60 rows are broken"), (1, r"split 'train' .* has no rows")],
)
def test_a_log_without_a_living_row_is_told_why(logs, tmp_path, cell, told):
    log = logs.random(tmp_path, 13)
    for row in log.events:
        row["ts"] = cell
    alone = dataclasses.replace(log.write("csv"), history="", history_order="", history_actions=())
    with pytest.raises(LogError, match=told):
        logs.run(alone, tmp_path / "out", (Feature("tab"),))


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


@pytest.mark.parametrize("dtype", ["int", "string"])
@pytest.mark.parametrize(("kind", "limit"), [(pa.float32(), 2**24), (pa.float64(), 2**53)])
def test_ids_that_their_float_cannot_tell_apart_are_dead_letters(
    logs, tmp_path, dtype, kind, limit
):
    log = logs.random(tmp_path, 21)
    log.users = [{**row, "user_id": float(row["user_id"])} for row in log.users]
    log.users.append({**log.users[0], "user_id": float(limit - 1)})
    described = dataclasses.replace(log.write(), max_bad_share=1)
    table = pq.read_table(tmp_path / "events-0.parquet")
    ids = [float(limit if i < 3 else limit - 1) for i in range(60)]
    table = table.set_column(0, "user_id", pa.array(ids, kind))
    pq.write_table(table, tmp_path / "events-0.parquet")
    features = (Feature("user_id", dtype=dtype), Feature("city", "user", dtype="string"))
    result = logs.run(described, tmp_path / "out", features)
    assert [letter["row"] for letter in result.dead] == [1, 2, 3]
    assert "write whole numbers or text" in result.dead[0]["expected"]
    assert {str(row["user_id"]) for row in result.examples} == {str(limit - 1)}


BROKEN = {"csv": "7,8\n", "jsonl": "[7]\n"}


@pytest.mark.parametrize("ending", BROKEN)
@pytest.mark.parametrize("whole", [True, False], ids=["rows after them", "nothing else"])
def test_a_file_that_begins_with_broken_rows_is_read_like_others(logs, tmp_path, ending, whole):
    log = logs.random(tmp_path, 19)
    described = dataclasses.replace(log.write(ending), max_bad_share=1)
    without = logs.run(described, tmp_path / "a")
    path = tmp_path / f"events-1.{ending}"
    logs.write_rows(path, [{**row, "row": 1000 + row["row"]} for row in log.events])
    lines = path.read_text().splitlines(keepends=True)
    head, rows = lines[: ending == "csv"], lines[ending == "csv" :]
    path.write_text("".join([*head, *[BROKEN[ending]] * 1100, *(rows if whole else [])]))
    events = logs.run(described, tmp_path / "b").counts["events"]
    assert events["rows"] == len(log.events) * (1 + whole) + 1100
    assert sum(events["dead"].values()) == 1100
    before = without.counts["events"]["examples"]
    assert events["examples"] == {split: n * (1 + whole) for split, n in before.items()}


def test_a_file_of_broken_rows_alone_is_told_and_not_taken_for_an_empty_one(logs, tmp_path):
    log = logs.random(tmp_path, 20).write("jsonl")
    (tmp_path / "events-0.jsonl").write_text("[1]\n[2]\n")
    with pytest.raises(LogError, match="events: 2 of 2 rows are broken") as error:
        logs.run(log, tmp_path / "out")
    assert "one JSON object a line" in str(error.value)


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
