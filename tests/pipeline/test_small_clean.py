"""Two small days of the real pipeline, `ncs4cvr clean`, and what comes after it."""

import json

import pytest

from ncs4cvr.pipeline import checkup
from ncs4cvr.pipeline.cli import main
from ncs4cvr.pipeline.status import NOT_BLESSED, PUSHED
from tiny_log import write_tiny_days

pytestmark = pytest.mark.slow

SETTINGS = ("warm_start=on", "search_every_days=4", "analyze_every_days=4", "drift_threshold=0.5")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return write_tiny_days(tmp_path_factory.mktemp("days") / "log", days=8)


def run(recipe, day):
    """The summary of a run of that day of January."""
    root = recipe.parents[1] / "runs"
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    arguments = ["run", str(recipe), "--root", str(root), "--date", f"2022-01-{day:02}", *settings]
    assert main(arguments) in (PUSHED, NOT_BLESSED)
    return json.loads((root / "tiny/summary.json").read_text())


@pytest.fixture(scope="module")
def cleaned(recipe):
    """The folder after two days and a clean; the summary of the second day; what was there."""
    run(recipe, 6)
    second, folder = run(recipe, 7), recipe.parents[1] / "runs/tiny"
    before = {path.name for path in folder.glob("artifacts/VideoLogExampleGen/examples/*")}
    assert main(["clean", str(recipe), "--root", str(folder.parent), "--keep", "1"]) == PUSHED
    return folder, second, before


def test_examples_of_the_first_day_are_gone(cleaned):
    folder, _, before = cleaned
    left = {path.name for path in folder.glob("artifacts/VideoLogExampleGen/examples/*")}
    assert left == {max(before, key=int)}


def test_doctor_finds_the_folder_in_order(cleaned):
    assert [str(found) for found in checkup.root(cleaned[0].parent) if not found.fine] == []


def test_what_reads_a_run_s_folder_still_does(cleaned, tmp_path):
    folder, _, _ = cleaned
    assert main(["export", str(folder), "--output", str(tmp_path / "out")]) == PUSHED
    assert main(["tickets", str(folder)]) == PUSHED
    assert main(["rows", str(folder), "--output", str(tmp_path / "rows.parquet")]) == PUSHED
    assert main(["kit", str(folder), "--output", str(tmp_path / "kit")]) == PUSHED
    assert main(["report", str(folder), "--no-open"]) == PUSHED


def test_the_same_day_is_cached_and_the_next_goes_on_from_it(cleaned, recipe):
    _, second, _ = cleaned
    same = run(recipe, 7)
    assert set(same["seconds"]) - set(same["cached"]) == {"Pusher"}
    assert same["metrics"] == second["metrics"]
    assert same["pushed_to"] == second["pushed_to"]
    third = run(recipe, 8)
    # Trained up to two days before the run's: on days 1 to 5, and now on the sixth.
    assert third["start"]["from"] == "2022-01-05"
    assert third["start"]["rows"] == 500
    assert third["tickets"]["searched"] is False
    assert third["vocabularies"]["analyzed"] is False
    assert third["intervals"]["ctr_auc"]["before"] is not None  # compared with the last model
