"""`ncs4cvr tickets`: prints and draws what a search found."""

from __future__ import annotations

import argparse
import importlib
import os
from pathlib import Path

from ncs4cvr.pipeline.run.run_folder import LATEST, latest_run, newest_artifact
from ncs4cvr.pipeline.status import DATA_REFUSED, DONE, USAGE, CommandFailed

DOES = "print and draw tickets"
EXAMPLE = """example:
  ncs4cvr tickets runs/kuairand --png tickets.png"""


def add_options(command: argparse.ArgumentParser) -> None:
    """Folder and picture."""
    command.add_argument(
        "folder",
        nargs="?",
        default="",
        metavar="RUN_DIR",
        help=f"a run's folder, or one that holds tickets.json (default: {LATEST})",
    )
    command.add_argument("--png", metavar="FILE", help="draw them, too")


def main(options: argparse.Namespace) -> int:
    """Prints the tickets of a folder."""
    from ncs4cvr.pipeline.display import chatter_to

    folder = str(tickets_folder(Path(options.folder or latest_run())))
    with chatter_to(Path(os.devnull)):
        # By name: the pipeline itself imports no model code.
        tickets = importlib.import_module("ncs4cvr.models.pruning.tickets")
        try:
            told = tickets.show(folder, options.png)
        except ValueError as error:
            raise CommandFailed(DATA_REFUSED, str(error)) from error
    print(told)
    return DONE


def tickets_folder(folder: Path) -> Path:
    """The folder itself, or a run's latest tickets.

    Raises:
      CommandFailed: there are none.
    """
    if (folder / "tickets.json").is_file():
        return folder.resolve()
    try:
        return newest_artifact(folder, "TicketSearch/tickets", "tickets.json").resolve()
    except FileNotFoundError:
        raise CommandFailed(
            USAGE,
            f"no tickets in {folder}; give the folder of a run (runs/<recipe>) or one that holds "
            "tickets.json",
        ) from None
