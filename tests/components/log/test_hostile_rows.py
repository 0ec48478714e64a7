"""Ten thousand malformed rows: each is kept, repaired by a stated rule, or a dead letter.

The rules (docs/reliability.md) are written down a second time in tests/helpers/hostile_rules.py,
and every row of every reader is looked up: `row` says which one it is, wherever it ends.
NCS4CVR_HOSTILE_ROWS=50000 makes more of them.
"""

import dataclasses
import datetime as dt
import json
import math
import os
import random
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hostile_rows import (
    INVALID,
    KINDS,
    good_row,
    hostile_feature,
    hostile_json,
    hostile_text,
    rows_of,
    write,
)
from hostile_rules import DAY_MS, DEAD, FIRST_DAY, MISSING, expected
from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.log import Label, Log, Split, Tally

ROWS = int(os.environ.get("NCS4CVR_HOSTILE_ROWS", "10000"))
NEEDED = ("user", "video", "ts", "is_click", "long_view", "played", "duration")
FEATURES = (
    Feature("user"), Feature("video", dtype="string"), Feature("row"), Feature("tab"),
    Feature("word", dtype="string"), Feature("score", kind="number", dtype="float"),
    Feature("n", "tally", "number"), Feature("video_n", "tally", "number"),
    Feature("history_video", "history", "sequence", length=3),
)  # fmt: skip


def as_float32(cell):
    """What a float list keeps."""
    values = cell if isinstance(cell, list) else [cell]
    if any(isinstance(v, float) for v in values):
        return [float(np.float32(v)) for v in values]
    return values


def log_of(path):
    return Log(
        events=str(path), columns=(("time_ms", "ts"),), user="user", video="video",
        history_length=3, history_actions=("click",), max_bad_share=1.0,
        labels=(Label("click", "is_click"), Label("conversion", "long_view", given="click"),
                Label("completion", "played", over="duration")),
        tallies=(Tally("n", "user"), Tally("video_n", "video")),
        splits=(Split("train", "2022-01-01", "2022-01-04"),
                Split("test", "2022-01-05", "2022-01-06")),
    )  # fmt: skip


def check(result, rows, oracle):
    """Every row is where it belongs, with the value it must have, and all are counted."""
    found = {row["row"]: row for row in result.examples}
    dead = {}
    for letter in result.dead:
        dead.setdefault(number_of_letter(letter), letter)
    outside = 0
    for row, column in rows:
        number = row["row"]
        want = oracle(column, row[column]) if column else None
        if want is MISSING and column in NEEDED:
            want = DEAD
        told = (column, row.get(column), want)
        if want is DEAD:
            assert number not in found, told
            assert number in dead, told
            assert dead[number]["expected"], told
            continue
        assert number not in dead, (told, dead.get(number))
        if column == "ts" and want < FIRST_DAY * DAY_MS:
            outside += 1
            assert number not in found
            continue
        assert number in found, told
        name = {"ts": "time_ms", "is_click": "click"}.get(column, column)
        if name in found[number]:
            assert want is not MISSING, told
            assert found[number][name] == want, told
        elif column in ("tab", "word", "score"):
            assert want is MISSING, told
    events = result.counts["events"]
    assert events["rows"] == len(rows)
    assert events["history_only"] == outside
    assert sum(events["examples"].values()) == len(found)
    assert sum(events["dead"].values()) == len(result.dead)
    assert len(rows) == len(found) + outside + len(result.dead) + events["duplicates"]
    assert events["duplicates"] == 0


