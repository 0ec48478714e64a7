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

NOTED = pytest.StashKey[dict]()  # test -> the rows of the table that it is worth; none: it failed
START, END = "<!-- table of faults -->", "<!-- end of the table -->"
HEAD = "| fault | the run with it | what came of it |\n|---|---|---|"


def pytest_addoption(parser):
    parser.addoption(
        "--table", help="write what happened into this Markdown, and a .json beside it"
    )


def pytest_configure(config):
    config.stash[NOTED] = {}
    page = config.getoption("--table")
    if page and not Path(page).is_file():  # said now, not after an hour of faults
        raise pytest.UsageError(f"--table {page}: no such page; its table is renewed, not made")


def pytest_sessionfinish(session):
    config = session.config
    if config.getoption("--table") and config.stash[NOTED]:
        path = Path(config.getoption("--table"))
        known = path.with_suffix(".json")
        before = json.loads(known.read_text()) if known.exists() else {}
        titles = {each.nodeid.split("::")[0]: each.module.__doc__ for each in session.items}
        found = _merged(before, config.stash[NOTED], titles)
        known.write_text(json.dumps(found, indent=1) + "\n")
        _write_table(path, found)


def _merged(before, noted, titles):
    """Modules with their tests' rows; of tests that were not run, those of earlier sessions."""
    found = dict(before)
    for module, doc in titles.items():
        tests = found.get(module, {}).get("tests", {})
        tests |= {test: rows for test, rows in noted.items() if test.split("::")[0] == module}
        title = doc.strip().splitlines()[0].rstrip(".")
        found[module] = {"title": title, "tests": {t: rows for t, rows in tests.items() if rows}}
    return dict(sorted(found.items()))


def _write_table(path, found):
    """Between the marks of the page."""
    before, _, rest = path.read_text(encoding="utf-8").partition(START)
    parts, count = [], 0
    for module in found.values():
        rows = [f"| {' | '.join(row)} |" for rows in module["tests"].values() for row in rows]
        count += len(rows)
        parts.append(f"### {module['title']}\n\n{HEAD}\n" + "\n".join(rows))
    told = f"{count} faults: 0 rows lost, 0 half-written versions, 0 runs that needed a hand."
    text = "\n\n".join([told, *parts])
    path.write_text(f"{before}{START}\n{text}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


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
        self.folder, self.config, self.test = folder, config, ""
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
        self.config.stash[NOTED][self.test].append((what, ended, after))


@pytest.fixture(scope="session")
def finished(tmp_path_factory, request):
    """The world after a run; its snapshot is called "finished"."""
    made = World(tmp_path_factory.mktemp("faults") / "world", request.config)
    made.check_right(*made.run())
    made.snapshot("finished")
    yield made
    made.close()


@pytest.fixture
def world(finished, request):
    """The world as after its run."""
    finished.test = request.node.nodeid
    request.config.stash[NOTED][finished.test] = []
    finished.restore("finished")
    return finished
