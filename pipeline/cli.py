"""The command line: `ncs4cvr run | predict | tickets | init | bench`.

What a command needs is imported when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ncs4cvr.pipeline import recipe_files, starter_options
from ncs4cvr.schemas.recipe import Recipe

PUSHED, FAULT, USAGE, NOT_BLESSED, DATA_REFUSED, INTERRUPTED = 0, 1, 2, 3, 4, 130


class CommandFailed(Exception):
    """Ends a command with an exit status and a message for people."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status."""
    options = parser().parse_args(argv)
    try:
        return options.command(options)
    except KeyboardInterrupt:
        status, message = INTERRUPTED, "interrupted; the next run goes on from what is finished"
    except CommandFailed as error:
        status, message = error.status, str(error)
    except recipe_files.RecipeError as error:
        status, message = USAGE, str(error)
    except Exception as error:
        status, message = FAULT, f"{type(error).__name__}: {error}"
    if options.debug:
        traceback.print_exc()
    print(f"ncs4cvr: {message}", file=sys.stderr)
    return status


# -- run -----------------------------------------------------------------------------------


def run(options: argparse.Namespace) -> int:
    """`ncs4cvr run`."""
    from ncs4cvr.pipeline.display import Display, chatter_to

    recipe = recipe_files.load(options.recipe, tuple(options.set))
    tickets = _tickets_folder(Path(options.tickets)) if options.tickets else None
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


def _run(recipe: Recipe, folder: Path, tickets: Path | None, display: Any) -> tuple[dict, str]:
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


# -- tickets -------------------------------------------------------------------------------


def tickets(options: argparse.Namespace) -> int:
    """`ncs4cvr tickets`."""
    from ncs4cvr.pipeline.display import chatter_to

    folder = str(_tickets_folder(Path(options.folder)))
    with chatter_to(Path(os.devnull)):
        # By name: the pipeline itself imports no model code.
        told = importlib.import_module("ncs4cvr.models.tickets").show(folder, options.png)
    print(told)
    return PUSHED


def _tickets_folder(folder: Path) -> Path:
    """The folder itself, or a run's latest tickets."""
    if (folder / "tickets.json").is_file():
        return folder.resolve()
    found = folder.glob("artifacts/TicketSearch/tickets/*/tickets.json")
    latest = max(found, key=lambda path: int(path.parent.name), default=None)
    if latest is None:
        raise CommandFailed(
            USAGE,
            f"no tickets in {folder}; give the folder of a run (runs/<recipe>) or one that holds "
            "tickets.json",
        )
    return latest.parent.resolve()


# -- predict, init -------------------------------------------------------------------------


def predict(options: argparse.Namespace) -> int:
    """`ncs4cvr predict`."""
    from ncs4cvr.pipeline.display import chatter_to

    with chatter_to(Path(os.devnull)):
        from ncs4cvr.pipeline.predict import InputError, score_file, write

        try:
            rows = score_file(Path(options.model), Path(options.input))
            if options.output:
                write(rows, Path(options.output))
        except InputError as error:
            raise CommandFailed(DATA_REFUSED, str(error)) from error
    if not options.output:
        rows.to_csv(sys.stdout, index=False)
    return PUSHED


def init(options: argparse.Namespace) -> int:
    """`ncs4cvr init`."""
    from ncs4cvr.pipeline.display import chatter_to

    with chatter_to(Path(os.devnull)):
        from ncs4cvr.components.records import LogError
        from ncs4cvr.pipeline.starter import write_starter

        try:
            told = write_starter(options)
        except LogError as error:
            raise CommandFailed(USAGE, str(error)) from error
    print(told)
    return PUSHED


# -- bench ---------------------------------------------------------------------------------


def bench(options: argparse.Namespace) -> int:
    """`ncs4cvr bench`: one of the checkout's scripts, which no wheel holds."""
    folder = Path(__file__).parents[1] / "benchmarks"
    scripts = {path.stem: path for path in sorted(folder.glob("*.py"))}
    if not scripts:
        raise CommandFailed(
            USAGE,
            f"no benchmarks in {folder}: they come with the source, not with the package; run this "
            "in an environment that `make env` made in a checkout",
        )
    if options.name not in scripts:
        known = ", ".join(scripts)
        raise CommandFailed(USAGE, f"no benchmark {options.name!r}; there are: {known}")
    # It takes this process's place, so that Ctrl-C reaches it alone.
    os.execv(sys.executable, [sys.executable, str(scripts[options.name]), *options.arguments])


# -- arguments -----------------------------------------------------------------------------


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(
        prog="ncs4cvr",
        description="Trains CTR and CVR models from video logs and pushes them for serving.",
    )
    version = importlib.metadata.version("ncs4cvr")
    top.add_argument("--version", action="version", version=f"ncs4cvr {version}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    _run_options(_command(commands, "run", run, "from raw logs to a pushed model", RUN))
    _predict_options(_command(commands, "predict", predict, "score a file", PREDICT))
    _tickets_options(_command(commands, "tickets", tickets, "print and draw tickets", TICKETS))
    starter_options.add_options(
        _command(commands, "init", init, "write a recipe for your own log", INIT)
    )
    _bench_options(_command(commands, "bench", bench, "run a benchmark of the checkout", BENCH))
    return top


INIT = """example:
  ncs4cvr init --events impressions.csv --users users.csv --output my_log.py
  ncs4cvr run my_log.py"""

RUN = """example:
  ncs4cvr run kuairand --set sharing=shared_bottom --root /tmp/trials

exit status: 0 blessed and pushed, 1 a fault, 2 a wrong command or recipe, 3 not blessed and
nothing pushed, 4 the data was refused"""

PREDICT = """example:
  ncs4cvr predict runs/kuairand/serving --input impressions.parquet --output scores.csv

The file holds the columns that the model was trained on: of the log, its users and videos, and
tallies and histories as VideoLogExampleGen names them. In a CSV file a history is a JSON list."""

TICKETS = """example:
  ncs4cvr tickets runs/kuairand --png tickets.png"""

BENCH = """example:
  ncs4cvr bench quality kuairand --quick

What follows the name goes to the benchmark; `ncs4cvr bench quality --help` shows its options."""


def _command(commands: Any, name: str, function: Any, does: str, example: str) -> Any:
    command = commands.add_parser(
        name,
        help=does,
        description=does,
        epilog=example,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--debug", action="store_true", help="show tracebacks")
    command.set_defaults(command=function)
    return command


def _run_options(command: argparse.ArgumentParser) -> None:
    names = ", ".join(recipe_files.built_in_names())
    command.add_argument(
        "recipe", nargs="?", default="kuairand", help=f"built in ({names}) or a .py file"
    )
    command.add_argument("--root", default="runs", help="where to keep runs (default: runs)")
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe"
    )
    command.add_argument("--tickets", metavar="DIR", help="tickets of an earlier run: no search")


def _predict_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", metavar="MODEL_DIR", help="a SavedModel or a serving directory")
    command.add_argument("--input", required=True, metavar="FILE", help=".parquet, .csv or .jsonl")
    command.add_argument("--output", metavar="FILE", help=".csv or .parquet (default: CSV, stdout)")


def _tickets_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", nargs="?", default="runs/kuairand", metavar="RUN_DIR")
    command.add_argument("--png", metavar="FILE", help="draw them, too")


def _bench_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("name", metavar="NAME", help="quality, ...: a script in benchmarks/")
    command.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="its options")
