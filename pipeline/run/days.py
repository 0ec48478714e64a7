"""Runs of certain days: `ncs4cvr run --date`, and day by day with `--from` and `--to`."""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from ncs4cvr.pipeline import recipe_files
from ncs4cvr.pipeline.commands.tickets import tickets_folder
from ncs4cvr.pipeline.dates import date_of, named, on_day
from ncs4cvr.pipeline.run import durable
from ncs4cvr.pipeline.status import NOT_BLESSED, PUSHED, USAGE, CommandFailed
from ncs4cvr.schemas.recipe import Recipe


def add_options(command: argparse.ArgumentParser) -> None:
    """Which days to run."""
    command.add_argument("--date", default="", help="day to test on: YYYY-MM-DD, yesterday, today")
    command.add_argument("--from", dest="first", default="", metavar="DATE", help="day by day ...")
    command.add_argument("--to", dest="last", default="", metavar="DATE", help="... to this day")


def recipe_of(options: argparse.Namespace) -> Recipe:
    """The recipe on the day that the options name.

    Raises:
      CommandFailed: that is no day.
    """
    recipe = recipe_files.load(options.recipe, tuple(options.set), tuple(options.beam))
    try:
        return on_day(recipe, options.date)
    except ValueError as error:
        raise CommandFailed(USAGE, str(error)) from error


def several(options: argparse.Namespace) -> bool:
    """Whether --from and --to were given.

    Raises:
      CommandFailed: one without the other, or --date beside them.
    """
    if bool(options.first) != bool(options.last) or (options.first and options.date):
        raise CommandFailed(
            USAGE,
            "days go with --date DAY, or with both --from DAY and --to DAY; came "
            f"--date {options.date!r}, --from {options.first!r}, --to {options.last!r}",
        )
    return bool(options.first)


def each(options: argparse.Namespace, run: Callable[[argparse.Namespace], int]) -> int:
    """Runs every day that is not done, the earliest first; returns the worst exit status.

    A day is done when its run came to an end, whether its model was blessed or not; a fault ends
    the whole. What came of a day is kept in <root>/<recipe>/days.

    Args:
      options: of `ncs4cvr run`.
      run: that command's main.
    """
    status, tickets = PUSHED, _content(options.tickets)
    log = recipe_of(options).log
    for day in between(named(options.first, log), named(options.last, log)):
        mine = argparse.Namespace(**{**vars(options), "date": day, "first": "", "last": ""})
        recipe = recipe_of(mine)
        folder = Path(options.root) / recipe.name
        # Another recipe, or the same one changed, or with other tickets, has not done this day.
        # Where Beam runs is no change.
        told = recipe.replace(beam=()).to_json().encode() + tickets
        digest = hashlib.sha256(told).hexdigest()[:12]
        done = folder / "days" / f"{day}-{digest}.json"
        before = _noted(done)
        if before is not None:
            print(f"{day}: done before", flush=True)
            status = max(status, before)
            continue
        print(f"{day}:", flush=True)
        came = run(mine)
        if came not in (PUSHED, NOT_BLESSED):
            return came
        summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
        done.parent.mkdir(exist_ok=True)
        durable.write(done, json.dumps({"status": came, "summary": summary}, indent=1))
        status = max(status, came)
    return status


def _noted(done: Path) -> int | None:
    """The exit status of a day that is done; None where nothing, or nothing whole, says so."""
    try:
        return int(json.loads(done.read_text(encoding="utf-8"))["status"])
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def _content(tickets: str | None) -> bytes:
    """What tells one folder of tickets from another; nothing where none is given."""
    if not tickets:
        return b""
    files = sorted(path for path in tickets_folder(Path(tickets)).iterdir() if path.is_file())
    return b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)


def between(first: str, last: str) -> list[str]:
    """Every day from the first to the last, both included.

    >>> between("2022-04-30", "2022-05-02")
    ['2022-04-30', '2022-05-01', '2022-05-02']

    Raises:
      CommandFailed: no dates, or the last lies before the first.
    """
    try:
        start, end = date_of(first), date_of(last)
    except ValueError as error:
        raise CommandFailed(USAGE, str(error)) from error
    if end < start:
        raise CommandFailed(USAGE, f"--to {last} lies before --from {first}; swap them")
    return [(start + dt.timedelta(n)).isoformat() for n in range((end - start).days + 1)]
