"""`ncs4cvr clean` takes nothing that a later run looks up or has from the cache, and no more."""

import shutil
from pathlib import Path

import pytest
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import Artifact
from tfx.orchestration import metadata

import days_of_stubs
from ncs4cvr.components import checksums, versions
from ncs4cvr.pipeline import checkup, create
from ncs4cvr.pipeline.cli import main
from ncs4cvr.pipeline.run import cleaning, history, lock, recovery
from ncs4cvr.pipeline.status import FAULT, PUSHED, USAGE

DAYS = [f"2022-01-{day:02}" for day in range(1, 6)]
NEW_DAY = "2022-01-09"


@pytest.fixture(scope="module")
def five_days(tmp_path_factory):
    """Five days of stubs, each pushed, of which the served folder holds three; and a copy."""
    folder = tmp_path_factory.mktemp("days") / "runs/tiny"
    for day in DAYS:
        days_of_stubs.run(folder, day)
    shutil.copytree(folder, folder.parents[1] / "copy")
    return folder


@pytest.fixture
def folder(five_days):
    """The same as it was: the metadata know artifacts by their paths."""
    restore(five_days)
    return five_days


def restore(folder, copy="copy"):
    shutil.rmtree(folder)
    shutil.copytree(folder.parents[1] / copy, folder)


def clean(folder, keep=3):
    cleaning.carry_out(folder, what := cleaning.plan(folder, keep))
    return what


def artifacts(folder, database=recovery.DATABASE):
    where = metadata.sqlite_metadata_connection_config(str(folder / database))
    return metadata_store.MetadataStore(where).get_artifacts()


def lost(folder, database=recovery.DATABASE):
    """What the metadata call live and is not there."""
    found = artifacts(folder, database)
    return [a.uri for a in found if a.state == Artifact.LIVE and not Path(a.uri).exists()]


def examples(folder):
    """Days whose examples are there."""
    found = folder.glob("artifacts/Gen/examples/*/*")
    return sorted(path.read_text().rstrip("x") for path in found)


