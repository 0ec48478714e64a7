"""A full disk, missing rights, a clock that was set back, two runs at once."""

import os
import shutil
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.faults

NOBODY = 65_534


@pytest.fixture
def small_disk(world):
    """The runs lie on a disk of their own; gives a function that leaves so many bytes free."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(world.root)],
        capture_output=True, text=True,
    )  # fmt: skip
    if mounted.returncode:
        pytest.skip(f"a small disk needs the right to mount one: {mounted.stderr.strip()}")
    world.restore("finished")
    filler = world.root / "filler"

    def leave(size):
        filler.unlink(missing_ok=True)
        if size is None:  # `ncs4cvr doctor` wants some GB
            subprocess.run(["mount", "-o", "remount,size=4g", str(world.root)], check=True)
            return
        about = os.statvfs(world.root)
        filler.write_bytes(b"x" * max(0, about.f_bavail * about.f_frsize - size))

    yield leave
    subprocess.run(["umount", str(world.root)], check=True)


@pytest.mark.parametrize(
    ("component", "left"),
    [("VideoLogExampleGen", 0), ("VideoLogExampleGen", 40_000), ("StatisticsGen", 60_000),
     ("Transform", 80_000), ("TicketSearch", 60_000), ("Trainer", 120_000), ("Evaluator", 60_000)],
)  # fmt: skip
def test_a_full_disk_is_named_and_with_room_the_next_run_ends_right(
    world, small_disk, component, left
):
    world.forget(component)
    small_disk(left)
    status, told = world.run()
    assert status == 1, told
    assert "is full" in told
    assert "make room" in told
    assert "Traceback" not in told
    world.check_serving()
    small_disk(None)
    world.check_right(*world.run())
    world.note(
        f"disk full in {component}, {left // 1000} kB left", "ends with 1, says to make room",
        "with room it ends right",
    )  # fmt: skip


@pytest.fixture
def other_user(world):
    """The world can be reached by a user who is not root."""
    if os.geteuid():
        pytest.skip("only root can become another user, to whom rights matter")
    folders = [p for p in world.folder.parents if p.stat().st_mode & 0o055 != 0o055]
    modes = {folder: folder.stat().st_mode for folder in (*folders, world.folder)}
    for folder in modes:
        folder.chmod(0o755)
    yield {"kind": "user", "uid": NOBODY}
    for folder, mode in modes.items():
        folder.chmod(mode)
    for path in (world.root, *world.root.rglob("*")):
        os.chown(path, 0, 0)
    (world.log / "events.csv").chmod(0o644)


def give(folder, but=""):
    """The folder and all in it belong to the other user."""
    for path in (folder, *folder.rglob("*")):
        if not but or but not in path.parts:
            os.chown(path, NOBODY, NOBODY)


@pytest.mark.parametrize("what", ["runs", "serving", "artifacts", "events.csv", "metadata.sqlite"])
def test_missing_rights_are_named_and_with_them_the_next_run_ends_right(world, other_user, what):
    if what != "runs":
        give(world.root, but=what)
    if what == "serving":
        (world.serving / str(world.numbers()[0]) / "saved_model.pb").unlink()  # so it must push
    elif what == "artifacts":
        world.forget("Evaluator")
    elif what == "events.csv":
        (world.log / what).chmod(0o600)
    status, told = world.run(**other_user)
    assert status == 1, told
    assert str(world.log / what if what == "events.csv" else world.root) in told
    assert "Traceback" not in told
    world.check_right(*world.run())
    world.note(f"no rights to {what}", f"ends with {status}, names it", "with rights it ends right")


BEHIND = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/time.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *t) {
  static int (*real)(clockid_t, struct timespec *);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  int answer = real(id, t);
  if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) t->tv_sec -= 31536000;
  return answer;
}
int gettimeofday(struct timeval *t, void *zone) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  t->tv_sec = now.tv_sec;
  t->tv_usec = now.tv_nsec / 1000;
  return 0;
}
time_t time(time_t *t) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (t) *t = now.tv_sec;
  return now.tv_sec;
}
"""
CLI = "import sys; from ncs4cvr.pipeline.cli import main; sys.exit(main(sys.argv[1:]))"


def a_year_behind(world, *arguments):
    """Runs `ncs4cvr run` in a process for whose every library it is a year earlier."""
    source, library = world.folder / "behind.c", world.folder / "behind.so"
    source.write_text(BEHIND)
    if not shutil.which("cc"):
        pytest.skip("a clock of its own needs a C compiler, cc")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    done = subprocess.run(
        [sys.executable, "-c", CLI, "run", world.recipe, "--root", world.root, *arguments],
        env={**os.environ, "LD_PRELOAD": str(library)}, capture_output=True, text=True,
    )  # fmt: skip
    line = (world.run_dir / "history.jsonl").read_text().splitlines()[-1]
    assert f'"ended": "{time.gmtime().tm_year - 1}' in line, line + done.stderr
    return done.returncode, done.stdout + done.stderr


def test_a_run_whose_clock_is_a_year_behind_pushes_a_version_that_is_served(world):
    before = world.numbers()[-1]
    world.check_right(*a_year_behind(world, "--set", "seed=2"))
    assert world.numbers()[-1] == before + 1
    world.check_right(*world.run("--set", "seed=3"))
    world.note("clock a year behind", "pushes a version that is served, ends right", "")


def test_a_clock_that_is_set_back_between_runs_changes_nothing(world):
    before = world.summary()
    status, told = a_year_behind(world)
    world.check_right(status, told)
    assert world.summary()["pushed_to"] == before["pushed_to"]
    world.note("clock set back between two runs", "takes all from the cache, ends right", "")


@pytest.mark.parametrize("command", ["run", "rollback"])
def test_a_second_process_fails_at_once_and_the_first_ends_right(world, command):
    world.forget("Evaluator")
    began, go = world.folder / "began", world.folder / "go"
    first = world.start(
        "run", world.recipe, "--root", world.root,
        kind="wait", component="Evaluator", began=str(began), go=str(go),
    )  # fmt: skip
    while not began.exists():
        time.sleep(0.05)
    try:
        second = ("rollback", world.run_dir) if command == "rollback" else None
        status, told = world.ncs4cvr(*second) if second else world.run()
        assert status == 1, told
        assert f"in use: `ncs4cvr run small`, process {first[0]}" in told
        status, told = world.ncs4cvr("doctor", world.root)
        assert status == 0, told
        assert "in use by" in told
    finally:
        go.touch()
        ended = world.wait(first)
        began.unlink()
        go.unlink()
    world.check_right(*ended)
    world.note(
        f"`{command}` while a run is at work", "ends with 1, says who is", "the run ends right"
    )
