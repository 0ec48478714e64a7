"""A world in which things go wrong: a log, a recipe, a finished run, and a fork server."""

import csv
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ncs4cvr.components import versions

HERE = Path(__file__).parent
DAY_MS, FIRST_MS = 86_400_000, 18_993 * 86_400_000  # 2022-01-01
DAYS, ROWS_A_DAY = 6, 100
PUSHED, FAULT, REFUSED, INTERRUPTED, TERMINATED, KILLED = 0, 1, 4, 130, 143, -9

TABLE = pytest.StashKey[list]()


def pytest_addoption(parser):
    parser.addoption("--table", help="write what happened as Markdown into this file")


def pytest_configure(config):
    config.stash[TABLE] = []


def pytest_sessionfinish(session):
    rows, path = session.config.stash[TABLE], session.config.getoption("--table")
    if path and rows:
        _write_table(Path(path), rows)


def _write_table(path, rows):
    """Between the marks of the page."""
    lines = ["| fault | the run with it | what came of it |", "|---|---|---|"]
    lines += [f"| {what} | {ended} | {after} |" for what, ended, after in rows]
    start, end = "<!-- table of faults -->", "<!-- end of the table -->"
    text = path.read_text(encoding="utf-8")
    before, after = text.split(start)[0], text.split(end)[1]
    counted = f"{len(rows)} faults:"
    table = "\n".join(lines)
    path.write_text(f"{before}{start}\n{counted}\n\n{table}\n{end}{after}", encoding="utf-8")


def events(seed=0):
    """Clicks depend on the tab."""
    dice = random.Random(seed)
    for n in range(DAYS * ROWS_A_DAY):
        tab = dice.randrange(4)
        click = dice.random() < 0.2 + 0.2 * tab
        yield {
            "user_id": dice.randrange(20),
            "video_id": dice.randrange(10),
            "time_ms": FIRST_MS + n * DAY_MS // ROWS_A_DAY,
            "tab": tab,
            "is_click": int(click),
            "long_view": int(click and dice.random() < 0.5),
        }


class World:
    """A folder that faults happen in, and what a user can do there."""

    def __init__(self, folder, config):
        self.folder, self.config = folder, config
        self.log, self.root = folder / "log", folder / "runs"
        self.run_dir = self.root / "small"
        self.serving = self.run_dir / "serving"
        self.recipe = self.log / "recipe.py"
        self.log.mkdir(parents=True)
        shutil.copy(HERE / "recipe.py", self.recipe)
        rows = list(events())
        with (self.log / "events.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        self.rows = rows
        self._server = subprocess.Popen(
            [sys.executable, str(HERE / "server.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "TF_USE_LEGACY_KERAS": "1"},
        )  # fmt: skip
        self._loaded, self._started = set(), 0

    def close(self):
        self._server.stdin.close()
        self._server.wait(timeout=60)

    def _ask(self, **request):
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())

    def start(self, *arguments, **fault):
        """Starts `ncs4cvr` and returns at once."""
        self._started += 1
        out = self.folder / f"out-{self._started}.txt"
        return self._ask(start=[str(a) for a in arguments], fault=fault, log=str(out)), out

    def wait(self, started):
        """Exit status and what was printed."""
        number, out = started
        status = self._ask(wait=number)
        return status, out.read_text(encoding="utf-8", errors="replace")

    def ncs4cvr(self, *arguments, **fault):
        return self.wait(self.start(*arguments, **fault))

    def run(self, *arguments, recipe=None, **fault):
        arguments = ("run", recipe or self.recipe, "--root", self.root, *arguments)
        return self.ncs4cvr(*arguments, **fault)

    # -- state -----------------------------------------------------------------------------

    def snapshot(self, name):
        """Keeps log and runs as they are now."""
        for part in (self.log, self.root):
            shutil.copytree(part, self.folder / name / part.name)

    def restore(self, name):
        for part in (self.log, self.root):
            for old in part.iterdir() if part.exists() else ():
                shutil.rmtree(old) if old.is_dir() else old.unlink()
            shutil.copytree(self.folder / name / part.name, part, dirs_exist_ok=True)

    def forget(self, component):
        """Removes a component's outputs, so that the next run has to make them."""
        outputs = [
            p for p in (self.run_dir / "artifacts" / component).iterdir() if p.name[0] != "."
        ]
        assert outputs
        for path in outputs:
            shutil.rmtree(path)

    def artifact(self, component, output):
        """The folder of the latest output."""
        found = (self.run_dir / "artifacts" / component / output).iterdir()
        return max((path for path in found), key=lambda path: int(path.name))

    def summary(self):
        return json.loads((self.run_dir / "summary.json").read_text())

    def numbers(self):
        return versions.numbers(str(self.serving))

    # -- what must hold --------------------------------------------------------------------

    def check_serving(self):
        """Every version is whole, and a version is there that loads and answers."""
        base = str(self.serving)
        found = versions.numbers(base)
        assert found
        assert {n: wrong for n in found if (wrong := versions.damage(base, n))} == {}
        content = versions.manifest(base, found[-1]).content
        if content not in self._loaded:
            status, told = self.ncs4cvr("load", self.serving / str(found[-1]))
            assert status == 0, told
            self._loaded.add(content)

    def check_right(self, status, told):
        """A run ended as it should: pushed, no row lost, nothing left that a person must repair."""
        assert status == PUSHED, told
        rows = self.summary()["rows"]["events"]
        written = sum(rows["examples"].values()) + rows["history_only"]
        assert rows["rows"] == written + rows["duplicates"] + sum(rows["dead"].values())
        self.check_serving()
        assert Path(self.summary()["pushed_to"]).name == str(self.numbers()[-1])
        status, told = self.ncs4cvr("doctor", self.root)
        assert status == 0, told

    def note(self, what, ended, after="the next run ends right"):
        """A row of the table."""
        self.config.stash[TABLE].append((what, ended, after))


@pytest.fixture(scope="session")
def finished(tmp_path_factory, request):
    """The world after a run; its snapshot is called "finished"."""
    made = World(tmp_path_factory.mktemp("faults") / "world", request.config)
    made.check_right(*made.run())
    made.snapshot("finished")
    yield made
    made.close()


@pytest.fixture
def world(finished):
    """The world as after its run."""
    finished.restore("finished")
    return finished
