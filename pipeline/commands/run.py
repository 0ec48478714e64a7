"""`ncs4cvr run`: from raw logs to a pushed model."""

from __future__ import annotations

import argparse
import json
import logging
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ncs4cvr.pipeline import recipe_files
from ncs4cvr.pipeline.commands.tickets import tickets_folder
from ncs4cvr.pipeline.status import DATA_REFUSED, FAULT, NOT_BLESSED, PUSHED, CommandFailed
from ncs4cvr.schemas.recipe import Recipe

if TYPE_CHECKING:
    from ncs4cvr.pipeline.display import Display

DOES = "from raw logs to a pushed model"
EXAMPLE = """example:
  ncs4cvr run kuairand --set sharing=shared_bottom --root /tmp/trials

exit status: 0 blessed and pushed, 1 a fault, 2 a wrong command or recipe, 3 not blessed and
nothing pushed, 4 the data was refused"""


def add_options(command: argparse.ArgumentParser) -> None:
    """Recipe, root, settings and tickets."""
    names = ", ".join(recipe_files.built_in_names())
    command.add_argument(
        "recipe", nargs="?", default="kuairand", help=f"built in ({names}) or a .py file"
    )
    command.add_argument("--root", default="runs", help="where to keep runs (default: runs)")
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe"
    )
    command.add_argument("--tickets", metavar="DIR", help="tickets of an earlier run: no search")


def main(options: argparse.Namespace) -> int:
    """Runs the pipeline; prints what came out."""
    from ncs4cvr.pipeline.display import Display, chatter_to

    recipe = recipe_files.load(options.recipe, tuple(options.set))
    tickets = tickets_folder(Path(options.tickets)) if options.tickets else None
    folder = Path(options.root).resolve() / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "run.log"
    with chatter_to(log) as terminal, Display(terminal) as display:
        display.say(f"recipe {recipe.name}; what it makes goes to {folder}, chatter to run.log")
        try:
            summary, text = _run(recipe, folder, tickets, display)
        except Exception as error:
            logging.exception("the run failed")
            raise _explained(error, log) from error
    print(text)
    return PUSHED if summary["blessed"] else NOT_BLESSED


def _run(recipe: Recipe, folder: Path, tickets: Path | None, display: Display) -> tuple[dict, str]:
    began = time.monotonic()
    display.start("Loading")
    from ncs4cvr.pipeline import local
    from ncs4cvr.pipeline.summary import summarize, table

    display.end(f"{time.monotonic() - began:.1f} s")
    steps = local.run(recipe, folder, tickets, display)
    summary = summarize(recipe, steps, local.peak_rss_mb())
    new = folder / "summary.json.new"
    new.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    new.replace(folder / "summary.json")
    return summary, table(recipe, summary)


def _explained(error: Exception, log: Path) -> CommandFailed:
    """The exit status and message for what a run raised."""
    from ncs4cvr.components.data_gate import DataRefused
    from ncs4cvr.components.records import LogError
    from ncs4cvr.pipeline.local import ComponentFailed

    told = f"{error}\nAll that was logged: {log}"
    if isinstance(error, BlockingIOError):
        return CommandFailed(FAULT, f"another run is at work in {log.parent}; wait for its end")
    cause = error.__cause__ if isinstance(error, ComponentFailed) else error
    if isinstance(cause, LogError | DataRefused):
        return CommandFailed(DATA_REFUSED, told)
    if isinstance(error, ComponentFailed):
        told += "\nWhat is finished is kept; the next run goes on from there"
    return CommandFailed(FAULT, told)