def number_of_letter(letter):
    """The row's own number: of a CSV file, where a row may have several lines, its last cell."""
    if not letter["file"].endswith(".csv"):
        return letter["row"] - 1
    raw = letter["raw"]
    return int(raw["row"] if isinstance(raw, dict) else re.search(r",(\d+)\s*$", raw)[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "hostile"),
    [("csv", hostile_text), ("jsonl", hostile_json), ("tfrecord", hostile_feature)],
)
def test_every_malformed_row_is_kept_repaired_or_a_dead_letter(logs, tmp_path, ending, hostile):
    rows = list(rows_of(ROWS // 4, 1, hostile))
    path = tmp_path / f"events.{ending}"
    write(path, [row for row, _ in rows])

    def oracle(column, cell):
        return expected(KINDS[column], as_float32(cell) if ending == "tfrecord" else cell)

    check(logs.run(log_of(path), tmp_path / "out", FEATURES), rows, oracle)


TYPED = {
    "user": (pa.float64(), [1.5, math.nan, math.inf, 2.0**60, -3.0, None]),
    "tab": (pa.uint64(), [2**64 - 1, 2**63, 2**63 - 1, 0, None]),
    "is_click": (pa.float64(), [0.5, 2.0, -1.0, math.nan, 1.0, 1e300]),
    "score": (pa.float64(), [math.inf, -math.inf, math.nan, 1e300, -3.5e38, 1e-320, None]),
    "word": (pa.binary(), [b"\xff", b"", b"ok\x00", "é".encode(), None]),
    "ts": (pa.timestamp("ms"), [2**62, -(2**62), 0, 10**16, -(10**12), None]),
}


@pytest.mark.slow
def test_every_malformed_row_of_parquet_is_kept_repaired_or_a_dead_letter(logs, tmp_path):
    rng, rows = random.Random(2), []
    for number in range(ROWS - 3 * (ROWS // 4)):
        row, column = good_row(rng, number), ""
        if number % 5:
            column = rng.choice(list(TYPED))
            row[column] = rng.choice(TYPED[column][1])
        rows.append((row, column))
    columns = {}
    for name in rows[0][0]:
        kind = TYPED.get(name, (None,))[0]
        cells = [row[name] for row, _ in rows]
        if name == "word":
            cells = [cell.encode() if isinstance(cell, str) else cell for cell in cells]
        columns[name] = pa.array(cells, kind)
    pq.write_table(pa.table(columns), tmp_path / "events.parquet")

    def oracle(column, cell):
        if isinstance(cell, bytes):
            cell = cell.decode("utf-8", "surrogateescape")
        return expected(KINDS[column], cell)

    check(logs.run(log_of(tmp_path / "events.parquet"), tmp_path / "out", FEATURES), rows, oracle)


def test_iso_times_of_tfrecord_are_the_moments_that_they_name(logs, tmp_path):
    rng, rows, written = random.Random(4), [], []
    for number in range(120):
        row = good_row(rng, number)
        when = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc) + dt.timedelta(0, 0, 0, row["ts"])
        texts = {7: "soon", 8: "", 9: INVALID}
        text = texts.get(number % 10, when.isoformat(timespec="milliseconds"))
        written.append({**row, "ts": text})
        rows.append(({**row, "ts": DEAD if number % 10 in texts else row["ts"]}, "ts"))
    path = tmp_path / "events.tfrecord"
    write(path, written)
    check(logs.run(log_of(path), tmp_path / "out", FEATURES), rows, lambda _, cell: cell)


@pytest.mark.parametrize("line", [b'{"row": 1, "row": 2}\n', b"[" * 100_000 + b"\n", b"\xff\xfe\n"])
def test_a_line_that_is_no_object_is_a_dead_letter(logs, tmp_path, line):
    rng = random.Random(3)
    path = tmp_path / "events.jsonl"
    good = [json.dumps(good_row(rng, n)).encode() + b"\n" for n in range(60)]
    path.write_bytes(b"".join([*good[:30], line, *good[30:]]))
    log = dataclasses.replace(log_of(path), max_bad_share=0.1)
    result = logs.run(log, tmp_path / "out", FEATURES)
    assert [(letter["row"], letter["column"]) for letter in result.dead] == [(31, "")]
    assert sum(result.counts["events"]["examples"].values()) == 60
