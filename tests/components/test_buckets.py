import numpy as np
import pyarrow as pa
import pytest

from ncs4cvr.components.buckets import read_refs, write_buckets


def tables(count, rows, buckets):
    """Tables whose rows are numbered on, cut into buckets by their number."""
    for n in range(count):
        numbers = np.arange(n * rows, (n + 1) * rows)
        yield pa.table({"number": numbers}), numbers % buckets


def write(tmp_path, at_once):
    return write_buckets(str(tmp_path / "file"), "events", 0, tables(10, 100, 50), at_once)


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
