"""Each poison spoils one day, and does what it says."""

import numpy as np
import pandas as pd
import pytest

DAY = 20220502


@pytest.fixture
def poisons():
    from poison_parts import poisons

    return poisons


@pytest.fixture
def events():
    rng = np.random.default_rng(1)
    rows = 6000
    dates = np.repeat([DAY - 1, DAY, DAY + 1], rows // 3)
    click = rng.integers(0, 2, rows)
    return pd.DataFrame(
        {
            "user_id": rng.integers(0, 300, rows),
            "video_id": rng.integers(0, 500, rows),
            "date": dates,
            "time_ms": 1_651_420_800_000  # when the day begins in China
            + (dates - DAY) * 86_400_000
            + rng.integers(0, 86_400_000, rows),
            "is_click": click,
            "long_view": click * rng.integers(0, 2, rows),
            "play_time_ms": rng.integers(0, 10**5, rows),
            "duration_ms": rng.integers(1, 10**5, rows),
        }
    )


def test_every_poison_leaves_the_other_days_alone_and_is_the_same_every_time(poisons, events):
    for name in poisons.POISONS:
        spoiled, again = (poisons.spoiled(events, name, DAY) for _ in range(2))
        pd.testing.assert_frame_equal(spoiled, again)
        for day in (DAY - 1, DAY + 1):
            pd.testing.assert_frame_equal(
                spoiled[spoiled["date"] == day], events[events["date"] == day]
            )
        assert not spoiled[spoiled["date"] == DAY].equals(events[events["date"] == DAY])


@pytest.mark.parametrize(("name", "share"), [("flip5", 0.05), ("flip20", 0.2), ("flip50", 0.5)])
def test_labels_are_flipped_in_their_share_of_the_rows(poisons, events, name, share):
    spoiled = poisons.spoiled(events, name, DAY)
    changed = spoiled["is_click"] != events["is_click"]
    assert (changed == (spoiled["long_view"] != events["long_view"])).all()
    # 2,000 rows: four standard errors.
    error = (share * (1 - share) / 2000) ** 0.5
    assert changed[events["date"] == DAY].mean() == pytest.approx(share, abs=4 * error)


def test_bots_click_sixty_times_each(poisons, events):
    spoiled = poisons.spoiled(events, "bots", DAY)
    more = len(spoiled) - len(events)
    assert more == 100 * 60
    false = spoiled.iloc[len(events) :]
    assert (false.groupby("user_id").size() == 60).all()
    assert (false[["is_click", "long_view"]] == 1).all().all()
    assert set(false["user_id"]) <= set(events["user_id"])


def test_a_tenth_and_twice_are_what_they_say(poisons, events):
    count = {
        name: int((poisons.spoiled(events, name, DAY)["date"] == DAY).sum())
        for name in ("tenth", "twice", "yesterday")
    }
    assert count["tenth"] == pytest.approx(200, abs=4 * (2000 * 0.1 * 0.9) ** 0.5)
    assert (count["twice"], count["yesterday"]) == (4000, 2000)


def hours(events):
    """By the log's clock, of the rows of the poisoned day."""
    mine = events[events["date"] == DAY]
    return (mine["time_ms"] + 8 * 3_600_000) // 3_600_000 % 24


def test_a_clock_is_eight_hours_ahead(poisons, events):
    spoiled = poisons.spoiled(events, "clock", DAY)
    assert (hours(spoiled) == (hours(events) + 8) % 24).all()
    assert spoiled["date"].equals(events["date"])


def test_what_comes_late_are_the_conversions_of_a_quarter_of_the_day(poisons, events):
    spoiled, hour = poisons.spoiled(events, "late", DAY), hours(events)
    lost = spoiled["long_view"] != events["long_view"]
    converted = events.loc[hour.index, "long_view"] > 0
    assert (lost[hour.index] == (converted & hour.between(6, 11))).all()


@pytest.mark.parametrize(("name", "first", "last"), [("dark", 12, 17), ("ended", 18, 23)])
def test_events_are_missing_for_a_quarter_of_the_day(poisons, events, name, first, last):
    spoiled, hour = poisons.spoiled(events, name, DAY), hours(events)
    gone = events.index.difference(spoiled.index)
    assert gone.equals(hour.index[hour.between(first, last)])


def test_a_resample_keeps_four_fifths_of_the_users_with_all_their_rows(poisons, events):
    kept = poisons.resampled(events, DAY, 1)
    before, after = (each[each["date"] == DAY].groupby("user_id").size() for each in (events, kept))
    assert len(after) == len(before) * 4 // 5
    assert (before[after.index] == after).all()
    assert not kept.equals(poisons.resampled(events, DAY, 2))


# -- what it costs -------------------------------------------------------------------------------


def scores(rng, rows=400, users=40):
    click = rng.random(rows) < 0.6
    return {
        "user": rng.integers(0, users, rows),
        "key": np.arange(rows),
        "click": click.astype(int),
        "conversion": (click & (rng.random(rows) < 0.5)).astype(int),
        "ctr": rng.random(rows),
        "cvr": rng.random(rows),
    }


@pytest.fixture
def costs():
    from poison_parts import costs

    return costs


def test_a_model_loses_nothing_to_itself(costs):
    clean = scores(np.random.default_rng(1))
    assert costs.loss([(clean, clean)], "cvr") == {"seeds": [0], "mean": 0, "interval": [0, 0]}


def test_a_loss_is_the_mean_over_seeds_of_clean_less_poisoned(costs):
    clean = scores(np.random.default_rng(1))
    right = clean | {"ctr": clean["click"].astype(float)}  # an AUC of 1
    wrong = clean | {"ctr": -right["ctr"]}  # of 0
    assert costs.loss([(wrong, right), (right, right)], "ctr")["seeds"] == [1, 0]
    assert costs.loss([(wrong, right), (right, right)], "ctr")["mean"] == 0.5


def test_cvr_is_measured_in_the_clicked_rows_alone(costs):
    clean = scores(np.random.default_rng(1))
    spoiled = clean | {"cvr": np.where(clean["click"] > 0, clean["cvr"], 9.0)}
    assert costs.auc(spoiled, "cvr") == costs.auc(clean, "cvr")


def test_other_rows_on_the_test_day_are_refused(costs):
    clean = scores(np.random.default_rng(1))
    other = clean | {"key": clean["key"] + 1}
    with pytest.raises(ValueError, match="other rows on the test day"):
        costs.loss([(other, clean)], "cvr")


def test_models_are_held_against_the_clean_one_of_their_seed(costs, tmp_path):
    rng = np.random.default_rng(1)
    clean = scores(rng)
    for seed in (1, 2):
        costs.keep(tmp_path, "clean", seed, clean | {"ctr": rng.random(400)})
    costs.keep(tmp_path, "flip5", 2, dict(np.load(tmp_path / "cost_clean_2.npz")))
    found = costs.losses(tmp_path, ["flip5", "bots"], (1, 2, 3))
    assert set(found) == {"flip5"}
    assert found["flip5"]["ctr"]["seeds"] == [0]


# -- how far from the limits ---------------------------------------------------------------------


@pytest.fixture
def margins():
    from poison_parts import margins

    return margins


def test_the_smallest_limit_is_found_to_a_thousandth(margins):
    assert margins.smallest(lambda limit: limit < 7) == pytest.approx(7, rel=1e-3)
    assert margins.smallest(lambda limit: False) == pytest.approx(1, abs=1e-3)


def test_complaints_are_told_apart_by_their_check(margins):
    from ncs4cvr.components import day_checks

    assert margins.check_of("rows on 2022-01-09: expected") == "rows"
    assert margins.check_of("rows with click on 2022-01-09: expected") == "shares"
    assert margins.check_of(f"rows with click from 06:00{day_checks.HOURS}") == "hours"
    assert margins.check_of("price on 2022-01-09: expected") == ""


def a_day(split, middle):
    from ncs4cvr.components.day_profile import Day

    return Day(split, 100, {}, {}, {"length": middle}, frozenset())


def test_a_median_is_as_far_off_when_it_is_a_fifth_as_when_it_is_five_times(margins):
    good = {day: a_day("train", 10.0) for day in range(1, 5)}
    for middle in (2.0, 50.0):
        assert margins.medians(good | {5: a_day("test", middle)}, ("test",)) == pytest.approx(5)
    assert margins.medians(good | {5: a_day("train", 50.0)}, ("test",)) == 1


def test_distances_of_histograms_count_in_parts_of_their_column_s_limit(margins, tmp_path):
    from tensorflow_metadata.proto.v0 import anomalies_pb2

    found = anomalies_pb2.Anomalies()
    for value, threshold in ((0.1, 0.2), (0.3, 0.4), (0.9, 0)):
        found.drift_skew_info.add().drift_measurements.add(value=value, threshold=threshold)
    (tmp_path / "SchemaDiff.pb").write_bytes(found.SerializeToString())
    assert margins.distance(tmp_path / "SchemaDiff.pb") == pytest.approx(0.75)


# -- the page ------------------------------------------------------------------------------------


def cells(poisons):
    """All poisons stopped on their day but `twice` and `leak`, which go through."""
    made = {}
    for name in poisons.POISONS:
        passes = name in ("twice", "leak")
        good = {"stopped_by": "", "values": {"rows": 1.5, "drift": 0.4}}
        bad = {"stopped_by": "DataGate", "why": [f"{name} is odd", "and more"]}
        runs = [good] * 3 if passes else [bad | {"values": {"rows": 9.0, "drift": 0.4}}]
        made[f"data {name}"] = {"stopped_by": runs[-1]["stopped_by"], "runs": runs}
        made[f"full {name}"] = {"stopped_by": "", "runs": runs if passes else []}
    for seed, cvr in ((1, 0.66), (2, 0.661), (3, 0.658)):
        made[f"cost clean {seed}"] = {"cvr": cvr, "ctr": 0.7}
    before = {"difference": 0.001, "interval": [-0.002, 0.004]}
    for name, rows in (("2022-05-05", 1.2), ("2022-05-06", 1.3), ("resample 1", 1.1)):
        made[f"data {name}"] = {"stopped_by": "", "values": {"rows": rows, "drift": 0.5}}
    made["full 2022-05-06"] = {"stopped_by": "", "cvr": 0.65, "before": before}
    made["full resample 1"] = {
        "stopped_by": "ModelGate",
        "why": ["low"],
        "cvr": 0.6,
        "before": before,
    }
    return made


def losses(poisons, **of):
    """None for all poisons but those named."""
    found = {name: of.get(name, 0.0) for name in poisons.POISONS}
    return {
        name: {
            task: {"seeds": [lost, lost], "mean": lost, "interval": [lost - 0.001, lost + 0.001]}
            for task in ("cvr", "ctr")
        }
        for name, lost in found.items()
        if lost is not None
    }


def page_of(folder, made, lost):
    from poison_parts import page

    about = {"checks": {"rows": "of a day", "drift": "far"}, "limits": {"rows": 2.0, "drift": 1.0}}
    page.write_json(folder, {"cells": made, "losses": lost, **about})
    page.write(folder)
    return (folder / "poisons.md").read_text()


def test_the_page_says_what_stopped_each_poison_and_what_it_costs(poisons, tmp_path):
    text = page_of(tmp_path, cells(poisons), losses(poisons, leak=0.01))
    assert "| a tenth of the volume | DataGate | the day it arrives | +0.0000 [-0.0010, " in text
    assert "| the day delivered twice | nothing |  | +0.0000" in text
    assert "| nothing |  | +0.0100 [+0.0090, +0.0110] |" in text
    assert "- a tenth of the volume (2): `tenth is odd`" in text
    assert "Mean of 2 seeds" in text
    assert "0.6600, 0.6610, 0.6580 with 3 seeds" in text


def test_a_costly_poison_that_nothing_stops_is_told_in_bold(poisons, tmp_path):
    text = page_of(tmp_path, cells(poisons), losses(poisons, leak=0.01))
    assert f"though it loses more than 0.002: {poisons.POISONS['leak'][0]}.**" in text
    assert f"at most 0.002: {poisons.POISONS['twice'][0]}.\n" in text
    assert "Every poison" not in text


def test_that_all_costly_poisons_are_stopped_is_not_said_before_all_costs_are_known(
    poisons, tmp_path
):
    made = cells(poisons)
    unknown = page_of(tmp_path, made, losses(poisons, twice=None))
    assert f"its loss not measured: {poisons.POISONS['twice'][0]}.**" in unknown
    assert "Every poison" not in unknown
    assert "Every poison with a loss of more than 0.002 " in page_of(
        tmp_path, made, losses(poisons)
    )


def test_values_beyond_their_limit_are_bold_and_the_largest_of_clean_days_is_there(
    poisons, tmp_path
):
    text = page_of(tmp_path, cells(poisons), losses(poisons))
    assert "| limit | 2 | 1 |" in text
    assert "| largest of 3 clean days | 1.3 | 0.5 |" in text
    assert "| a tenth of the volume | **9** | 0.4 |" in text


def test_clean_days_that_are_stopped_are_counted_and_named(poisons, tmp_path):
    text = page_of(tmp_path, cells(poisons), losses(poisons))
    assert "lets 3 of 3 clean days pass; 1 of the 2 that were run as a whole end" in text
    assert "| resample 1 | ModelGate (`low`) | 0.6000 | +0.0010 [-0.0020, +0.0040] |" in text


def test_a_day_that_was_run_up_to_the_data_gate_alone_says_so(poisons, tmp_path):
    made = {n: c for n, c in cells(poisons).items() if n.startswith("data")}
    text = page_of(tmp_path, made, {})
    row = "| the day delivered twice | not DataGate; ModelGate was not tried |  | not measured |"
    assert row in text
    assert "| 2022-05-05 |  |  |  |" in text
