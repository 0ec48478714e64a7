"""The command line, `ncs4cvr COMMAND ...`: what the commands have in common."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import sys
import traceback
from collections.abc import Sequence

from ncs4cvr.pipeline import commands, recipe_files
from ncs4cvr.pipeline.commands import run
from ncs4cvr.pipeline.status import (
    FAULT,
    INTERRUPTED,
    TERMINATED,
    USAGE,
    CommandFailed,
    Terminated,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit status."""
    options = parser().parse_args(argv)
    try:
        return options.command(options)
    except KeyboardInterrupt as stop:
        status = TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
        message = "interrupted"
        if options.command is run.main:
            message += "; the next run goes on from what is finished"
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


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(
        prog="ncs4cvr",
        description="Trains CTR and CVR models from video logs and pushes them for serving.",
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
