"""Day by day: the order of runs, an arm against fresh days, the verdict, and the page."""

import json

import numpy as np
import pytest

DAYS = ("2022-05-02", "2022-05-03", "2022-05-04")


@pytest.fixture
def plan():
    from continual_parts import plan

    return plan


@pytest.fixture
def runs():
    from continual_parts import runs

    return runs


@pytest.fixture
def compare():
    from continual_parts import compare

    return compare


# -- the order of runs ---------------------------------------------------------------------------


def test_all_arms_run_a_day_before_any_runs_the_next(plan):
    cells = plan.cells(list(plan.ARMS), DAYS, [1, 2])
    assert [cell.day for cell in cells] == [day for day in DAYS for _ in range(3 * 2)]
    assert len(set(cells)) == len(cells) == 3 * 3 * 2


def test_every_arm_comes_first_once_in_as_many_days_as_there_are_arms(plan):
    cells = plan.cells(list(plan.ARMS), DAYS, [1])
    for place in range(3):
        assert {cells[3 * day + place].arm for day in range(3)} == set(plan.ARMS)


def test_arms_and_seeds_do_not_share_a_folder_and_days_do(plan):
    cells = plan.cells(list(plan.ARMS), DAYS, [1, 2])
    assert len({cell.root for cell in cells}) == 3 * 2
    assert len({cell.name for cell in cells}) == len(cells)


def test_the_time_left_is_that_of_the_arm_s_own_later_days(plan):
    of = {plan.Cell("fresh", DAYS[0], 1): 90.0, plan.Cell("warm", DAYS[0], 1): 110.0}
    todo = [plan.Cell("fresh", DAYS[2], 1), plan.Cell("warm", DAYS[2], 1)]
    assert plan.left_s(todo, of) == 100 + 100  # the median of all first days
    of[plan.Cell("warm", DAYS[1], 1)] = 40.0
    assert plan.left_s(todo, of) == 90 + 40
    assert plan.left_s([], of) == 0


# -- a run that is cut off -----------------------------------------------------------------------


@pytest.fixture
def cut_off(plan, runs, tmp_path, monkeypatch):
    """An arm's folder after a good day and one that ended badly, and the cell of that day."""
    first, second = (plan.Cell("warm", day, 1) for day in DAYS[:2])
    folder = tmp_path / first.root / "tiny"

    def command(root, cell, *rest):
        folder.mkdir(exist_ok=True)
        (folder / "history.jsonl").touch()
        with (folder / "days").open("a") as out:
            out.write(f"{cell.day}\n")
        if cell == second and not broken:
            broken.append(cell)
            raise KeyboardInterrupt
        return {"status": 0, "seconds": 1.0}

    broken: list = []
    monkeypatch.setattr(runs, "command", command)
    monkeypatch.setattr(runs, "outcome", lambda *_: {"auc": {}})
    runs.make(tmp_path, first, "tiny", [])
    with pytest.raises(KeyboardInterrupt):
        runs.make(tmp_path, second, "tiny", [])
    return folder, second


def test_a_day_that_was_cut_off_runs_again_in_the_folder_as_it_was_before(runs, cut_off, tmp_path):
    folder, cell = cut_off
    assert (folder / "days").read_text().split() == [*DAYS[:2]]
    assert runs.stored(tmp_path, cell) is None
    runs.make(tmp_path, cell, "tiny", [])
    assert (folder / "days").read_text().split() == [*DAYS[:2]]  # once each
    assert runs.stored(tmp_path, cell)["day"] == DAYS[1]
    assert not list(tmp_path.glob("*.before-*"))


def test_a_copy_that_a_finished_day_left_is_not_put_back(plan, runs, cut_off, tmp_path):
    folder, cell = cut_off
    runs.make(tmp_path, cell, "tiny", [])
    (tmp_path / f"{cell.root}.before-{cell.day}").mkdir()  # killed before it was removed
    runs.make(tmp_path, plan.Cell("warm", DAYS[2], 1), "tiny", [])
    assert (folder / "days").read_text().split() == [*DAYS]


# -- against fresh days --------------------------------------------------------------------------


