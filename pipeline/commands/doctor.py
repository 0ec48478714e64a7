"""`ncs4cvr doctor`: looks for what is wrong with environment and runs, and says the cure."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ncs4cvr.pipeline.status import DONE, FAULT

DOES = "look for what is wrong, and say the cure"
EXAMPLE = """example:
  ncs4cvr doctor
  ncs4cvr doctor /tmp/trials

It changes nothing. Exit status: 0 all is well, 1 something is not."""


def add_options(command: argparse.ArgumentParser) -> None:
    """Root."""
    command.add_argument("root", nargs="?", default="runs", help="where runs are (default: runs)")


def main(options: argparse.Namespace) -> int:
    """Prints one line a check."""
    from ncs4cvr.pipeline.display import chatter_to

    with chatter_to(Path(os.devnull)):
        from ncs4cvr.pipeline import checkup

        found = [*checkup.environment(), *checkup.root(Path(options.root))]
    for finding in found:
        print(finding)
    wrong = sum(not finding.fine for finding in found)
    print(f"\n{wrong} of {len(found)} checks failed" if wrong else "\nall is well")
    return FAULT if wrong else DONE
