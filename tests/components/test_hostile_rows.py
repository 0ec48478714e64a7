"""Ten thousand malformed rows: each is kept, repaired by a stated rule, or a dead letter.

The rules (docs/reliability.md) are written down here a second time, cell by cell in plain Python,
and every row of every reader is looked up: `row` says which one it is, wherever it ends.
NCS4CVR_HOSTILE_ROWS=50000 makes more of them.
"""

import csv
import dataclasses
import json
import math
import os
import random
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.log import Label, Log, Split, Tally

ROWS = int(os.environ.get("NCS4CVR_HOSTILE_ROWS", "10000"))
DAY_MS, FIRST_DAY = 86_400_000, 18_993  # 2022-01-01
LAST_MS = 253_402_300_799_999
DEAD, MISSING = object(), object()
NO_NUMBER = {"", "na", "nan", "n/a", "null", "none", "\\n"}
NEEDED = ("user", "video", "ts", "is_click", "long_view", "played", "duration")
KINDS = {
    "user": "int", "video": "string", "ts": "time", "is_click": "label", "long_view": "label",
    "played": "float", "duration": "float", "tab": "int", "word": "string", "score": "float",
}  # fmt: skip
FEATURES = (
    Feature("user"), Feature("video", dtype="string"), Feature("row"), Feature("tab"),
    Feature("word", dtype="string"), Feature("score", kind="number", dtype="float"),
    Feature("n", "tally", "number"), Feature("video_n", "tally", "number"),
    Feature("history_video", "history", "sequence", length=3),
)  # fmt: skip

WORDS = [
    "", " ", "x", "NULL", "None", "nan", "N/A", "\\N", "-", "+", ".", "1.5", "1e3", "1e400", "-1",
    "0x10", "1_000", "1,5", "12.0", " 7 ", "+7", "٣", "inf", "-Infinity", "true", "1" * 30,
    "9223372036854775807", "9223372036854775808", "-9223372036854775809", "1e-320", "3.5e38",
    "=cmd|'/c calc'!A1", "@SUM(1+1)", "../../etc/passwd", "C:\\con", "<script>", "'; DROP TABLE x;",
    "%s%n", "${HOME}", "{{7*7}}", "a\tb", "a\nb", 'a"b', "a,b", "a;b", "\ufeff", "\u202e", "é",
    "e\u0301",
    "👩‍👩‍👧", "\x01", "\x7f", "2022-13-01", "2022-01-02T25:00:00", "0000-00-00", "Infinity", "NaN",
    "1e308", "-0", "00012", "2", "0.5", "🤖" * 50, "undefined", "[]", "{}", "\\x00",
]  # fmt: skip
INVALID = "\udcff\udcfe"  # no UTF-8, as surrogateescape writes it


def text_of(cell):
    """The stated rule for cells of JSON and TFRecord: the text that a CSV file would hold."""
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return str(int(cell))
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return str(int(cell))
    if isinstance(cell, list):
        parts = [text_of(part) for part in cell]
        return ",".join(p for p in parts if p is not None) if parts else None
    return json.dumps(cell)


def number_of(text):
    """A whole number as int, another as float, else DEAD."""
    if re.fullmatch(r"[+-]?\d+", text):
        try:
            return int(text)
        except ValueError:  # too many digits
            return DEAD
    if re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text):
        return float(text)
    return math.copysign(math.inf, -(text[0] == "-") or 1) if "inf" in text.lower() else DEAD


def expected(kind, cell):
    """What must come of a cell, by the rules: a value, MISSING or DEAD."""
    text = text_of(cell)
    if text is None:
        return MISSING
    try:
        text.encode()
    except UnicodeEncodeError:
        return DEAD
    if kind == "string":
        return text or MISSING
    text = text.strip()
    if text.lower() in NO_NUMBER:
        return MISSING
    number = number_of(text)
    if number is DEAD:
        return DEAD
    if kind == "float":
        number = float(number) if abs(number) < 1e300 else math.inf
        return np.float32(number) if abs(number) <= np.finfo(np.float32).max else DEAD
    if isinstance(number, float):
        if not number.is_integer() or abs(number) >= 2**53:
            return DEAD
        number = int(number)
    if not -(2**63) < number < 2**63:
        return DEAD
    if kind == "label" and number not in (0, 1):
        return DEAD
    if kind == "time" and (abs(number) > LAST_MS or number >= (FIRST_DAY + 6) * DAY_MS):
        return DEAD  # of no calendar, or after the last split
    return number


def good_row(rng, number):
    return {
        "user": rng.randrange(20), "video": f"v{rng.randrange(20)}",
        "ts": (FIRST_DAY + number % 6) * DAY_MS + rng.randrange(DAY_MS), "is_click": 1,
        "long_view": rng.randrange(2), "played": float(rng.randrange(9)), "duration": 9.5,
        "tab": rng.randrange(3), "word": f"w{rng.randrange(9)}", "score": 0.25, "row": number,
    }  # fmt: skip


def hostile_text(rng):
    kind = rng.randrange(10)
    if kind == 0:
        return INVALID
    if kind == 1:
        return str(rng.randrange(-(10 ** rng.randrange(1, 40)), 10 ** rng.randrange(1, 40)))
    if kind == 2:
        return repr(rng.uniform(-1, 1) * 10.0 ** rng.randrange(-320, 308))
    if kind == 3:
        return "".join(chr(rng.choice([rng.randrange(1, 0xD800), rng.randrange(0xE000, 0x10FFFF)]))
                       for _ in range(rng.randrange(1, 12)))  # fmt: skip
    if kind == 4 and rng.random() < 0.01:
        return "m" * 1_000_000
    return rng.choice(WORDS)


def hostile_json(rng):
    return rng.choice([
        None, True, False, math.nan, math.inf, -math.inf, 10**40, -(10**25), 2**63, 1e300, 5.0, 0.1,
        [], [1], [1, 2], ["a", None], [[1], [2]], {}, {"a": {"b": [1]}}, [{"a": 1}],
    ]) if rng.random() < 0.5 else hostile_text(rng)  # fmt: skip


def hostile_feature(rng):
    """A list of one kind, as a tf.train.Feature holds it."""
    if rng.random() < 0.5:
        return [hostile_text(rng)]
    return rng.choice([
        [], [1.5], [math.nan], [math.inf], [3.0], [2**62], [-1], [1, 2], [0, 0.5], [1e30],
        ["a", "b"], [INVALID],
    ])  # fmt: skip


def rows_of(count, seed, hostile):
    """(row, the column that is hostile in it or ""); one row in five is well."""
    rng = random.Random(seed)
    for number in range(count):
        row, column = good_row(rng, number), ""
        if number % 5:
            column = rng.choice(list(KINDS))
            row[column] = hostile(rng)
        yield row, column


def write(path, rows):
    if path.suffix == ".csv":
        with path.open("w", newline="", errors="surrogateescape") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        with path.open("w") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in rows)
    else:
        with tf.io.TFRecordWriter(str(path)) as writer:
            for row in rows:
                example = tf.train.Example()
                for name, value in row.items():
                    fill(example.features.feature[name], value)
                writer.write(example.SerializeToString())


def fill(feature, value):
    values = value if isinstance(value, list) else [value]
    if not values:
        return
    if isinstance(values[0], str):
        coded = [v.encode("utf-8", "surrogateescape") for v in values]
        feature.bytes_list.value.extend(coded)
    elif any(isinstance(v, float) for v in values):
        feature.float_list.value.extend(values)
    else:
        feature.int64_list.value.extend(values)


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
