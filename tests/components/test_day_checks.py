"""What makes a day odd, and what does not."""

import pytest

from ncs4cvr.components.day_checks import complaints, orphans
from ncs4cvr.components.day_hours import Hours
from ncs4cvr.components.day_profile import Day

USUAL = {
    "split": "train",
    "rows": 10_000,
    "shares": {"rows with click": (4_000, 10_000)},
    "aucs": {("click", "price"): (0.7, 0.005)},
    "middles": {"price": 60_000.0},
    "constant": frozenset(),
}


def lines(change=2.0, auc_change=0.05, others=5, **odd):
    """What is said of a test day that is odd in some way, after some usual ones."""
    days = {20220101 + n: Day(**USUAL) for n in range(others)}
    days[20220109] = Day(**{**USUAL, "split": "test", **odd})
    return list(complaints(days, ("validate", "test"), change, auc_change))


def test_a_day_like_the_others_is_no_complaint():
    assert lines() == []


@pytest.mark.parametrize(("rows", "odd"), [(1_000, 1), (5_001, 0), (19_999, 0), (20_001, 1)])
def test_a_days_rows_may_halve_or_double(rows, odd):
    found = lines(rows=rows)
    assert len(found) == odd
    if odd:
        assert found[0] == f"rows on 2022-01-09: expected 5,000 to 20,000; came: {rows:,}"


@pytest.mark.parametrize(("hits", "odd"), [(2_499, 1), (2_501, 0), (5_714, 0), (5_715, 1)])
def test_the_odds_of_a_share_may_halve_or_double(hits, odd):
    """Odds of 2 : 3, half and twice of which are the shares 1 / 4 and 4 / 7."""
    found = lines(shares={"rows with click": (hits, 10_000)})
    assert len(found) == odd
    if odd:
        told = "rows with click on 2022-01-09: expected 25.00% to 57.14%; came: "
        assert found[0] == f"{told}{hits / 10_000:.2%}"


def test_what_chance_does_to_a_few_rows_is_no_complaint():
    # Of 10 rows 4 are expected, with a standard error of 1.5.
    assert lines(shares={"rows with click": (9, 10)}) == []


def test_what_chance_does_to_the_others_few_rows_is_no_complaint():
    """The others have 25 of 50 rows, all days 105 of 150: the error of a share of 100 rows less
    the others' is the root of .7 x .3 x (1 / 100 + pi / 2 / 50), which is .093."""
    days = {
        20220101 + n: Day(**{**USUAL, "shares": {"rows with click": (5, 10)}}) for n in range(5)
    }
    odd = Day(**{**USUAL, "split": "test", "shares": {"rows with click": (80, 100)}})
    assert list(complaints({**days, 20220109: odd}, ("test",), 2.0, 0.05)) == []
    many = Day(**{**USUAL, "shares": {"rows with click": (50, 100)}})
    assert (
        len(list(complaints({**dict.fromkeys(days, many), 20220109: odd}, ("test",), 2.0, 0.05)))
        == 1
    )


@pytest.mark.parametrize(
    ("auc", "told"), [(0.76, "click leaks into it"), (0.64, "click or price is wrong in many rows")]
)
def test_a_column_that_tells_a_label_better_or_worse_than_before_is_named(auc, told):
    (line,) = lines(aucs={("click", "price"): (auc, 0.005)})
    assert line.startswith(
        "price on 2022-01-09: expected to tell click with an AUC of 0.700 +- 0.050; came: "
        f"{auc:.3f}; {told}"
    )


@pytest.mark.parametrize("found", [(0.74, 0.005), (0.78, 0.03)])
def test_an_auc_within_its_margin_or_within_chance_is_no_complaint(found):
    assert lines(aucs={("click", "price"): found}) == []


def with_aucs(day, *others):
    """What is said of a test day's AUC after days with others."""
    found = {
        20220101 + n: Day(**{**USUAL, "aucs": {("click", "price"): (auc, 0.001)}})
        for n, auc in enumerate(others)
    }
    aucs = {("click", "price"): (day, 0.001)}
    found[20220109] = Day(**{**USUAL, "split": "test", "aucs": aucs})
    return list(complaints(found, ("test",), 2.0, 0.05))