def cell(arm, day, seconds=100.0, cvr=0.66, verdict="pushed", **more):
    searched = arm == "fresh" or day == DAYS[0]
    went_on = arm == "warm" and day != DAYS[0]
    made = {
        "arm": arm,
        "day": day,
        "seed": 1,
        "verdict": verdict,
        "why": [],
        "seconds": seconds,
        "processor_s": 1.5 * seconds,
        "load": 1.0,
        "auc": {"ctr": 0.75, "cvr": cvr, "ctcvr": 0.74},
        "tfx": "1.16",
        "test_rows": 1000,
        "tickets": {"searched": searched, "why": "", "searched_on": "2022-04-29"},
        "vocabularies": {"analyzed": not went_on, "why": "", "analyzed_on": "2022-04-29"},
        "start": {"from": "2022-04-29" if went_on else "", "rows": 500 if went_on else 9000},
        "loading_s": 5.0,
        "checksums_s": 1.0,
        "steps_s": {"Transform": 0.25 * seconds, "TicketSearch": 60.0 if searched else 0.1},
        "steps_processor_s": {"Transform": 0.3 * seconds, "TicketSearch": 80.0},
    }
    return made | more


def three_days(warm_seconds=40.0, warm_cvr=0.66):
    return [
        cell(arm, day, *((warm_seconds, warm_cvr) if arm == "warm" and day > DAYS[0] else ()))
        for day in DAYS
        for arm in ("fresh", "warm")
    ]


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


# -- the page ------------------------------------------------------------------------------------


def page_of(folder, cells):
    from continual_parts import page

    about = {
        "date": "2022-06-01",
        "machine": "2 x processor",
        "recipe": "kuairand",
        "set": [],
        "days": [*DAYS],
        "test_days": 2,
        "seeds": [1],
    }
    interval = {output: [-0.001, 0.003] for output in ("ctr", "cvr", "ctcvr")}
    page.write_json(folder, {"about": about, "cells": cells, "intervals": {"warm": interval}})
    page.write(folder)
    return (folder / "continual.md").read_text()


def test_the_page_says_whether_the_target_is_met(tmp_path):
    text = page_of(tmp_path, three_days(warm_seconds=40.0, warm_cvr=0.67))
    assert "**Target met.** It takes 0.40 of the seconds" in text
    assert "| `warm` | 2 | 40 | **0.40** | 60 | **0.40** |" in text
    assert "| **+0.0100** | [-0.0010, +0.0030] | +0.0100, +0.0100 |" in text
    assert "One seed (1)." in text
    assert "tested on 2 days, so that neighbours share" in text
    assert "the machine's noise: 100, 100 s." in text
    assert (tmp_path / "continual.png").stat().st_size > 0


def test_a_target_that_is_missed_is_told_as_loudly(tmp_path):
    text = page_of(tmp_path, three_days(warm_seconds=75.0, warm_cvr=0.65))
    assert "**Target missed.** It takes 0.75 of the seconds (at most 0.5: missed)." in text
    assert "0.0100 lower (at most 0.001 lower: missed" in text


def test_the_page_tells_every_decision_and_refusal(tmp_path):
    cells = three_days()
    cells[-1] |= {"verdict": "not blessed", "why": ["cvr_auc is low"]}
    cells[2] |= {"verdict": "data refused", "why": ["rows on a day"], "auc": {}}
    del cells[2]["steps_s"], cells[2]["start"], cells[2]["tickets"], cells[2]["test_rows"]
    text = page_of(tmp_path, cells)
    assert "- 2022-05-04 `warm`: not blessed: cvr_auc is low" in text
    assert "- 2022-05-03 `fresh`: data refused: rows on a day" in text
    went_on = "of 2022-04-29 | of 2022-04-29 | from 2022-04-29's model | 500"
    assert f"| 1,000 | 40 | {went_on} | not blessed |" in text
    assert "| new | new | fresh | 9,000 | pushed |" in text
    assert "Nothing was refused" not in text


def test_the_steps_and_what_is_beside_them_add_up_to_the_command(tmp_path):
    text = page_of(tmp_path, three_days())
    rows = [line.strip("| \n").split(" | ") for line in text.split("## Where the")[1].splitlines()]
    told = [row for row in rows if len(row) == 3 and row[1][0].isdigit()]
    *parts, whole = [[float(cell.split()[0]) for cell in row[1:]] for row in told]
    assert [row[0] for row in told][-2:] == ["all else", "the command"]
    assert np.sum(parts, axis=0) == pytest.approx(whole)


def test_without_both_arms_nothing_is_decided(tmp_path):
    text = page_of(tmp_path, [c for c in three_days() if c["arm"] == "warm"])
    assert "**Not decided**" in text
    assert json.loads((tmp_path / "continual.json").read_text())["cells"]