def files(folder):
    return {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_last_runs_stay_whole_and_of_earlier_ones_what_may_be_served(folder, keep):
    clean(folder, keep)
    assert examples(folder) == DAYS[-keep:]
    models = (folder / "artifacts/Train/model").iterdir()
    # Three versions are there; a run also read the model that it was compared with.
    assert len(list(models)) == max(keep + 1, days_of_stubs.KEEP_VERSIONS)
    assert lost(folder) == lost(folder, recovery.COPY) == []


def the_same_day(folder):
    return days_of_stubs.run(folder, DAYS[-1])


def a_new_day(folder):
    return days_of_stubs.run(folder, NEW_DAY)


def an_earlier_day_again(folder):
    return days_of_stubs.run(folder, DAYS[-2])


def a_new_day_after_rollbacks(folder):
    for _ in range(2):
        versions.roll_back(str(folder / "serving"))
    return days_of_stubs.run(folder, NEW_DAY)


@pytest.mark.parametrize(
    ("keep", "later"),
    [
        (1, the_same_day),
        (1, a_new_day),
        (2, an_earlier_day_again),
        (1, a_new_day_after_rollbacks),
    ],
)
def test_a_later_run_goes_as_it_would_have_without(folder, keep, later):
    without = later(folder)
    restore(folder)
    assert clean(folder, keep).goes
    assert later(folder) == without


def test_the_last_days_stay_where_an_earlier_one_ran_last_and_no_version_is_left(folder):
    days_of_stubs.run(folder, DAYS[1])
    shutil.rmtree(folder / "serving")
    shutil.copytree(folder, folder.parents[1] / "without")
    without = a_new_day(folder)
    restore(folder, "without")
    clean(folder, keep=1)
    assert a_new_day(folder) == without


def test_all_of_a_run_of_unchanged_data_is_cached_after_it(folder):
    clean(folder, keep=1)
    states = {name: state for name, (state, _) in the_same_day(folder).items()}
    assert {name for name, state in states.items() if state == "done"} == {"Pusher"}


@pytest.mark.parametrize("how", ["refuse", "good"])
def test_what_passed_last_stays_however_many_runs_did_not(folder, how):
    for day in range(11, 13):
        days_of_stubs.run(folder, f"2022-01-{day}", **{how: int(how == "refuse")})
    shutil.copytree(folder, folder.parents[1] / how)
    without = days_of_stubs.run(folder, "2022-01-20")
    restore(folder, how)
    clean(folder, keep=1)
    # Refused ones did not end: the last that did stays, and the last of all.
    assert examples(folder) == [DAYS[-1]] * (how == "refuse") + ["2022-01-12"]
    assert days_of_stubs.run(folder, "2022-01-20") == without


def test_a_day_that_ran_anew_every_night_keeps_one_copy_of_what_it_pushed(folder):
    for _ in range(3):
        the_same_day(folder)
    clean(folder, keep=1)
    pushed = (folder / "artifacts/Pusher/pushed").iterdir()
    assert len(list(pushed)) == days_of_stubs.KEEP_VERSIONS


@pytest.mark.parametrize("after", [0, 1, 5])
def test_killed_half_way_it_leaves_nothing_live_that_is_gone_and_a_second_call_ends(
    folder, monkeypatch, after
):
    calls = iter(range(1000))

    def remove(path, real=checksums.remove):
        if next(calls) == after:
            raise KeyboardInterrupt
        real(path)

    monkeypatch.setattr(checksums, "remove", remove)
    with pytest.raises(KeyboardInterrupt):
        clean(folder, keep=1)
    monkeypatch.undo()
    assert lost(folder) == lost(folder, recovery.COPY) == []
    assert examples(folder) != [DAYS[-1]]
    clean(folder, keep=1)
    assert examples(folder) == [DAYS[-1]]
    assert the_same_day(folder)["Train"][0] == "cached"


def test_a_second_call_finds_nothing(folder):
    clean(folder)
    before = files(folder)
    what = clean(folder)
    assert (what.goes, what.cut_off, what.marked) == (set(), set(), [])
    assert files(folder) == before


def test_what_was_removed_by_hand_is_no_longer_called_live(folder):
    for path in folder.glob("artifacts/*/*/1"):
        shutil.rmtree(path)
    clean(folder)
    assert lost(folder) == []


def test_what_cut_off_runs_left_goes(folder):
    left = [folder / "artifacts" / name for name in ("Gen/examples/999", "Train/model/998")]
    left.append(folder / "artifacts/Train/.system/stateful_working_dir/2022")
    for path in left:
        days_of_stubs.write(path, "half")
    assert cleaning.plan(folder, 3).cut_off == set(left)
    clean(folder)
    assert not any(path.exists() for path in left)
    assert [str(f) for f in checkup.root(folder.parent) if not f.fine] == []


def imported(folder, uri):
    """An artifact of no run that is kept, as an Importer makes it: it may lie anywhere."""
    where = metadata.sqlite_metadata_connection_config(str(folder / recovery.DATABASE))
    store = metadata_store.MetadataStore(where)
    kind = store.get_artifact_type("Model").id
    store.put_artifacts([Artifact(type_id=kind, uri=str(uri), state=Artifact.LIVE)])


def test_what_lies_elsewhere_is_nobody_s_to_remove(folder, tmp_path):
    days_of_stubs.write(tmp_path / "Train/model/7", "theirs")
    link = folder / "artifacts/Train/model/997"
    link.symlink_to(tmp_path / "Train/model/7")
    for uri in (tmp_path / "Train/model/7", link, folder / "artifacts", "gs://bucket/model/1"):
        imported(folder, uri)
    clean(folder)
    assert (tmp_path / "Train/model/7/saved_model.pb").is_file()
    assert link.is_symlink()
    theirs = [a for a in artifacts(folder) if a.uri.startswith((str(tmp_path), "gs:"))]
    assert all(a.state == Artifact.LIVE for a in theirs)


def test_an_artifact_within_another_one_goes_or_stays_with_it(folder):
    runs = (folder / "artifacts/Train/model_run").iterdir()
    goes, *_, stays = sorted(runs, key=lambda path: int(path.name))
    for path in (stays, goes):
        days_of_stubs.write(path / "tickets", "within")
        imported(folder, path / "tickets")
    clean(folder)
    assert (stays / "tickets/saved_model.pb").is_file()
    assert not goes.exists()
    assert lost(folder) == []


def test_look_ups_of_the_pipeline_are_those_that_it_knows():
    """One more look-up wants its part in cleaning._next."""
    source = Path(create.__file__).read_text()
    ids = {line.split('"')[1] for line in source.splitlines() if ').with_id("Last' in line}
    assert ids == {"LastStatistics", "LastBlessedModel", "LastRun"}
    assert source.count("Resolver(\n") == len(ids)


# -- the command -----------------------------------------------------------------------------------


def command(folder, recipe, *options):
    return main(["clean", str(recipe), "--root", str(folder.parent), *options])


def test_it_says_what_stays_and_why_and_what_goes_in_folders_and_bytes(
    folder, tiny_recipe_file, capfd
):
    assert command(folder, tiny_recipe_file) == PUSHED
    told = capfd.readouterr().out
    (line,) = (line for line in told.splitlines() if "Gen/examples" in line)
    assert (len(DAYS) - 3) * days_of_stubs.BYTES / 1e6 == 0.2
    assert line.split()[1:] == ["2", "0.2"]
    assert "of the last 3 runs that ended, and what was read there" in told
    assert "removed" in told
    assert examples(folder) == DAYS[-3:]


def test_a_dry_run_says_the_same_and_changes_nothing(folder, tiny_recipe_file, capfd):
    before, states = files(folder), [a.state for a in artifacts(folder)]
    assert command(folder, tiny_recipe_file, "--dry-run") == PUSHED
    told = capfd.readouterr().out
    assert {p for p, at in files(folder).items() if before.get(p) != at} <= {folder / lock.FILE}
    assert [a.state for a in artifacts(folder)] == states
    assert "nothing was removed (--dry-run)" in told
    assert command(folder, tiny_recipe_file) == PUSHED
    assert capfd.readouterr().out.splitlines()[:-1] == told.splitlines()[:-1]


def test_it_does_nothing_under_a_run(folder, tiny_recipe_file, capfd):
    before = files(folder)
    with lock.only_one(folder, "run tiny"):
        assert command(folder, tiny_recipe_file) == FAULT
    assert "is in use: `ncs4cvr run tiny`" in capfd.readouterr().err
    assert set(files(folder)) == set(before)
    assert examples(folder) == DAYS


def test_it_notes_that_the_run_before_died(folder, tiny_recipe_file):
    (folder / lock.FILE).write_text(
        '{"pid": 1, "host": "here", "since": "2022-01-06", "doing": "run tiny"}'
    )
    assert command(folder, tiny_recipe_file) == PUSHED
    (line,) = history.read(folder)
    assert line["verdict"] == history.DIED
    assert "`ncs4cvr run tiny`, process 1" in line["why"]


@pytest.mark.parametrize("keep", ["0", "-1"])
def test_the_last_run_cannot_be_given_up(folder, tiny_recipe_file, keep, capfd):
    assert command(folder, tiny_recipe_file, "--keep", keep) == USAGE
    assert "keep 1 or more" in capfd.readouterr().err


def test_metadata_that_are_damaged_are_left_to_the_next_run(folder, tiny_recipe_file, capfd):
    (folder / recovery.DATABASE).write_bytes(b"noise" * 1000)
    assert command(folder, tiny_recipe_file) == FAULT
    assert "nothing was removed" in capfd.readouterr().err
    assert examples(folder) == DAYS
