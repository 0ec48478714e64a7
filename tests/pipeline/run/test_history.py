"""What runs came to is noted line by line, and a torn line costs itself alone."""

from ncs4cvr.pipeline.commands import runs
from ncs4cvr.pipeline.run import history


def test_what_was_noted_is_read_again_oldest_first(tmp_path):
    history.add(tmp_path, history.PUSHED, version="12", metrics={"ctr_auc": 0.75, "ctr_mse": 1.0})
    history.add(tmp_path, history.FAULT, why="Trainer: no")
    first, second = history.read(tmp_path)
    assert (first["verdict"], first["version"], second["why"]) == ("pushed", "12", "Trainer: no")
    assert first["recipe"] == tmp_path.name


def test_a_secret_is_not_noted_and_costs_no_line(tmp_path):
    for why in ('token: "hunter2"', 'password="hunter2"', "http://me:hunter2@host"):
        history.add(tmp_path, history.FAULT, why=why)
    assert len(history.read(tmp_path)) == 3
    assert "hunter2" not in (tmp_path / history.FILE).read_text()


def test_a_torn_line_costs_itself_alone(tmp_path):
    history.add(tmp_path, history.PUSHED)
    path = tmp_path / history.FILE
    path.write_bytes(path.read_bytes() + b'{"ended": "2026')
    history.add(tmp_path, history.FAULT)
    assert [line["verdict"] for line in history.read(tmp_path)] == ["pushed", "fault"]


def test_a_folder_without_a_history_has_none(tmp_path):
    assert history.read(tmp_path) == []


def test_a_row_of_the_table_shows_the_aucs(tmp_path):
    history.add(tmp_path, history.PUSHED, version="12", metrics={"ctr_auc": 0.75, "ctr_mse": 1.0})
    (line,) = history.read(tmp_path)
    ended, recipe, verdict, version, seconds, aucs, why = runs.row(line)
    assert (recipe, verdict, version) == (tmp_path.name, "pushed", "12")
    assert (len(ended), seconds, aucs, why) == (19, "", "ctr 0.7500", "")
