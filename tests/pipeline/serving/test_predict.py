"""Which model scores a file, and what is written of it."""

import csv
import io
import json
import shutil

import pyarrow as pa
import pytest

from ncs4cvr.pipeline.serving import predict
from ncs4cvr.schemas.log import TIMES


def test_the_newest_version_is_taken(tmp_path):
    for version in ("9", "10", "notes"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "saved_model.pb").touch()
    assert predict.newest_version(tmp_path).name == "10"
    assert predict.newest_version(tmp_path / "9").name == "9"


@pytest.fixture
def scored(serving, tmp_path):
    """Scores rows whose user is a time; the small model's ctr is user / 100."""

    def score(cells, times=None):
        shutil.copytree(serving, tmp_path / "serving", dirs_exist_ok=True)
        if times:
            (tmp_path / "serving/7" / TIMES).write_text(json.dumps(times))
        rows = [f"{cell},Oslo,2.5,[3]\n" for cell in cells]
        (tmp_path / "rows.csv").write_text("user,city,price,history\n" + "".join(rows))
        return predict.score_file(tmp_path / "serving", tmp_path / "rows.csv")

    return score


def test_the_time_is_converted_as_the_models_log_writes_it(scored):
    cells = ["5", "5.5", "1970-01-01T00:00:06Z", "1970-01-01T08:00:07"]
    rows = scored(cells, {"column": "user", "unit": "s", "utc_offset_hours": 8})
    assert rows["ctr"].to_pylist() == pytest.approx([50, 55, 60, 70])  # ms / 100
    assert rows["user"].to_pylist() == cells


def test_an_export_that_does_not_tell_takes_milliseconds(scored):
    assert scored(["5000"])["ctr"].to_pylist() == pytest.approx([50])


def test_a_model_whose_variables_are_cut_off_is_refused(serving, tmp_path):
    shutil.copytree(serving, tmp_path / "serving")
    path = tmp_path / "serving/7/variables/variables.data-00000-of-00001"
    path.write_bytes(path.read_bytes()[:-9])
    (tmp_path / "rows.csv").write_text("user,city,price,history\n1,Oslo,2.5,[3]\n")
    with pytest.raises(predict.InputError, match=r"serving/7 cannot be loaded .* whole model"):
        predict.score_file(tmp_path / "serving", tmp_path / "rows.csv")


def test_whole_numbers_beside_gaps_are_written_as_they_are():
    out = io.StringIO()
    predict.write(pa.table({"user": [2**53 + 1, None], "ctr": [0.25, 0.5]}), out)
    _, first, second = csv.reader(io.StringIO(out.getvalue()))
    assert first == [str(2**53 + 1), "0.25"]
    assert second == ["", "0.5"]
