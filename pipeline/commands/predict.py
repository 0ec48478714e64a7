"""`ncs4cvr predict`: scores a file."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ncs4cvr.pipeline.status import DATA_REFUSED, DONE, CommandFailed

DOES = "score a file"
EXAMPLE = """example:
  ncs4cvr rows runs/kuairand --output impressions.parquet
  ncs4cvr predict runs/kuairand/serving --input impressions.parquet --output scores.csv

The file holds the columns that the model was trained on: of the log, its users and videos, and
tallies and histories as VideoLogExampleGen names them; `ncs4cvr rows` writes one for a run's rows.
In a CSV file a history is a JSON list.
Cells become numbers and text as they do where a log is read for training, times as well: numbers of
Log.time_unit, timestamps or ISO texts. Other columns are handed on, but one that is called like an
output, whose place the score takes; those of CSV and JSON lines stay text."""


def add_options(command: argparse.ArgumentParser) -> None:
    """Model, input and output."""
    command.add_argument("model", metavar="MODEL_DIR", help="a SavedModel or a serving directory")
    command.add_argument("--input", required=True, metavar="FILE", help=".parquet, .csv or .jsonl")
    command.add_argument("--output", metavar="FILE", help=".csv or .parquet (default: CSV, stdout)")


def main(options: argparse.Namespace) -> int:
    """Writes the scores beside the rows."""
    from ncs4cvr.pipeline.display import chatter_to

    with chatter_to(Path(os.devnull)):
        from ncs4cvr.pipeline.serving.predict import check_output, score_file, write
        from ncs4cvr.pipeline.serving.rows import InputError

        try:
            if options.output:
                check_output(Path(options.output))
            rows = score_file(Path(options.model), Path(options.input))
            if options.output:
                write(rows, Path(options.output))
        except InputError as error:
            raise CommandFailed(DATA_REFUSED, str(error)) from error
    if not options.output:
        write(rows, sys.stdout)
    return DONE
