"""An arm against fresh days: what is compared, the verdict, and the intervals."""

import numpy as np
import pytest

from continual_cells import DAYS, cell, three_days

# -- against fresh days --------------------------------------------------------------------------


def test_the_first_day_counts_nowhere(compare):
    assert [mine["day"] for mine, _ in compare.pairs(three_days(), "warm")] == [*DAYS[1:]]
    for mine, fresh in compare.pairs(three_days(), "warm"):
        assert (mine["arm"], fresh["arm"], mine["day"]) == ("warm", "fresh", fresh["day"])


def test_a_day_whose_data_was_refused_is_compared_with_nothing(compare):
    cells = three_days()
    cells[-2] = cell("fresh", DAYS[2], verdict="data refused") | {"auc": {}}
    assert [mine["day"] for mine, _ in compare.pairs(cells, "warm")] == [DAYS[1]]


def test_seconds_are_sums_over_sums(compare):
    of = [
        (cell("warm", DAYS[1], seconds=30.0), cell("fresh", DAYS[1], seconds=100.0)),
        (cell("warm", DAYS[2], seconds=90.0), cell("fresh", DAYS[2], seconds=300.0)),
        (cell("warm", DAYS[2], seconds=80.0), cell("fresh", DAYS[2], seconds=100.0)),
    ]
    assert compare.ratio(of, "seconds") == 200 / 500
    assert compare.ratio(of, "processor_s") == 300 / 750


def test_an_arm_that_is_better_has_a_positive_difference(compare):
    of = compare.pairs(three_days(warm_cvr=0.67), "warm")
    assert compare.differences(of, "cvr") == pytest.approx([0.01, 0.01])
    assert compare.differences(of, "ctr") == [0, 0]


def test_a_step_that_an_arm_left_out_took_no_seconds(compare):
    cells = [{"steps_s": {"a": 4.0, "b": 2.0}}, {"steps_s": {"a": 2.0}}]
    assert compare.mean_steps(cells, "steps_s") == {"a": 3.0, "b": 1.0}


@pytest.mark.parametrize(
    ("seconds", "difference", "met", "said"),
    [
        (0.5, 0.002, True, "0.50 of the seconds (at most 0.5: kept)"),
        (0.5, 0.002, True, "0.0020 higher (at most 0.001 lower: kept; the aim was higher: reached"),
        (0.4, -0.001, True, "0.0010 lower (at most 0.001 lower: kept; the aim was higher: missed"),
        (0.4, -0.0012, False, "0.0012 lower (at most 0.001 lower: missed"),
        (0.61, 0.002, False, "0.61 of the seconds (at most 0.5: missed)"),
        (0.4, 0.0, True, "mean CVR AUC is the same (at most 0.001 lower: kept"),
    ],
)
def test_the_verdict_tells_both_halves_of_the_target(compare, seconds, difference, met, said):
    found, text = compare.verdict(seconds, difference)
    assert found == met
    assert said in text


# -- intervals -----------------------------------------------------------------------------------


def scores(seed, users=30, rows=600):
    rng = np.random.default_rng(seed)
    click = rng.random(rows) < 0.6
    return {
        "user": rng.integers(0, users, rows) * 1000 + 7,
        "key": np.arange(rows),
        "click": click.astype(int),
        "conversion": (click & (rng.random(rows) < 0.5)).astype(int),
        "ctr": rng.random(rows),
        "cvr": rng.random(rows),
    }


@pytest.mark.parametrize("output", ["ctr", "cvr", "ctcvr"])
def test_a_model_is_not_above_itself(compare, output):
    of = [(scores(n), scores(n)) for n in range(2)]
    assert compare.interval_of_mean(of, output) == [0, 0]


def test_a_perfect_model_is_one_above_its_reverse_whoever_is_drawn(compare):
    base = scores(1)
    right = base | {"cvr": 0.1 + 0.8 * base["conversion"]}
    wrong = base | {"cvr": 1 - right["cvr"]}
    assert compare.interval_of_mean([(right, wrong)], "cvr") == pytest.approx([1, 1])
    # The other day's difference is 0: the mean is a half.
    assert compare.interval_of_mean([(right, wrong), (base, base)], "cvr") == pytest.approx(
        [0.5, 0.5]
    )


def test_cvr_is_of_clicked_rows_alone_and_ctcvr_of_all(compare):
    base = scores(2)
    other = base | {"cvr": np.where(base["click"] > 0, base["cvr"], 0.0)}
    assert compare.interval_of_mean([(other, base)], "cvr") == [0, 0]
    low, _ = compare.interval_of_mean([(other, base)], "ctcvr")
    assert low > 0  # rows without a click never convert here, and are last now


def test_other_test_rows_are_refused(compare):
    base = scores(1)
    with pytest.raises(ValueError, match="other test rows"):
        compare.interval_of_mean([(base, base | {"key": base["key"] + 1})], "cvr")


def test_intervals_are_of_the_days_after_the_first(compare, plan, tmp_path):
    files = {}
    for day in DAYS[:2]:
        for arm in ("fresh", "warm"):
            base = scores(3)
            # On the first day another model; on the second the same.
            mine = base | {"cvr": base["cvr"][::-1]} if (arm, day) == ("warm", DAYS[0]) else base
            files[plan.Cell(arm, day, 1)] = tmp_path / f"{arm}{day}.npz"
            np.savez(files[plan.Cell(arm, day, 1)], **mine)
    assert compare.intervals(files) == {"warm": {output: [0, 0] for output in compare.OUTPUTS}}