def test_an_auc_may_differ_as_much_as_those_of_other_days_do():
    """Their median deviation is .02, so four standard deviations are 4 x 1.4826 x .02 = .119."""
    varied = (0.66, 0.68, 0.70, 0.72, 0.74)
    assert with_aucs(0.81, *varied) == []
    assert with_aucs(0.59, *varied) == []
    (line,) = with_aucs(0.83, *varied)
    assert "0.700 +- 0.119" in line


def test_a_bad_day_among_the_others_excuses_no_other():
    assert with_aucs(0.90, 0.70, 0.70, 0.70, 0.95, 0.70)


@pytest.mark.parametrize("middle", [5.0, 700_000.0])
def test_another_unit_is_seen_in_the_median(middle):
    (line,) = lines(middles={"price": middle})
    assert "price on 2022-01-09: expected a median from 6e+03 to 6e+05" in line
    assert "another unit?" in line


def test_a_column_that_became_constant_is_named():
    (line,) = lines(constant=frozenset({"price"}))
    assert line == "price on 2022-01-09: expected several values; came: the same in all rows"


@pytest.mark.parametrize(("hits", "odd"), [(0, 1), (6_999, 1), (7_001, 0), (10_000, 0)])
def test_a_column_may_lose_a_tenth_of_its_values(hits, odd):
    """On the other days 80 % of the rows have one."""
    days = {20220101 + n: Day(**USUAL, valued={"price": (8_000 + n - 2, 10_000)}) for n in range(5)}
    days[20220109] = Day(**{**USUAL, "split": "test"}, valued={"price": (hits, 10_000)})
    found = list(complaints(days, ("test",), 2.0, 0.05))
    assert len(found) == odd
    if odd:
        told = "price on 2022-01-09: expected a value in at least 70.00% of the rows; came: "
        assert found[0] == f"{told}{hits / 10_000:.2%}"
    assert list(complaints(days, ("test",), 0, 0.05)) == []


def test_a_few_rows_without_a_value_are_chance():
    # Of 20 rows 16 are expected to have one, with a standard error of 1.8.
    days = {20220101 + n: Day(**USUAL, valued={"price": (80, 100)}) for n in range(5)}
    days[20220109] = Day(**{**USUAL, "split": "test"}, valued={"price": (10, 20)})
    assert list(complaints(days, ("test",), 2.0, 0.05)) == []


def test_a_column_that_always_was_constant_is_no_complaint():
    days = {20220101 + n: Day(**{**USUAL, "constant": frozenset({"price"})}) for n in range(5)}
    days[20220109] = Day(**{**USUAL, "split": "test", "constant": frozenset({"price"})})
    assert list(complaints(days, ("test",), 2.0, 0.05)) == []


def test_days_of_the_first_split_are_not_judged():
    days = {20220101 + n: Day(**USUAL) for n in range(5)}
    days[20220109] = Day(**{**USUAL, "rows": 10})
    assert list(complaints(days, ("validate", "test"), 2.0, 0.05)) == []


def test_a_few_days_are_nothing_to_be_held_against():
    assert lines(others=3, rows=10) == []
    assert len(lines(others=4, rows=10)) == 1


def test_a_day_without_rows_is_named_and_no_measure_of_others():
    empty = Day("test", 0, {}, {}, {}, frozenset())
    days = {20220101 + n: Day(**USUAL) for n in range(4)}
    days |= {20220108: empty, 20220109: Day(**{**USUAL, "split": "test", "rows": 10})}
    first, second = complaints(days, ("test",), 2.0, 0.05)
    assert first == "rows on 2022-01-08: expected 5,000 to 20,000; came: 0"
    assert second.startswith("rows on 2022-01-09: expected 5,000 to 20,000")
    del days[20220101]  # three days with rows
    assert [line[:18] for line in complaints(days, ("test",), 2.0, 0.05)] == ["rows on 2022-01-08"]


def after_days_of_hours(rows, odd, whole=range(8), change=2.0):
    """What is said of a test day with rows in blocks of hours, after days with others."""
    days = {20220101 + n: Day(**USUAL, hours=Hours(rows, range(8), {})) for n in range(5)}
    days[20220109] = Day(**{**USUAL, "split": "test"}, hours=Hours(odd, whole, {}))
    return list(complaints(days, ("test",), change, 0.05))


EVEN = (1_000,) * 8


