"""`ncs4cvr init`: writes a recipe for a log."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ncs4cvr.pipeline.init import starter_options
from ncs4cvr.pipeline.status import DONE, USAGE, CommandFailed

DOES = "write a recipe for your own log"
EXAMPLE = """example:
  ncs4cvr init --events impressions.csv --users users.csv --output my_log.py
  ncs4cvr run my_log.py"""

add_options = starter_options.add_options


def main(options: argparse.Namespace) -> int:
    """Looks at the files, writes the recipe and says what it took each column for."""
    from ncs4cvr.pipeline.display import chatter_to

    with chatter_to(Path(os.devnull)) as terminal:
        from ncs4cvr.components.log.readers import files
        from ncs4cvr.components.log.records import LogError
        from ncs4cvr.pipeline.init.starter import write_starter

        try:
            patterns = [getattr(options, kind) for kind in starter_options.FILES]
            many = sum(len(files(pattern)) for pattern in patterns)
            print(
                f"reading {many} file{'s' * (many > 1)}, the events twice: days and rates are "
                "counted over all rows",
                file=terminal,
                flush=True,
            )
            told = write_starter(options)
        except LogError as error:
            raise CommandFailed(USAGE, str(error)) from error
    print(told)
    return DONE
