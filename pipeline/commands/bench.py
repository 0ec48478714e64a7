"""`ncs4cvr bench`: one of the checkout's scripts, which no wheel holds."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ncs4cvr.pipeline.status import USAGE, CommandFailed

DOES = "run a benchmark of the checkout"
EXAMPLE = """example:
  ncs4cvr bench quality kuairand --quick

What follows the name goes to the benchmark; `ncs4cvr bench quality --help` shows its options."""


def add_options(command: argparse.ArgumentParser) -> None:
    """Name, and whatever the benchmark takes."""
    command.add_argument("name", metavar="NAME", help="quality, ...: a script in benchmarks/")
    command.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="its options")


def main(options: argparse.Namespace) -> int:
    """Becomes the benchmark."""
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
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
    # It takes this process's place, so that Ctrl-C reaches it alone. The script is one of the
    # checkout's, and no shell reads the arguments.
    command = [sys.executable, str(scripts[options.name]), *options.arguments]
    os.execv(sys.executable, command)  # noqa: S606  # nosec B606
