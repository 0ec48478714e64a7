"""Puts a run's folder in order before a run: after a process that died, or a file that rotted.

MLMD keeps its state in one SQLite file, whose transactions survive a killed process. What does not
is repaired here: executions left open, outputs of such executions, and the file itself, of which
every finished run leaves a copy.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from ncs4cvr.components import checksums
from ncs4cvr.pipeline.run import durable, run_folder

DATABASE = run_folder.DATABASE
COPY, COPY_SUMS = "metadata.copy.sqlite", "metadata.copy.json"
LOST = "lost"  # where files go that nothing can be made of any more
#: What an OperationalError says of a file that is not what it was; all others are of the moment.
DAMAGED = ("no such table", "unsupported file format")
Say = Callable[[str], None]


class Unreadable(Exception):
    """The metadata is locked or cannot be opened, so nobody can tell whether it is whole."""


def put_in_order(folder: Path, say: Say) -> None:
    """Repairs what can be repaired, and says what it did. The caller holds the folder's lock.

    Raises:
      Unreadable: see there; nothing was touched.
    """
    wrong = database_damage(folder)
    if wrong:
        _replace_database(folder, wrong, say)
    if (folder / DATABASE).is_file():
        for line in _close_executions(folder):
            say(line)


def keep_copy(folder: Path) -> None:
    """Copies the metadata of a finished run, with a checksum of both."""
    database, copy = folder / DATABASE, folder / COPY
    sums = {"sha256": checksums.of_file(str(database)), "mtime_ns": database.stat().st_mtime_ns}
    if sums != _copy_sums(folder) or not copy.is_file():
        # With a stop in between, the copy is not what the sums say, and is not taken for whole.
        durable.copy(database, copy)
        durable.write(folder / COPY_SUMS, json.dumps(sums))


def database_damage(folder: Path) -> str:
    """What is wrong with the metadata, in a few words; "" where nothing is.

    A flipped bit inside a value breaks no page, so where the file was not written since the last
    copy its checksum counts, too.

    Raises:
      Unreadable: see there.
    """
    database = folder / DATABASE
    if not database.is_file():
        return "is missing" if any((folder / "artifacts").glob("*")) else ""
    try:
        with _opened(database) as connection:
            answer = connection.execute("PRAGMA integrity_check").fetchone()[0]
            if answer == "ok":
                connection.execute("SELECT count(*) FROM Execution").fetchone()
    except sqlite3.DatabaseError as error:
        if "no such table" not in str(error):
            return f"is damaged ({error})"
        return "" if not any((folder / "artifacts").glob("*")) else "has lost its tables"
    if answer != "ok":
        return f"is damaged ({answer.splitlines()[0]})"
    sums = _copy_sums(folder)
    if sums.get("mtime_ns") == database.stat().st_mtime_ns:
        if sums["sha256"] != checksums.of_file(str(database)):
            return "has changed since it was last written"
    return ""


@contextlib.contextmanager
def _opened(database: Path) -> Iterator[sqlite3.Connection]:
    try:
        with contextlib.closing(sqlite3.connect(database)) as connection:
            yield connection
    except sqlite3.OperationalError as error:
        if any(words in str(error) for words in DAMAGED):
            raise
        raise Unreadable(
            f"{database} is locked or cannot be opened ({error}), and was left as it is; close "
            "what uses it, or give this user the right to it, then run again"
        ) from error


def _copy_sums(folder: Path) -> dict:
    try:
        return json.loads((folder / COPY_SUMS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _replace_database(folder: Path, wrong: str, say: Say) -> None:
    copy = folder / COPY
    aside = _aside(folder, [p for p in folder.glob(f"{DATABASE}*") if p.is_file()])
    where = f"; what is left of it lies in {aside}" if aside else ""
    if copy.is_file() and _copy_sums(folder).get("sha256") == checksums.of_file(str(copy)):
        durable.copy(copy, folder / DATABASE)
        say(f"{DATABASE} {wrong}: restored from the copy of the last finished run{where}")
        return
    aside = _aside(folder, [folder / "artifacts"])
    say(
        f"{DATABASE} {wrong}, and there is no whole copy: this run starts from nothing, and has no "
        f"earlier model to compare itself with; what was there lies in {aside} and may be removed"
    )


def _aside(folder: Path, paths: list[Path]) -> Path | None:
    """Moves what exists of the paths into a new folder; returns that."""
    paths = [path for path in paths if path.exists()]
    if not paths:
        return None
    number = 1
    while (aside := folder / LOST / str(number)).exists():
        number += 1
    aside.mkdir(parents=True)
    for path in paths:
        path.rename(aside / path.name)
    return aside


def _close_executions(folder: Path) -> Iterator[str]:
    """Executions that a dead process left open failed; their outputs, and unknown ones, go."""
    open_, finished, _ = executions(folder)
    if open_:
        from ml_metadata.metadata_store import metadata_store
        from ml_metadata.proto import Execution
        from tfx.orchestration import metadata

        where = metadata.sqlite_metadata_connection_config(str(folder / DATABASE))
        store = metadata_store.MetadataStore(where)
        found = store.get_executions_by_id(sorted(open_))
        for execution in found:
            execution.last_known_state = Execution.FAILED
        store.put_executions(found)
        yield f"{len(found)} unfinished steps of a run that died are closed"
    for path in stale_outputs(folder, finished):
        shutil.rmtree(path)
        checksums.unseal(str(path))


def executions(folder: Path) -> tuple[set[int], set[int], set[int]]:
    """Numbers of the executions that are neither finished nor failed, that finished, that failed.

    Straight from the database, so that nobody has to load TFX to ask.

    Raises:
      Unreadable: see there.
    """
    # ml_metadata.Execution.State: NEW 1, RUNNING 2, COMPLETE 3, FAILED 4, CACHED 5, CANCELED 6
    try:
        with _opened(folder / DATABASE) as connection:
            rows = connection.execute("SELECT id, last_known_state FROM Execution").fetchall()
    except sqlite3.OperationalError:  # a database that has no table yet
        rows = []
    open_, finished, failed = (
        {n for n, state in rows if state in states} for states in ((1, 2), (3, 5), (4, 6))
    )
    return open_, finished, failed


def stale_outputs(folder: Path, finished: set[int], working: bool = True) -> list[Path]:
    """Folders of outputs that belong to no finished execution and, if `working`, those of work.

    They are to be removed; so what a link leads to elsewhere is not among them.
    """
    stale = [
        path
        for pattern in ("artifacts/*/*/*", "artifacts/*/.system/executor_execution/*")
        for path in folder.glob(pattern)
        if path.name.isdigit() and path.is_dir() and int(path.name) not in finished
    ]
    if working:
        stale += folder.glob("artifacts/*/.system/stateful_working_dir/*")
    root = str(folder / "artifacts")
    return [p for p in stale if not p.is_symlink() and checksums.inside(str(p), root)]
