"""Day by day: which days run, which are done, what ends the whole."""

import argparse
import json

import pytest

from ncs4cvr.pipeline.cli import main
from ncs4cvr.pipeline.run import days
from ncs4cvr.pipeline.status import DATA_REFUSED, NOT_BLESSED, PUSHED, USAGE, CommandFailed


@pytest.fixture
def options(tiny_recipe_file, tmp_path):
    return argparse.Namespace(
        recipe=str(tiny_recipe_file),
        set=[],
        beam=[],
        root=str(tmp_path / "runs"),
        date="",
        first="2022-03-01",
        last="2022-03-03",
        tickets=None,
    )


class Runs:
    """Stands for `ncs4cvr run`: notes the days, ends as told."""

    def __init__(self, root, statuses=()):
        self.root, self.statuses, self.days = root, dict(statuses), []

    def __call__(self, options):
        self.days.append(options.date)
        folder = self.root / "tiny"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "summary.json").write_text(json.dumps({"day": options.date}))
        status = self.statuses.get(options.date, PUSHED)
        if status == DATA_REFUSED:
            raise CommandFailed(status, "the data was refused")
        return status


def test_every_day_runs_once_in_order(options, tmp_path):
    run = Runs(tmp_path / "runs")
    assert days.each(options, run) == PUSHED
    assert run.days == ["2022-03-01", "2022-03-02", "2022-03-03"]
    assert days.each(options, run) == PUSHED
    assert len(run.days) == 3


def test_days_may_be_called_yesterday_and_today(options, tmp_path, monkeypatch):
    dates = {"yesterday": "2022-02-28", "today": "2022-03-01"}
    monkeypatch.setattr(days, "named", lambda day, log: dates[day])
    options.first, options.last = dates
    run = Runs(tmp_path / "runs")
    assert days.each(options, run) == PUSHED
    assert run.days == ["2022-02-28", "2022-03-01"]


def test_a_day_with_other_tickets_is_not_done(options, tmp_path):
    run = Runs(tmp_path / "runs")
    options.last = options.first
    for facts in ("", "{}", "{}", '{"tasks": []}'):
        if facts:
            (tmp_path / "tickets.json").write_text(facts)
            options.tickets = str(tmp_path)
        days.each(options, run)
    assert run.days == [options.first] * 3


def test_a_fault_ends_the_whole_and_the_next_call_goes_on_there(options, tmp_path):
    run = Runs(tmp_path / "runs", {"2022-03-02": DATA_REFUSED})
    with pytest.raises(CommandFailed):
        days.each(options, run)
    assert run.days == ["2022-03-01", "2022-03-02"]
    run.statuses = {}
    assert days.each(options, run) == PUSHED
    assert run.days == ["2022-03-01", "2022-03-02", "2022-03-02", "2022-03-03"]


def test_a_day_that_was_not_blessed_is_done_and_tells_in_the_end(options, tmp_path):
    run = Runs(tmp_path / "runs", {"2022-03-02": NOT_BLESSED})
    assert days.each(options, run) == NOT_BLESSED
    assert len(run.days) == 3
    assert days.each(options, run) == NOT_BLESSED
    assert len(run.days) == 3


def test_a_changed_recipe_has_done_no_day(options, tmp_path):
    run = Runs(tmp_path / "runs")
    days.each(options, run)
    options.set = ["seed=2"]
    days.each(options, run)
    assert len(run.days) == 6


def test_what_came_of_a_day_is_kept(options, tmp_path):
    days.each(options, Runs(tmp_path / "runs"))
    (kept,) = (tmp_path / "runs/tiny/days").glob("2022-03-02-*.json")
    assert json.loads(kept.read_text()) == {"status": PUSHED, "summary": {"day": "2022-03-02"}}


@pytest.mark.parametrize("left", ["", '{"status": 0', "[]"])
def test_a_day_whose_note_was_cut_off_runs_again(options, tmp_path, left):
    days.each(options, Runs(tmp_path / "runs"))
    (note,) = (tmp_path / "runs/tiny/days").glob("2022-03-02-*.json")
    note.write_text(left)
    run = Runs(tmp_path / "runs")
    assert days.each(options, run) == PUSHED
    assert run.days == ["2022-03-02"]
    assert json.loads(note.read_text())["status"] == PUSHED


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--from", "2022-03-01"], "both --from DAY and --to DAY"),
        (["--from", "2022-03-01", "--to", "2022-03-02", "--date", "today"], "both --from DAY"),
        (["--from", "2022-03-02", "--to", "2022-03-01"], "swap them"),
        (["--from", "March", "--to", "2022-03-01"], "expected YYYY-MM-DD"),
        (["--date", "March"], "expected YYYY-MM-DD"),
    ],
)
def test_days_that_make_no_sense_are_usage_errors(tiny_recipe_file, arguments, told, capfd):
    assert main(["run", str(tiny_recipe_file), *arguments]) == USAGE
    assert told in capfd.readouterr().err
