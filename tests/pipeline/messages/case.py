"""What a case of tests/pipeline/test_messages.py is, and the worlds that cases happen in."""

import contextlib
import gzip
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

FAULT, USAGE, NOT_BLESSED, REFUSED = 1, 2, 3, 4
ROOT = Path(__file__).parents[3]
SMALL = (ROOT / "tests/faults/recipe.py").read_text().replace("Split\n", "Split, Tally\n", 1)


@dataclass(frozen=True)
class Case:
    """One error: a command, what it ends with and the pieces that its message must hold.

    about: what is wrong, for the page. told: file, row, column or key; what came; what was
    expected; the cure. files: path -> content, or what writes it. world: the name of a fixture
    of test_messages.py, which gets the folder. slow: runs components of a pipeline. stderr:
    where the message is; else it is what the command has to tell.
    """

    about: str
    command: str
    status: int
    told: tuple[str, ...]
    files: Mapping[str, str | bytes | Callable[[Path], None]] = field(default_factory=dict)
    world: str = "nothing"
    slow: bool = False
    stderr: bool = True


def recipe(old: str = "", new: str = "") -> str:
    """The smallest recipe with one piece changed."""
    assert old in SMALL, old
    return SMALL.replace(old, new, 1)


def events(days: int = 6, rows_a_day: int = 40, **columns: Callable[[int], object]) -> str:
    """A log as CSV; `columns` take the number of a row, None leaves one out."""
    made: dict[str, Callable[[int], object]] = {
        "user_id": lambda n: n % 7,
        "video_id": lambda n: n % 5,
        "time_ms": lambda n: 1_640_995_200_000 + n * 86_400_000 // rows_a_day,
        "tab": lambda n: n % 4,
        "is_click": lambda n: n % 2,
        "long_view": lambda n: int(n % 4 == 1),
        **columns,
    }
    names = [name for name, value in made.items() if value is not None]
    rows = ([str(made[name](n)) for name in names] for n in range(days * rows_a_day))
    return "\n".join([",".join(names), *map(",".join, rows)]) + "\n"


def packed(text: str, cut: int = 0) -> bytes:
    """gzip, cut off after so many bytes."""
    return gzip.compress(text.encode(), mtime=0)[: cut or None]


def report(**changes: object) -> str:
    """As ServingCheck writes it."""
    calls = [{"signature": "serving_default", "batch": 64, "p50_ms": 4.0, "p99_ms": 6.0}]
    facts = {"blessed": True, "memory_mb": 500.0, "memory_before_load_mb": 400.0, "calls": calls}
    return json.dumps({**facts, **changes})


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """A database that nobody else may read for now."""
    path.parent.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield


def put(folder: Path, files: Mapping[str, str | bytes | Callable[[Path], None]]) -> None:
    """Writes a case's files."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(content):
            content(path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
