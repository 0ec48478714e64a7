"""Day by day: the order of runs, and a run that is cut off."""

import pytest

from continual_cells import DAYS

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
