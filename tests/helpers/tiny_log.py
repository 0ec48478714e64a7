"""A tiny log with its recipe, tiny_recipe.py."""

import csv
import random
import shutil
from pathlib import Path

TINY = Path(__file__).with_name("tiny_recipe.py")
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
