"""What all tests share: Keras 2, and a tiny log with its recipe."""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # before anything imports TensorFlow

import csv
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TINY = Path(__file__).parent / "tiny_recipe.py"
CHECKOUT = Path(__file__).parents[1]
DAY_MS = 86_400_000
FIRST_MS = 18_993 * DAY_MS  # 2022-01-01
DAYS, ROWS_A_DAY, USERS, VIDEOS, TABS = 6, 500, 60, 40, 4


def write_csv(path: Path, rows: list[dict]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def tiny_events(seed: int = 0, days: int = DAYS) -> list[dict]:
    """Clicks depend on the tab, conversions of clicks on the video's length."""
    dice = random.Random(seed)
    rows = []
    for n in range(days * ROWS_A_DAY):
        tab, video = dice.randrange(TABS), dice.randrange(VIDEOS)
        click = dice.random() < 0.2 + 0.2 * tab
        long_view = click and dice.random() < (0.2 if video % 2 else 0.8)
        rows.append(
            {
                "user_id": dice.randrange(USERS),
                "video_id": video,
                "time_ms": FIRST_MS + n * DAY_MS // ROWS_A_DAY,
                "tab": tab,
                "is_click": int(click),
                "long_view": int(long_view),
                "duration_ms": 5_000 if video % 2 else 60_000,
            }
        )
    return rows


def write_tiny_log(folder: Path) -> Path:
    """The log's files and the recipe beside them; returns the recipe's path."""
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "events.csv", tiny_events())
    users = [{"user_id": u, "city": ("Lima", "Oslo", "")[u % 3]} for u in range(USERS)]
    write_csv(folder / "users.csv", users)
    write_csv(folder / "videos.csv", [{"video_id": v, "author_id": v // 2} for v in range(VIDEOS)])
    shutil.copy(TINY, folder / "tiny.py")
    return folder / "tiny.py"


def write_tiny_days(folder: Path, days: int = 7) -> Path:
    """The same with a file of events a day, which the recipe names with {DATE}."""
    recipe = write_tiny_log(folder)
    (folder / "events.csv").unlink()
    rows = tiny_events(days=days)
    for day in range(days):
        mine = rows[day * ROWS_A_DAY : (day + 1) * ROWS_A_DAY]
        write_csv(folder / f"events-2022-01-{day + 1:02}.csv", mine)
    text = recipe.read_text().replace('events="events.csv"', 'events="events-{DATE}.csv"')
    recipe.write_text(text)
    return recipe


@pytest.fixture(scope="session")
def tiny_days():
    """`write_tiny_days`, for fixtures of whole modules."""
    return write_tiny_days


@pytest.fixture
def tiny_recipe_file(tmp_path):
    return write_tiny_log(tmp_path / "log")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """A wheel built from a copy of the checkout, so that no stale build/ gets in."""
    source = tmp_path_factory.mktemp("checkout")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        if (CHECKOUT / name).exists():
            shutil.copy(CHECKOUT / name, source)
    for folder in ("schemas", "models", "components", "pipeline"):
        shutil.copytree(
            CHECKOUT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    out = tmp_path_factory.mktemp("wheel")
    # The build backend itself, as pip calls it with --no-build-isolation: uv's environment has no
    # pip, and nothing is fetched.
    code = f"from setuptools.build_meta import build_wheel; build_wheel({str(out)!r})"
    subprocess.run(
        [sys.executable, "-c", code], cwd=source, check=True, capture_output=True, timeout=300
    )
    (built,) = out.glob("*.whl")
    return built
