"""`ncs4cvr rows`: the joined rows of a run, as `predict` takes them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ncs4cvr.pipeline.status import DATA_REFUSED, DONE, FAULT, USAGE, CommandFailed

DOES = "write a run's joined rows, for predict"
EXAMPLE = """example:
  ncs4cvr rows runs/kuairand --output rows.parquet
  ncs4cvr rows runs/kuairand --split train --output rows.csv
  ncs4cvr predict runs/kuairand/serving --input rows.parquet --output scores.parquet

The rows are those that VideoLogExampleGen made for the last run that finished: columns of the log,
its users and videos, labels, tallies and histories, as they were at the impression. A missing value
is null, or an empty cell of CSV; a history is a list, in CSV one of JSON. Times are milliseconds
since 1970 UTC; of a log with times in seconds, timestamps or ISO texts."""


def add_options(command: argparse.ArgumentParser) -> None:
    """Run, split and output."""
    command.add_argument("run", metavar="RUN_DIR", help="runs/<recipe>")
    command.add_argument("--split", default="test", help="of the recipe (default: %(default)s)")
    command.add_argument(
        "--output", required=True, metavar="FILE", help="a new file: .parquet, .csv or .jsonl"
    )


def main(options: argparse.Namespace) -> int:
    """Writes the file."""
    from ncs4cvr.pipeline.display import Display, chatter_to

    output = Path(options.output)
    if output.exists():
        raise CommandFailed(USAGE, f"{output} exists; remove it or give another --output")
    with chatter_to(Path(os.devnull)) as terminal, Display(terminal) as display:
        from ncs4cvr.pipeline.run import recovery
        from ncs4cvr.pipeline.serving import joined_rows
        from ncs4cvr.pipeline.serving.predict import check_output
        from ncs4cvr.pipeline.serving.rows import InputError

        try:
            check_output(output, joined_rows.ENDINGS)
            try:
                examples = joined_rows.find(Path(options.run), options.split)
            except FileNotFoundError as error:
                raise CommandFailed(USAGE, str(error)) from error
            display.start("rows")
            count = joined_rows.write(examples, output)
        except InputError as error:
            raise CommandFailed(DATA_REFUSED, str(error)) from error
        except recovery.Unreadable as error:
            raise CommandFailed(FAULT, str(error)) from error
    print(f"{count:,} rows of the split {options.split!r} written to {output}")
    return DONE
