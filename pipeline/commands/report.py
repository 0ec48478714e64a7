"""`ncs4cvr report`: opens the report of a run."""

from __future__ import annotations

import argparse
import json
import os
import sys
import webbrowser
from pathlib import Path

from ncs4cvr.pipeline.report import FACTS, PAGE
from ncs4cvr.pipeline.run import history
from ncs4cvr.pipeline.run.run_folder import LATEST, latest_run
from ncs4cvr.pipeline.status import DONE, USAGE, CommandFailed

DOES = "open the report of a run"
EXAMPLE = """example:
  ncs4cvr report
  ncs4cvr report runs/my_log --no-open

Prints the report's path, and opens it in a browser where there is a display. Beside it lie
report.json (the same facts for machines) and model_card.md."""


def add_options(command: argparse.ArgumentParser) -> None:
    """Folder, and whether to open."""
    command.add_argument(
        "folder",
        nargs="?",
        default="",
        metavar="RUN_DIR",
        help=f"a run's folder (default: {LATEST})",
    )
    command.add_argument("--no-open", action="store_true", help="only print the path")


def main(options: argparse.Namespace) -> int:
    """Prints and opens it."""
    folder = Path(options.folder or latest_run())
    path = (folder / PAGE).resolve()
    if not path.is_file():
        raise CommandFailed(
            USAGE,
            f"no report in {folder}; every run writes one at its end: give the folder of a run "
            "(runs/<recipe>)",
        )
    if told := newer(folder):
        print(f"ncs4cvr: {told}", file=sys.stderr)
    print(path)
    if not options.no_open and has_display():
        webbrowser.open(path.as_uri())
    return DONE


def newer(folder: Path) -> str:
    """What the history knows that the report does not: a run that ended without one."""
    ended = json.loads((folder / FACTS).read_text(encoding="utf-8"))["run"]["ended"]
    later = [line for line in history.read(folder) if line["ended"] > ended]
    if not later:
        return ""
    last = later[-1]
    return (
        f"later than this report: {last['verdict']}, {last['ended']} {last.get('why', '')}".rstrip()
    )


def has_display() -> bool:
    """Whether a browser would have a screen to open on."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
