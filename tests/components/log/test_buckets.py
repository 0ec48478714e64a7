import contextlib
import os
import random
import resource

import numpy as np
import pyarrow as pa
import pytest

from ncs4cvr.components.log.buckets import read_refs, write_buckets
from ncs4cvr.components.log.records import open_file


def tables(count, rows, buckets):
    """Tables whose rows are numbered on, cut into buckets by their number."""
    for n in range(count):
        numbers = np.arange(n * rows, (n + 1) * rows)
        yield pa.table({"number": numbers}), numbers % buckets


def write(tmp_path, at_once):
    return write_buckets(str(tmp_path / "file"), "events", 0, tables(10, 100, 50), at_once)


def write_units(tmp_path, units, cuts):
    """As many files, each with `cuts` pieces of one bucket; the refs come as Beam's, in any order.

    Rows are numbered on over all. File names sort the other way round than units.
    """
    refs = []
    for unit in range(units):
        numbers = np.arange(unit * cuts, (unit + 1) * cuts)
        pieces = [(pa.table({"number": [number]}), np.zeros(1, int)) for number in numbers]
        path = str(tmp_path / f"file-{units - unit:05d}")
        refs += [ref for _, ref in write_buckets(path, "events", unit, pieces)]
    random.Random(0).shuffle(refs)
    return refs


@contextlib.contextmanager
def at_most_open(files):
    """No number from `files` on for another open file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("at_once", [0, 1, 250, 10_000])
def test_every_row_is_in_its_bucket_once_and_in_order(tmp_path, at_once):
    refs = write(tmp_path, at_once)
    for bucket in range(50):
        found = read_refs([ref for b, ref in refs if b == bucket], "events")
        assert found["number"].to_pylist() == list(range(bucket, 1000, 50))


@pytest.mark.parametrize(("at_once", "cuts"), [(0, 10), (100, 10), (250, 4), (10_000, 1)])
def test_a_bucket_has_a_piece_for_every_so_many_rows(tmp_path, at_once, cuts):
    assert len(write(tmp_path, at_once)) == 50 * cuts


def test_a_unit_without_rows_writes_no_file(tmp_path):
    assert write_buckets(str(tmp_path / "file"), "events", 0, [], 100) == []
    assert not (tmp_path / "file").exists()


def test_a_table_without_rows_writes_nothing(tmp_path):
    pieces = [next(tables(1, 0, 1)), next(tables(1, 2, 1)), next(tables(1, 0, 1))]
    refs = write_buckets(str(tmp_path / "file"), "events", 0, pieces)
    assert [bucket for bucket, _ in refs] == [0]
    assert write_buckets(str(tmp_path / "other"), "events", 0, pieces[:1]) == []
    assert not (tmp_path / "other").exists()


def test_a_bucket_may_lie_in_more_files_than_a_process_can_have_open(tmp_path):
    limit = max(int(number) for number in os.listdir("/proc/self/fd")) + 8
    refs = write_units(tmp_path, units=limit, cuts=1)
    with at_most_open(limit):
        found = read_refs(refs, "events")
    assert found["number"].to_pylist() == list(range(limit))


def test_rows_come_in_the_order_of_their_units_and_each_file_is_opened_once(tmp_path, monkeypatch):
    opened = []

    def noted(path):
        opened.append(path)
        return open_file(path)

    monkeypatch.setattr("ncs4cvr.components.log.buckets.open_file", noted)
    refs = write_units(tmp_path, units=5, cuts=12)
    assert read_refs(refs, "events")["number"].to_pylist() == list(range(60))
    assert sorted(opened) == [str(tmp_path / f"file-{n:05d}") for n in range(1, 6)]
