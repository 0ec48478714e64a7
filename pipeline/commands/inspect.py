"""`ncs4cvr inspect`: what is in an exported model."""

from __future__ import annotations

import argparse
import importlib
import json
import os
from pathlib import Path

from ncs4cvr.pipeline.status import DATA_REFUSED, DONE, CommandFailed

DOES = "tell what is in an exported model"
EXAMPLE = """example:
  ncs4cvr inspect runs/kuairand/serving

It tells the bytes of every part against the information limit, what each task's ticket keeps and
where they overlap, how layers are computed, the ops and the signatures."""


def add_options(command: argparse.ArgumentParser) -> None:
    """Model and format."""
    command.add_argument("model", metavar="MODEL_DIR", help="a SavedModel or a serving directory")
    command.add_argument("--json", action="store_true", help="for machines")


def main(options: argparse.Namespace) -> int:
    """Prints it."""
    from ncs4cvr.pipeline.display import chatter_to

    with chatter_to(Path(os.devnull)):
        from ncs4cvr.pipeline.serving.predict import newest_version
        from ncs4cvr.pipeline.serving.rows import InputError

        try:
            folder = newest_version(Path(options.model))
            # By name: the pipeline itself imports no model code.
            inspection = importlib.import_module("ncs4cvr.models.packed.inspection")
            found = inspection.facts(str(folder))
        except (InputError, ValueError) as error:
            raise CommandFailed(DATA_REFUSED, str(error)) from error
        told = json.dumps(found, indent=1) if options.json else inspection.report(found)
    print(told)
    return DONE
