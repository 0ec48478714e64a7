"""The command line, `ncs4cvr COMMAND ...`: what the commands have in common."""

from __future__ import annotations

import argparse
import difflib
import importlib
import importlib.metadata
import os
import re
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from ncs4cvr.pipeline import commands, recipe_files
from ncs4cvr.pipeline.commands import run
from ncs4cvr.pipeline.secrets import hidden
from ncs4cvr.pipeline.status import (
    FAULT,
    INTERRUPTED,
    TERMINATED,
    USAGE,
    CommandFailed,
    Terminated,
)

EXAMPLE = """example:
  ncs4cvr init --events impressions.csv --output my_log.py
  ncs4cvr run my_log.py
  ncs4cvr runs

`ncs4cvr COMMAND --help` shows a command's options and examples."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status."""
    options = parser().parse_args(argv)
    try:
        status = options.command(options)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # who read what we print has gone, as `head` does: nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAULT
    except (KeyboardInterrupt, Exception) as error:
        status, message = ending(error, options)
        if options.debug:
            print(hidden(traceback.format_exc()), end="", file=sys.stderr)
    print(hidden(f"ncs4cvr: {message}"), file=sys.stderr)
    return status


def ending(error: BaseException, options: argparse.Namespace) -> tuple[int, str]:
    """The exit status and the message of a command that raised."""
    if isinstance(error, KeyboardInterrupt):
        status = TERMINATED if isinstance(error, Terminated) else INTERRUPTED
        goes_on = "; the next run goes on from what is finished"
        return status, "interrupted" + goes_on * (options.command is run.main)
    if isinstance(error, CommandFailed):
        return error.status, str(error)
    if isinstance(error, recipe_files.RecipeError):
        return USAGE, str(error)
    told = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError):
        return FAULT, f"{told}; check the path, the rights and the room there"
    return FAULT, told + "; --debug shows where, and what to report" * (not options.debug)


class Parser(argparse.ArgumentParser):
    """Says the cure of a wrong command, too."""

    def parse_known_args(self, args=None, namespace=None):
        """As argparse's; but a command refuses itself what it does not know, and by its name."""
        found, rest = super().parse_known_args(args, namespace)
        if rest:
            known = re.findall(r"--[\w-]+", self.format_usage())
            near = [
                match
                for wrong in rest
                for match in difflib.get_close_matches(wrong.partition("=")[0], known, n=1)
            ]
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            self.error(f"unrecognized arguments: {' '.join(rest)}{hint}")
        return found, rest

    def error(self, message: str) -> NoReturn:
        """Ends with status 2; called by argparse, too."""
        print(hidden(f"ncs4cvr: {message}; `{self.prog} --help` shows how"), file=sys.stderr)
        sys.exit(USAGE)


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = Parser(
        prog="ncs4cvr",
        description="Trains CTR and CVR models from video logs and pushes them for serving.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = importlib.metadata.version("ncs4cvr")
    top.add_argument("--version", action="version", version=f"ncs4cvr {version}")
    every = top.add_subparsers(required=True, metavar="COMMAND")
    for name in commands.NAMES:
        module = importlib.import_module(f"{commands.__name__}.{name}")
        command = every.add_parser(
            name,
            help=module.DOES,
            description=module.DOES,
            epilog=module.EXAMPLE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_argument("--debug", action="store_true", help="show tracebacks")
        command.set_defaults(command=module.main)
        module.add_options(command)
    return top
