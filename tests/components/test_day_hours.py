"""What the hours of a day have: its rows, and labels, in blocks of three hours."""

import numpy as np
import pytest

from ncs4cvr.components.day_hours import Hours, hours

HOUR_MS = 3_600_000


def of(*at, users=None, first=False, last=False, **labels):
    """Rows at these hours, each of another user; a label's values count in all of them."""
    made = {what: (np.arange(len(y)), np.array(y) > 0) for what, y in labels.items()}
    mine = np.arange(len(at)) if users is None else np.array(users)
    return hours((np.array(at) * HOUR_MS).astype(int), mine, made, first, last)


def test_rows_are_counted_in_eight_blocks_of_the_day():
    assert of(0, 2.99, 3, 23.5).rows == (2, 1, 0, 0, 0, 0, 0, 1)


def test_labels_are_counted_in_the_blocks_that_have_their_rows():
    assert of(6, 7, 8, 8, 9, click=[1, 1, 1, 0, 0]).labels == {
        "click from 06:00 to 09:00": (3, 4),
        "click from 09:00 to 12:00": (0, 1),
    }


def test_a_label_counts_in_its_own_rows():
    """Rows 1 to 3 were clicked, of which the last was bought."""
    at, bought = np.array([6, 7, 8, 9]) * HOUR_MS, np.array([False, False, True])
    found = hours(at, np.arange(4), {"buy": (np.array([1, 2, 3]), bought)}, False, False)
    assert found.labels == {"buy from 06:00 to 09:00": (0, 2), "buy from 09:00 to 12:00": (1, 1)}


def test_rows_of_one_user_are_not_taken_for_independent():
    """3, 1, 1 and 1 rows of four users vary as 36 / 12 = 3 rows do; half of them are at 6."""
    found = of(6, 6, 6, 12, 12, 12, users=[1, 1, 1, 2, 3, 4], click=[1, 0, 0, 0, 0, 0])
    assert found.rows == (0, 0, 1.5, 0, 1.5, 0, 0, 0)
    assert found.labels["click from 06:00 to 09:00"] == (pytest.approx(1 / 3), 1)


def test_a_log_may_begin_and_end_within_a_day():
    """The blocks of its first and its last row, and beyond, are not whole."""
    assert of(*range(24)).whole == range(8)
    assert of(*range(7, 24), first=True).whole == range(3, 8)
    assert of(*range(14), last=True).whole == range(4)


def test_rows_of_the_neighbouring_days_do_not_hide_that_a_log_ends():
    """A column of days may be written by another clock: here 6 minutes before midnight are there,
    too. A day that runs into the next one has not ended early."""
    assert of(-0.1, *range(14), last=True).whole == range(4)
    assert of(*range(8, 32), last=True).whole == range(8)


def test_shares_are_of_the_rows_of_the_blocks_that_are_looked_at():
    day = Hours((10, 20, 30, 40, 0, 0, 0, 0), range(8), {"click from 00:00 to 03:00": (5, 10)})
    assert day.shares(range(1, 3)) == {
        "rows from 03:00 to 06:00": (20, 50),
        "rows from 06:00 to 09:00": (30, 50),
        "click from 00:00 to 03:00": (5, 10),
    }