@pytest.mark.parametrize(("rows", "odd"), [(0, 1), (466, 1), (467, 0), (2_000, 0), (2_001, 1)])
def test_the_odds_of_three_hours_may_halve_or_double(rows, odd):
    """Odds of 1 : 7, half and twice of which are the shares 1 / 15 and 2 / 9; the others are 7,000,
    or 6,533 where these are 467."""
    rest = (7_000 if rows > 1_000 else 7_000 - 467) / 7
    found = after_days_of_hours(EVEN, (*[rest] * 6, rows, rest))
    assert len(found) == odd
    if odd:
        came = rows / (7 * rest + rows)
        assert found[0] == (
            f"rows from 18:00 to 21:00 on 2022-01-09: expected 6.67% to 22.22%; came: {came:.2%}; "
            "is a clock off, or are events or labels of these hours missing?"
        )
    assert after_days_of_hours(EVEN, (*[rest] * 6, rows, rest), change=0) == []


def test_three_hours_with_a_few_rows_are_chance():
    # Of 40 rows 5 are expected, with a standard error of 2.1.
    assert after_days_of_hours((5,) * 8, (0, 5, 5, 5, 5, 5, 5, 10)) == []


def test_hours_that_have_all_rows_as_always_are_no_complaint():
    """As in a log whose times are all at midnight."""
    midnight = (8_000, 0, 0, 0, 0, 0, 0, 0)
    assert after_days_of_hours(midnight, midnight) == []
    assert after_days_of_hours(midnight, midnight, whole=range(0)) == []


def test_the_day_on_which_a_log_ends_is_held_against_the_same_hours():
    """At 14:00, after 4 2/3 of 8 even blocks: of the others' days' rows each had an eighth, now it
    has more than a fifth; of the whole hours it has a quarter, as theirs."""
    assert after_days_of_hours(EVEN, (*EVEN[:4], 667, 0, 0, 0), whole=range(4)) == []
    lines = after_days_of_hours(EVEN, (1_000, 0, 1_000, 1_000, 667, 0, 0, 0), whole=range(4))
    assert [line[:24] for line in lines] == ["rows from 03:00 to 06:00"]


def test_a_label_that_came_late_is_named_with_its_hours():
    """The odds are 4 : 1 on the other days, and 1.5 : 1 on the last."""
    what = "rows with click that have buy from 06:00 to 09:00"
    days = {
        20220101 + n: Day(**USUAL, hours=Hours(EVEN, range(8), {what: (800, 1_000)}))
        for n in range(5)
    }
    late = Hours(EVEN, range(8), {what: (600, 1_000)})
    days[20220109] = Day(**{**USUAL, "split": "test"}, hours=late)
    (line,) = complaints(days, ("test",), 2.0, 0.05)
    assert line.startswith(f"{what} on 2022-01-09: expected 66.67% to 88.89%; came: 60.00%; is a ")


def test_what_the_others_do_not_have_is_not_compared():
    assert lines(aucs={("click", "new"): (0.9, 0.01)}, middles={"new": 1.0}) == []
    assert lines(shares={"rows with new": (1, 10_000)}) == []


def test_checks_can_be_turned_off_one_by_one():
    odd = {"rows": 10, "aucs": {("click", "price"): (0.9, 0.005)}}
    assert len(lines(**odd)) == 2
    assert len(lines(change=0, **odd)) == len(lines(auc_change=0, **odd)) == 1


# -- orphans -------------------------------------------------------------------------------------


def counted(train, test, rows=10_000):
    return {
        "splits": {"train": {"rows": rows}, "test": {"rows": rows}, "no split": {"rows": 5}},
        "split_orphans": {"train": {"buy": train}, "test": {"buy": test}},
    }


def test_conversions_without_a_click_that_become_many_are_named():
    (line,) = orphans(counted(train=9, test=60), "train", 2.0)
    assert line.startswith("buy in test: expected at most 0.40% of the rows to have it without")
    assert "came: 0.60%" in line


@pytest.mark.parametrize(("train", "test"), [(9, 39), (0, 4), (9, 0)])
def test_a_few_more_or_fewer_of_them_are_chance(train, test):
    assert list(orphans(counted(train, test), "train", 2.0)) == []


def test_orphans_are_not_looked_at_where_days_may_change():
    assert list(orphans(counted(train=9, test=5_000), "train", 0.0)) == []
