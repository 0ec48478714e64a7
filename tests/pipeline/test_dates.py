"""A recipe on another day."""

import dataclasses
import datetime as dt

import pytest

from ncs4cvr.pipeline import recipe_files
from ncs4cvr.pipeline.dates import files_on, named, on_day


@pytest.fixture
def recipe(tiny_recipe_file):
    return recipe_files.load(str(tiny_recipe_file))


def windows(recipe):
    return {s.name: (s.first, s.last) for s in recipe.log.splits}


def test_the_last_split_ends_on_the_day_and_the_others_keep_their_distance(recipe):
    assert windows(on_day(recipe, "2022-03-01")) == {
        "train": ("2022-02-24", "2022-02-27"),
        "validate": ("2022-02-28", "2022-02-28"),
        "test": ("2022-03-01", "2022-03-01"),
    }


def test_without_a_day_the_windows_stay(recipe):
    assert on_day(recipe) == recipe


def test_there_and_back_is_the_same_recipe(recipe):
    there_and_back = on_day(on_day(recipe, "2024-02-29"), "2022-01-06")
    assert there_and_back.log.splits == recipe.log.splits


def test_a_log_without_days_in_its_names_may_go_on_after_an_earlier_day(recipe):
    assert on_day(recipe, "2022-01-05").log.until == "2022-01-06"
    assert on_day(on_day(recipe, "2022-01-05"), "2022-01-04").log.until == "2022-01-06"
    assert on_day(recipe, "2022-01-07").log.until == ""
    log = dataclasses.replace(recipe.log, events="/l/{DATE}.csv")
    assert on_day(recipe.replace(log=log), "2022-01-05").log.until == ""


def test_yesterday_is_the_day_before_today_where_the_log_is(recipe):
    log = dataclasses.replace(recipe.log, utc_offset_hours=8)
    before, today = (
        dt.date.fromisoformat(on_day(recipe.replace(log=log), day).log.splits[-1].last)
        for day in ("yesterday", "today")
    )
    assert today - before == dt.timedelta(1)
    there = dt.datetime.now(dt.timezone(dt.timedelta(hours=8))).date()
    assert there - today in (dt.timedelta(0), dt.timedelta(1))  # midnight may pass meanwhile


def test_only_yesterday_and_today_are_names_of_days(recipe):
    for day in ("", "2022-05-01", "soon"):
        assert named(day, recipe.log) == day
    for day in ("yesterday", "today"):
        dt.date.fromisoformat(named(day, recipe.log))


def test_events_are_of_every_day_and_users_of_the_last(recipe):
    log = dataclasses.replace(recipe.log, events="/l/{DATE}/*.csv", users="/u/{DATE:%Y%m%d}.csv")
    found = on_day(recipe.replace(log=log), "2022-01-07").log
    assert found.events.split(",") == [f"/l/2022-01-0{day}/*.csv" for day in range(2, 8)]
    assert found.users == "/u/20220107.csv"
    assert found.videos == recipe.log.videos


def test_a_day_that_is_none_is_refused(recipe):
    with pytest.raises(ValueError, match="expected YYYY-MM-DD, yesterday or today"):
        on_day(recipe, "2022-02-30")


def test_globs_without_a_date_appear_once():
    days = [dt.date(2022, 5, 1), dt.date(2022, 5, 2)]
    assert files_on("a.csv, b-{DATE}.csv", days) == "a.csv,b-2022-05-01.csv,b-2022-05-02.csv"
    assert files_on("", days) == ""
