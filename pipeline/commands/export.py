"""`ncs4cvr export`: a finished run's model once more, packed otherwise."""

from __future__ import annotations

import argparse
import importlib
import os
import typing
from pathlib import Path

from ncs4cvr.pipeline.run.run_folder import newest_artifact
from ncs4cvr.pipeline.status import DATA_REFUSED, DONE, USAGE, CommandFailed
from ncs4cvr.schemas.recipe import Recipe

DOES = "export a run's model once more, packed otherwise"
EXAMPLE = """example:
  ncs4cvr export runs/kuairand --weights bf16 --embeddings int8 --output small/1
  ncs4cvr export runs/kuairand --plain --output for_onnx

What is not given stays as the run's recipe has it. --plain makes dense float32 variables, for
converters to ONNX, OpenVINO or TFLite: they cannot read weights that a model unpacks at load."""
KEYS = {  # of the recipe
    "weights": "of what tickets keep",
    "embeddings": "int8: each row with a scale of its own",
    "compute": "auto: what this machine does faster",
}


def add_options(command: argparse.ArgumentParser) -> None:
    """Run, output, and how to pack."""
    command.add_argument("run", metavar="RUN_DIR", help="runs/<recipe>")
    command.add_argument("--output", required=True, metavar="DIR", help="a new folder")
    kinds = typing.get_type_hints(Recipe)
    for name, told in KEYS.items():
        command.add_argument(f"--{name}", choices=typing.get_args(kinds[name]), help=told)
    command.add_argument("--plain", action="store_true", help="dense float32 variables")


def main(options: argparse.Namespace) -> int:
    """Writes the SavedModel."""
    from ncs4cvr.pipeline.display import chatter_to

    run, output = Path(options.run), Path(options.output)
    if output.exists():
        raise CommandFailed(USAGE, f"{output} exists; name a new folder")
    changes = {name: getattr(options, name) for name in KEYS if getattr(options, name)}
    if options.plain and changes:
        raise CommandFailed(USAGE, f"--plain packs nothing: leave out --{next(iter(changes))}")
    with chatter_to(Path(os.devnull)):
        from ncs4cvr.components import checksums

        again = importlib.import_module("ncs4cvr.models.serving.export_again")
        try:
            model = newest_artifact(run, "Trainer/model_run", "weights.npz")
            if damage := checksums.damage(str(model)):
                raise CommandFailed(
                    DATA_REFUSED,
                    f"{model} is damaged: {', '.join(damage[:3])}; the next `ncs4cvr run` makes it "
                    "anew",
                )
            artifacts = str(run / "artifacts")
            again.export_again(str(model), artifacts, str(output), changes, options.plain)
        except (FileNotFoundError, ValueError) as error:
            raise CommandFailed(USAGE, str(error)) from error
        inspection = importlib.import_module("ncs4cvr.models.packed.inspection")
        told = inspection.report(inspection.facts(str(output)))
    print(f"{told}\n\nexported to {output}")
    return DONE
