"""`ncs4cvr run`: from raw logs to a pushed model."""

from __future__ import annotations

import argparse
import errno
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncs4cvr.pipeline import beam, recipe_files
from ncs4cvr.pipeline.commands.tickets import tickets_folder
from ncs4cvr.pipeline.run import days, durable, history, interruption, lock
from ncs4cvr.pipeline.run.run_record import LOADING, RunRecord
from ncs4cvr.pipeline.status import (
    DATA_REFUSED,
    FAULT,
    INTERRUPTED,
    NOT_BLESSED,
    PUSHED,
    TERMINATED,
    USAGE,
    CommandFailed,
    Terminated,
)
from ncs4cvr.schemas.recipe import Recipe

if TYPE_CHECKING:
    from ncs4cvr.pipeline.display import Display

DOES = "from raw logs to a pushed model"
EXAMPLE = """example:
  ncs4cvr run kuairand --set sharing=shared_bottom --root /tmp/trials
  ncs4cvr run my_log.py --date yesterday
  ncs4cvr run my_log.py --from 2022-05-02 --to yesterday

A recipe's .py file is code and is run, so take it from nobody whom you do not trust; a .json file,
as Recipe.to_json writes it, is only read.

A day is the last one of the recipe's last split; the other splits keep their distance to it. --from
and --to leave out the days that this recipe has done, so the same command goes on after a fault.

exit status: 0 blessed and pushed, 1 a fault, 2 a wrong command or recipe, 3 nothing pushed (not
blessed, rolled back from, or of an earlier day than what is served), 4 the data was refused, 130
and 143 stopped by SIGINT, SIGTERM"""


def add_options(command: argparse.ArgumentParser) -> None:
    """Recipe, root, settings and tickets."""
    names = ", ".join(recipe_files.built_in_names())
    command.add_argument(
        "recipe",
        nargs="?",
        default="kuairand",
        help=f"built in ({names}), a .py file or a .json file",
    )
    command.add_argument("--root", default="runs", help="where to keep runs (default: runs)")
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe"
    )
    beam.add_option(command)
    command.add_argument("--tickets", metavar="DIR", help="tickets of an earlier run: no search")
    days.add_options(command)


def main(options: argparse.Namespace) -> int:
    """Runs the pipeline; prints what came out and notes it in the run's history."""
    if days.several(options):
        return days.each(options, main)
    recipe = days.recipe_of(options)
    try:
        beam.check(recipe.beam)
    except ValueError as error:
        raise CommandFailed(USAGE, str(error)) from error
    tickets = tickets_folder(Path(options.tickets)) if options.tickets else None
    folder = Path(options.root).resolve() / recipe.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandFailed(
            FAULT, f"{folder} cannot be made ({error.strerror}); give a folder to --root"
        ) from error
    try:
        with interruption.noticed(), lock.only_one(folder, f"run {recipe.name}") as died:
            if died:
                history.add(folder, history.DIED, why=f"{died} ended without a word")
            summary, text = _noted(recipe, folder, tickets, died)
    except (lock.Locked, OSError) as error:
        raise _explained(error, folder / "run.log") from error
    print(text)
    return PUSHED if summary["pushed_to"] else NOT_BLESSED


def _noted(
    recipe: Recipe, folder: Path, tickets: Path | None, died: lock.Holder | None
) -> tuple[dict[str, Any], str]:
    """Runs under the lock; whatever comes of it is noted in the history and reported."""
    from ncs4cvr.pipeline.display import Display, chatter_to
    from ncs4cvr.pipeline.run.meter import Meter

    log = folder / "run.log"
    with chatter_to(log) as terminal, Display(terminal) as display, Meter() as meter:
        record = RunRecord(meter)

        def note(verdict: str, error: Exception | None = None, **facts: Any) -> None:
            history.add(folder, verdict, seconds=round(record.now(), 1), **facts)
            _report(recipe, folder, record, display, error)

        display.say(f"recipe {recipe.name}; what it makes goes to {folder}, chatter to run.log")
        if died:
            display.say(f"the run before died: {died}")
        try:
            summary, text = _run(recipe, folder, tickets, display, record)
        except Exception as error:
            logging.exception("the run failed")
            failed = _explained(error, log)
            verdict = history.REFUSED if failed.status == DATA_REFUSED else history.FAULT
            note(verdict, error, why=_first_line(str(error)))
            raise failed from error
        except KeyboardInterrupt as stop:
            terminated = isinstance(stop, Terminated)
            note(history.INTERRUPTED, status=TERMINATED if terminated else INTERRUPTED)
            raise
        if not summary["blessed"]:
            note(
                history.NOT_BLESSED, why="; ".join(summary["failures"]), metrics=summary["metrics"]
            )
        elif not summary["pushed_to"]:
            note(history.NOT_PUSHED, why=summary["not_pushed"], metrics=summary["metrics"])
        else:
            version = Path(summary["pushed_to"]).name
            note(history.PUSHED, version=version, metrics=summary["metrics"])
    return summary, text


