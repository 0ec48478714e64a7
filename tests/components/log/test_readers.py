"""Files of every format, whole and broken."""

import dataclasses
import datetime as dt
import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from ncs4cvr.components.log.readers import blocks, files, fingerprint, format_of
from ncs4cvr.components.log.records import LogError


def only(path, **kwargs):
    (block,) = blocks(str(path), **kwargs)
    return block


def test_a_csv_line_with_a_wrong_number_of_fields_is_one_broken_row(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n3\n\n4,5,6\n7,8\n")
    block = only(path)
    assert block.table.to_pydict() == {"a": ["1", "7"], "b": ["2", "8"]}
    assert block.rows.tolist() == [2, 6]
    assert [(b.row, b.expected, b.came) for b in block.broken] == [
        (3, "2 fields in a line", "3"),
        (5, "2 fields in a line", "4,5,6"),
    ]


def test_a_quoted_cell_may_hold_separators_and_line_breaks(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('\ufeffa,b\n1,"x, ""y""\nz"\n2,w\n')
    block = only(path)
    assert block.table.to_pydict() == {"a": ["1", "2"], "b": ['x, "y"\nz', "w"]}
    assert block.rows.tolist() == [2, 4]


def test_a_quote_that_never_closes_costs_only_its_own_line(tmp_path):
    path = tmp_path / "a.csv"
    lines = [f"{i},{i}" for i in range(50_000)]
    lines[7] = '7,"oops'
    path.write_text("a,b\n" + "\n".join(lines) + "\n")
    read = list(blocks(str(path)))
    assert sum(len(block.rows) for block in read) == 49_999
    assert [broken.row for block in read for broken in block.broken] == [9]


def test_a_quote_that_the_file_ends_in_loses_no_line(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('a,b\n1,2\n3,"oops\n4,5\n6,7\n')
    block = only(path)
    assert block.table.to_pydict() == {"a": ["1", "4", "6"], "b": ["2", "5", "7"]}
    assert [(broken.row, broken.came) for broken in block.broken] == [(3, '3,"oops')]


def test_text_after_a_closing_quote_is_not_guessed_at(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('a,b\n1,"x" y\n2,z\n')
    assert [broken.came for broken in only(path).broken] == ['1,"x" y']


def test_text_that_is_not_utf8_is_one_broken_row(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"a,b\n1,\xff\n2,ok\n")
    (tmp_path / "a.jsonl").write_bytes(b'{"a": "\xff"}\n{"a": "\\ud800"}\n{"a": "ok"}\n')
    assert [b.row for b in only(tmp_path / "a.csv").broken] == [2]
    assert only(tmp_path / "a.csv").table["b"].to_pylist() == ["ok"]
    assert [b.row for b in only(tmp_path / "a.jsonl").broken] == [1, 2]


def test_rows_without_any_value_are_broken_rows_however_many_follow_each_other(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{}\n[]\n{}\n{"a": 1}\n{}\n')
    for limit in (3, 100):  # a block of them alone, and one with others
        found = list(blocks(str(path), limit=limit))
        assert sum(block.table.num_rows for block in found) == sum(len(b.rows) for b in found)
    assert [b.row for b in next(blocks(str(path), limit=3)).broken] == [1, 2, 3]


def test_a_line_that_is_no_json_object_is_one_broken_row(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1, "t": ["x", "y"]}\n{"a": \n[1]\n\n{"a": true, "b": null}\n')
    block = only(path, separators={"t": "|"})
    assert block.table.to_pydict() == {"a": ["1", "1"], "b": [None, None], "t": ["x|y", None]}
    assert block.rows.tolist() == [1, 5]
    assert [(b.row, b.came) for b in block.broken] == [(2, '{"a": '), (3, "[1]")]


def test_nested_junk_is_one_broken_row(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("[" * 200_000 + "\n" + '{"a": ' * 200_000 + '\n{"a": 1}\n')
    block = only(path)
    assert block.table.to_pydict() == {"a": ["1"]}
    assert [broken.row for broken in block.broken] == [1, 2]


def test_a_long_text_is_kept_whole(tmp_path):
    long = "x" * 1_000_000
    (tmp_path / "a.csv").write_text(f"a,b\n1,{long}\n")
    (tmp_path / "a.jsonl").write_text(f'{{"a": 1, "b": "{long}"}}\n')
    for name in ("a.csv", "a.jsonl"):
        block = only(tmp_path / name)
        assert block.table["b"].to_pylist() == [long]
        assert not block.broken


def test_an_undecodable_record_is_one_broken_row(tmp_path):
    path = str(tmp_path / "a.tfrecord")
    good = tf.train.Example()
    good.features.feature["a"].int64_list.value.append(4)
    good.features.feature["t"].bytes_list.value.extend([b"x", b"y"])
    with tf.io.TFRecordWriter(path) as writer:
        for data in (good.SerializeToString(), b"\xff\xff\xff", good.SerializeToString()):
            writer.write(data)
    block = only(path)
    assert [broken.row for broken in block.broken] == [2]
    assert block.rows.tolist() == [1, 3]
    assert block.table["t"].to_pylist() == ["x,y", "x,y"]


@pytest.mark.parametrize("name", ["a.tfrecord", "a.tfrecord.gz", "a.csv.gz", "a.parquet"])
def test_a_file_that_is_cut_off_is_named(tmp_path, name):
    path = tmp_path / name
    noise = np.random.default_rng(0).bytes(200_000)
    if "tfrecord" in name:
        with tf.io.TFRecordWriter(str(path), "GZIP" if "gz" in name else "") as writer:
            writer.write(noise)
    elif "csv" in name:
        path.write_bytes(gzip.compress(b"a\n" + noise.hex().encode()))
    else:
        pq.write_table(pa.table({"a": np.frombuffer(noise, np.uint8)}), path)
    path.write_bytes(path.read_bytes()[:-50_000])
    with pytest.raises(LogError, match=f"{name}: cannot be read to its end"):
        list(blocks(str(path)))


def test_lists_in_lists_become_one_value_or_joined_text(tmp_path):
    days = [dt.datetime(2022, 1, 1), dt.datetime(2022, 1, 2)]
    table = pa.table({"one": [[[1]], [[2]]], "more": [[[1, 2], [3]], None], "t": [days, days[:1]]})
    pq.write_table(table, tmp_path / "a.parquet")
    block = only(tmp_path / "a.parquet")
    assert block.table["one"].to_pylist() == [1, 2]
    assert block.table["more"].to_pylist() == ["1,2,3", None]
    assert len(set(block.table["t"].to_pylist())) == 2


def test_files_are_found_by_globs_and_commas_and_told_apart_by_ending(tmp_path):
    for name in ("b.csv", "a.csv", "c.jsonl", "no.txt", "empty.csv"):
        (tmp_path / name).write_text("" if name == "empty.csv" else "a\n1\n")
    found = files(f"{tmp_path}/[ab].csv, {tmp_path}/c.jsonl,{tmp_path}/a.csv")
    assert [path.rsplit("/", 1)[1] for path in found] == ["a.csv", "b.csv", "c.jsonl"]
    with pytest.raises(LogError, match=r"no file matches .*nothing-\*\.csv'; check the path"):
        files(f"{tmp_path}/nothing-*.csv")
    with pytest.raises(LogError, match="no file matches"):
        files(f"{tmp_path}/no/such/folder.csv")
    with pytest.raises(LogError, match=r"empty.csv is empty \(0 bytes\)"):
        files(f"{tmp_path}/empty.csv")
    with pytest.raises(LogError, match="unknown ending"):
        files(f"{tmp_path}/no.txt")
    assert format_of("x/data_tfrecord-00000-of-00001.gz") == "tfrecord"
    assert format_of("x/a.csv.gz") == "csv"


def test_a_glob_may_be_of_the_current_directory(tmp_path, monkeypatch):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("a\n1\n")
    monkeypatch.chdir(tmp_path)
    assert files("*.csv") == files("a.csv,b.csv") == ["a.csv", "b.csv"]


def test_a_header_that_names_a_column_twice_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("a,a\n1,2\n")
    with pytest.raises(LogError, match="must name every column once"):
        list(blocks(str(tmp_path / "a.csv")))


def test_the_fingerprint_changes_with_the_content_only(logs, tmp_path):
    small = logs.random(tmp_path, 1)
    log = small.write("csv")
    first = fingerprint(log)
    assert fingerprint(small.write("csv")) == first
    small.events[0]["tab"] += 1
    assert fingerprint(small.write("csv")) != first
    assert fingerprint(dataclasses.replace(log, users="")) != first
