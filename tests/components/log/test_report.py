"""The law of conservation: rows read = examples + duplicates + dead letters, per split."""

import pytest

from ncs4cvr.components.log.records import LogError
from ncs4cvr.components.log.report import (
    RowsLost,
    check_totals,
    check_written,
    describe_rows,
    report,
)
from ncs4cvr.schemas.log import Label, Log, Split

LOG = Log(
    events="e.csv",
    labels=(Label("click", "is_click"),),
    splits=(Split("train", "2022-01-02", "2022-01-04"), Split("test", "2022-01-05", "2022-01-06")),
)


def totals(**changed):
    """20 rows: 3 dead; 8 + 1 twice in train; 5 in test; 2 + 1 twice on days of no split."""
    counts = {
        "rows": 20, "dead:tab: expected a whole number": 2, "dead:expected UTF-8 text": 1,
        "split:train": 9, "split:test": 5, "example:train": 8, "example:test": 5,
        "duplicates": 2, "duplicate:train": 1, "duplicate:test": 0, "duplicate:no split": 1,
        "history_only": 2,
    }  # fmt: skip
    return {"counts": {"events": {**counts, **changed}}, "first": {}}


def test_every_row_of_every_split_is_accounted_for():
    events = report(totals(), LOG)["events"]
    assert events["splits"] == {
        "train": {"rows": 9, "written": 8, "duplicates": 1},
        "test": {"rows": 5, "written": 5, "duplicates": 0},
        "no split": {"rows": 3, "written": 2, "duplicates": 1},
    }
    dead = sum(events["dead"].values())
    assert events["rows"] == sum(split["rows"] for split in events["splits"].values()) + dead


def test_a_log_with_too_many_broken_rows_is_told_how_many_of_each_kind():
    told = totals(bad=3)
    told["first"] = {"events": [[0, 7, '{"row": 7}']]}
    with pytest.raises(LogError) as error:
        check_totals(told, LOG)
    lines = str(error.value).splitlines()
    assert lines[0] == "events: 3 of 20 rows are broken, more than max_bad_share 1.00% allows:"
    assert lines[1] == "  2 rows: tab: expected a whole number"  # the most first
    assert lines[2] == "  1 row: expected UTF-8 text"
    assert lines[3:5] == ["The first:", '  {"row": 7}']


@pytest.mark.parametrize("name", ["rows", "example:train", "history_only", "duplicates"])
def test_one_row_too_few_anywhere_stops_the_run(name):
    counts = totals()["counts"]["events"]
    with pytest.raises(RowsLost, match=f"{counts['rows'] - (name == 'rows'):,} rows were read"):
        report(totals(**{name: counts[name] - 1}), LOG)


def test_rows_that_change_their_split_on_the_way_stop_the_run():
    with pytest.raises(RowsLost, match="events of 'train': 9 rows were read, 7 written and 1"):
        report(totals(**{"example:train": 7, "example:test": 6}), LOG)


COUNTS = report(totals(), LOG)


def test_files_that_hold_what_was_counted_pass():
    check_written(COUNTS, {"events": 3}, {"train": 8, "test": 5})


@pytest.mark.parametrize(
    ("letters", "examples", "what"),
    [
        ({}, {"train": 8, "test": 5}, "events: 3 dead letters counted, 0 kept"),
        ({"events": 3}, {"train": 7, "test": 5}, "train: 8 examples counted, 7 found"),
        ({"events": 3}, {"train": 8}, "test: 5 examples counted, 0 found"),
    ],
)
def test_files_that_hold_fewer_rows_than_were_counted_stop_the_run(letters, examples, what):
    with pytest.raises(RowsLost, match=what):
        check_written(COUNTS, letters, examples)


def test_people_see_the_sum_and_why_letters_are_dead():
    assert describe_rows(COUNTS) == [
        "rows of events: 20 = 8 train + 5 test + 2 of no split + 2 duplicates + 3 dead letters",
        "  2 dead: tab: expected a whole number",
        "  1 dead: expected UTF-8 text",
    ]


def test_people_see_how_many_users_have_no_row():
    counts = {"users": {"rows": 9, "dead": {}, "duplicate_keys": 0, "asked": 12, "met": 7}}
    assert describe_rows(counts)[1:] == ["  5 of 12 users of the events are not in it"]
    counts["users"]["met"] = 12
    assert len(describe_rows(counts)) == 1


def test_users_and_videos_are_told_by_their_keys():
    counts = {"users": {"rows": 9, "dead": {}, "duplicate_keys": 2}}
    assert describe_rows(counts) == ["rows of users: 9 = 7 kept + 2 duplicates + 0 dead letters"]