def _run(
    recipe: Recipe, folder: Path, tickets: Path | None, display: Display, record: RunRecord
) -> tuple[dict[str, Any], str]:
    display.start(LOADING)
    from ncs4cvr.pipeline.run import local
    from ncs4cvr.pipeline.run.summary import summarize, table

    record.loaded = record.now()
    display.end(f"{record.loaded:.1f} s")
    local.run(recipe, folder, tickets, display, record)
    summary = summarize(recipe, record, local.peak_rss_mb())
    durable.write(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    return summary, table(recipe, summary)


def _report(
    recipe: Recipe, folder: Path, record: RunRecord, display: Display, stop: Exception | None
) -> None:
    """Writes the report; a run is what it is without one, too."""
    if not record.loaded:
        return  # stopped while libraries were loaded: there is nothing to tell
    from ncs4cvr.pipeline import report

    display.start("Report")
    try:
        began = record.now()
        report.write(recipe, folder, record, stop)
        display.end(f"{record.now() - began:.1f} s")
    except Exception as error:
        logging.exception("no report")
        display.end("failed")
        display.say(f"! no report of this run: {error}; all that was logged: {folder / 'run.log'}")


def _explained(error: Exception, log: Path) -> CommandFailed:
    """The exit status and message for what a run raised."""
    if isinstance(error, lock.Locked):
        return CommandFailed(FAULT, str(error))
    told = f"{error}\nAll that was logged: {log}"
    if cure := _cure(error, log.parent):
        return CommandFailed(FAULT, f"{error}\n{cure}")
    from ncs4cvr.components.data_gate import DataRefused
    from ncs4cvr.components.log.records import LogError
    from ncs4cvr.pipeline.run.local import ComponentFailed

    cause = error.__cause__ if isinstance(error, ComponentFailed) else error
    if isinstance(cause, LogError | DataRefused):
        return CommandFailed(DATA_REFUSED, told)
    if isinstance(error, ComponentFailed):
        told += "\nWhat is finished is kept; the next run goes on from there"
    return CommandFailed(FAULT, told)


def _first_line(text: str) -> str:
    """The first line, and the next where it only announces that."""
    first, _, rest = text.partition("\n")
    return f"{first} {rest.partition(chr(10))[0].strip()}" if first.endswith(":") else first


FULL_BYTES = 4 << 20
#: What libraries that raise no OSError say of a full disk.
FULL = ("no space left on device", "disk is full", "disk quota exceeded")


def _cure(error: BaseException, folder: Path) -> str:
    """What to do about a full disk or a file that may not be touched; "" for anything else."""
    for cause in _causes(error):
        number = getattr(cause, "errno", None)
        free = _free(folder)
        if (
            number in (errno.ENOSPC, errno.EDQUOT)
            or any(words in str(cause).lower() for words in FULL)
            or (number is None and free < FULL_BYTES)  # some libraries do not say why
        ):
            return (
                f"The disk of {folder} is full ({free / 1e6:,.0f} MB free): make room and run "
                "again; what is finished is kept"
            )
        if isinstance(cause, PermissionError) or number == errno.EROFS:
            where = getattr(cause, "filename", None) or folder
            return (
                f"{where} may not be read or written by this user: give the user the right "
                f"(chown, chmod), or run with another --root; then run again"
            )
    return ""


def _free(folder: Path) -> int:
    return shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
