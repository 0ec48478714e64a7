"""What the hours of a day have: rows of the day's, and labels, in blocks of three hours."""

import numpy as np
import pytest

from ncs4cvr.components.day_hours import blocks

HOUR_MS = 3_600_000


def of(*hours, users=None, first=False, last=False, **labels):
    """The blocks of rows at these hours, each of another user; a label's values count in all."""
    made = {what: (np.arange(len(y)), np.array(y) > 0) for what, y in labels.items()}
    mine = np.arange(len(hours)) if users is None else np.array(users)
    return dict(blocks(np.array(hours) * HOUR_MS, mine, made, first, last))


def begins(found):
    """The hours that the blocks with rows of the day's begin at."""
    return [int(what[10:12]) for what in found if what.startswith("rows from")]


def test_rows_are_counted_in_eight_blocks_of_the_day():
    assert of(0, 2.99, 3, 23.5) == {
        "rows from 00:00 to 03:00": (2, 4),
        "rows from 03:00 to 06:00": (1, 4),
        **{f"rows from {n:02d}:00 to {n + 3:02d}:00": (0, 4) for n in range(6, 21, 3)},
        "rows from 21:00 to 24:00": (1, 4),
    }


def test_labels_are_counted_in_the_blocks_that_have_their_rows():
    found = of(6, 7, 8, 8, 9, click=[1, 1, 1, 0, 0])
    assert found["click from 06:00 to 09:00"] == (3, 4)
    assert found["click from 09:00 to 12:00"] == (0, 1)
    assert "click from 12:00 to 15:00" not in found


def test_a_label_counts_in_its_own_rows():
    """Rows 1 to 3 were clicked, of which the last was bought."""
    hours, bought = np.array([6, 7, 8, 9]) * HOUR_MS, np.array([False, False, True])
    found = dict(blocks(hours, np.arange(4), {"buy": (np.array([1, 2, 3]), bought)}, False, False))
    assert found["buy from 06:00 to 09:00"] == (0, 2)
    assert found["buy from 09:00 to 12:00"] == (1, 1)


def test_rows_of_one_user_are_not_taken_for_independent():
    """3, 1, 1 and 1 rows of four users vary as 36 / 12 = 3 rows do; half of them are at 6."""
    found = of(6, 6, 6, 12, 12, 12, users=[1, 1, 1, 2, 3, 4], click=[1, 0, 0, 0, 0, 0])
    assert found["rows from 06:00 to 09:00"] == (1.5, 3)
    assert found["click from 06:00 to 09:00"] == (pytest.approx(1 / 3), 1)


def test_a_log_may_begin_and_end_within_a_day():
    """Where its first and its last row lie, and beyond, rows may be fewer; labels may not."""
    assert begins(of(*range(24))) == [0, 3, 6, 9, 12, 15, 18, 21]
    assert begins(of(*range(7, 24), first=True)) == [9, 12, 15, 18, 21]
    ended = of(*range(14), last=True, click=[1] * 14)
    assert begins(ended) == [0, 3, 6, 9]
    assert ended["click from 12:00 to 15:00"] == (2, 2)


def test_rows_of_the_neighbouring_days_do_not_hide_that_a_log_ends():
    """A column of days may be written by another clock: here 6 minutes before midnight are there,
    too. A day that runs into the next one has not ended early."""
    early = of(-0.1, *range(14), last=True)
    assert begins(early) == [0, 3, 6, 9]
    assert begins(of(*range(8, 32), last=True)) == [0, 3, 6, 9, 12, 15, 18, 21]


def test_times_that_are_all_at_midnight_are_all_in_one_block():
    found = of(0, 0, 0)
    assert found["rows from 00:00 to 03:00"] == (3, 3)
    assert {hits for what, (hits, _) in found.items() if "from 00" not in what} == {0}
