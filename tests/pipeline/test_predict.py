"""Which model scores a file, and what is written of it."""

import csv
import io

import pyarrow as pa

from ncs4cvr.pipeline import predict


def test_the_newest_version_is_taken(tmp_path):
    for version in ("9", "10", "notes"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "saved_model.pb").touch()
    assert predict.newest_version(tmp_path).name == "10"
    assert predict.newest_version(tmp_path / "9").name == "9"


def test_whole_numbers_beside_gaps_are_written_as_they_are():
    out = io.StringIO()
    predict.write(pa.table({"user": [2**53 + 1, None], "ctr": [0.25, 0.5]}), out)
    _, first, second = csv.reader(io.StringIO(out.getvalue()))
    assert first == [str(2**53 + 1), "0.25"]
    assert second == ["", "0.5"]
