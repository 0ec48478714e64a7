"""kill -9 at every step of a push, of a rollback and of the removal of old versions."""

import pytest

from ncs4cvr.components import versions

pytestmark = pytest.mark.faults

AGAIN = ("--set", "seed=2")
SECOND = ("--set", "keep_versions=2")
KEEP = "ncs4cvr.components.versions._keep"  # once before the rename, once after it
POINTS = {
    "before the first file is copied": {"function": "tfx.dsl.io.fileio.copy", "moment": "before"},
    "after the first file is copied": {"function": "tfx.dsl.io.fileio.copy", "moment": "after"},
    "when all files are copied": {"function": KEEP, "moment": "before"},
    "before the rename": {"function": KEEP, "moment": "after"},
    "after the rename": {"function": KEEP, "moment": "before", "call": 2},
}


@pytest.fixture(scope="module")
def snapshots(finished):
    """ "retrained": another model is blessed and not pushed yet; "several": three versions."""
    finished.restore("finished")
    status, told = finished.run(
        *AGAIN, kind="stop", component="Pusher", moment="start", signal="SIGKILL"
    )
    assert status == -9, told
    finished.snapshot("retrained")
    finished.check_right(*finished.run(*AGAIN))
    status, told = finished.ncs4cvr("rollback", finished.run_dir)
    assert status == 0, told
    assert len(finished.numbers()) == 3
    finished.snapshot("several")


@pytest.mark.parametrize("point", POINTS)
def test_a_push_that_is_killed_leaves_whole_versions_and_the_next_run_ends_right(
    world, snapshots, point
):
    world.restore("retrained")
    before = world.numbers()
    status, told = world.run(*AGAIN, kind="kill", **POINTS[point])
    assert status == -9, told
    world.check_serving()
    assert len(world.numbers()) == len(before) + (point == "after the rename")
    world.check_right(*world.run(*AGAIN))
    assert len(world.numbers()) == len(before) + 1
    world.note(f"kill -9 in a push, {point}", "dies")


@pytest.mark.parametrize("point", POINTS)
def test_a_rollback_that_is_killed_leaves_whole_versions_and_can_be_done_again(
    world, snapshots, point
):
    world.restore("retrained")
    world.check_right(*world.run(*AGAIN))
    first, second = world.numbers()
    status, told = world.ncs4cvr("rollback", world.run_dir, kind="kill", **POINTS[point])
    assert status == -9, told
    world.check_serving()
    status, told = world.ncs4cvr("rollback", world.run_dir, "--to", first)
    assert status == (2 if point == "after the rename" else 0), told  # it is served already
    world.check_serving()
    base = str(world.serving)
    newest = world.numbers()[-1]
    assert versions.manifest(base, newest).content == versions.manifest(base, first).content
    assert second in world.numbers()
    world.note(f"kill -9 in a rollback, {point}", "dies", "the next rollback ends right")


def test_a_model_that_was_rolled_back_from_stays_away_until_it_is_asked_for(world, snapshots):
    world.restore("several")
    served = world.numbers()[-1]
    status, told = world.run(*AGAIN)
    assert status == 3
    assert "this very model was rolled back from" in told
    assert world.numbers()[-1] == served
    status, told = world.ncs4cvr("rollback", world.run_dir, "--to", world.numbers()[1])
    assert status == 0, told
    world.check_right(*world.run(*AGAIN))
    status, told = world.ncs4cvr("runs", world.root)
    for word in ("rolled back", "blessed, not pushed", "pushed"):
        assert word in told


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("function", ["rename", "rmtree"])
def test_a_removal_of_old_versions_that_is_killed_leaves_whole_ones(
    world, snapshots, function, moment
):
    world.restore("several")
    removing = {"function": f"tfx.dsl.io.fileio.{function}", "moment": moment}
    status, told = world.run(*SECOND, kind="kill", **removing, call=1)
    assert status == -9, told
    world.check_serving()
    world.check_right(*world.run(*SECOND))
    assert len(world.numbers()) == 2
    world.note(f"kill -9 {moment} a version is removed ({function})", "dies")
