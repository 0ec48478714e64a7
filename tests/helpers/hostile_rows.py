"""Malformed rows by the dice, and files of them."""

import csv
import json
import math
import random

import tensorflow as tf

from hostile_rules import DAY_MS, FIRST_DAY

KINDS = {
    "user": "int", "video": "string", "ts": "time", "is_click": "label", "long_view": "label",
    "played": "float", "duration": "float", "tab": "int", "word": "string", "score": "float",
}  # fmt: skip

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
