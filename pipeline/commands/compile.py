"""`ncs4cvr compile`: a recipe as a pipeline for Kubeflow."""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ncs4cvr.pipeline import beam, recipe_files
from ncs4cvr.pipeline.secrets import hidden
from ncs4cvr.pipeline.status import DONE, USAGE, CommandFailed

if TYPE_CHECKING:
    from ncs4cvr.pipeline.kubeflow.resources import Resources
    from ncs4cvr.schemas.recipe import Recipe

DOES = "write a pipeline for Kubeflow"
EXAMPLE = """example:
  ncs4cvr compile my_log.py --image registry/ncs4cvr:1 --root gs://bucket/my_log \\
      --output pipeline.yaml

Files of the log, days, gates, image and Beam's arguments can be set anew for every run of the
pipeline; see docs/production.md."""


def add_options(command: argparse.ArgumentParser) -> None:
    """Recipe, image, output, and what a step may use."""
    command.add_argument("recipe", help="built in, a .py file (is run) or a .json file")
    command.add_argument("--image", required=True, help="image that has ncs4cvr installed")
    command.add_argument("--root", required=True, help="folder that all runs share: gs://, a mount")
    command.add_argument(
        "--output", default="pipeline.yaml", metavar="FILE", help="default: %(default)s"
    )
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change the recipe"
    )
    beam.add_option(command)
    command.add_argument(
        "--resources",
        action="append",
        default=[],
        metavar="STEP=cpu:4,memory:16,gpu:1",
        help="of a step such as Trainer (memory in GB)",
    )
    command.add_argument(
        "--volume",
        action="append",
        default=[],
        metavar="CLAIM:PATH",
        help="mount a persistent volume claim in every step",
    )
    command.add_argument("--retries", type=int, default=2, help="of a failed step (default: 2)")
    command.add_argument("--no-cache", action="store_true", help="run every step anew")


def main(options: argparse.Namespace) -> int:
    """Writes the pipeline."""
    from ncs4cvr.pipeline.display import chatter_to

    recipe = recipe_files.load(options.recipe, tuple(options.set), tuple(options.beam))
    volumes = tuple(map(volume, options.volume))
    with chatter_to(Path(os.devnull)):
        from ncs4cvr.pipeline.kubeflow import spec
        from ncs4cvr.pipeline.kubeflow.resources import Options

        try:
            text = spec.compile_pipeline(
                recipe,
                Options(
                    image=options.image,
                    root=options.root.rstrip("/"),
                    beam_args=beam.arguments(recipe.beam),
                    resources=resources(options.resources),
                    retries=options.retries,
                    cache=not options.no_cache,
                    volumes=volumes,
                ),
            )
        except ValueError as error:
            raise CommandFailed(USAGE, str(error)) from error
    Path(options.output).write_text(text, encoding="utf-8")
    for warning in unseen(recipe, options.root, [path for _, path in volumes]):
        print(hidden(f"ncs4cvr: warning: {warning}"), file=sys.stderr)
    print(f"{options.output}: pipeline {spec.pipeline_name(recipe)}, image {options.image}")
    return DONE


def resources(settings: Sequence[str]) -> tuple[tuple[str, Resources], ...]:
    """Parses `Trainer=cpu:4,memory:16,gpu:1` and more of them, which add up from first to last.

    What none of them names stays as the step has it by default.

    >>> resources(["Trainer=cpu:8", "Trainer=gpu:1"])
    (('Trainer', Resources(cpu=8.0, memory=16, gpu=1, gpu_type='nvidia.com/gpu')),)
    """
    from ncs4cvr.pipeline.kubeflow.resources import default_of

    kinds = {"cpu": float, "memory": float, "gpu": int, "gpu_type": str}
    found: dict[str, Resources] = {}
    for setting in settings:
        step, _, rest = setting.partition("=")
        try:
            pairs = [part.split(":", 1) for part in rest.split(",")]
            named: dict[str, Any] = {key: kinds[key](value) for key, value in pairs}
            found[step] = dataclasses.replace(found.get(step, default_of(step)), **named)
        except (KeyError, ValueError) as error:
            raise CommandFailed(
                USAGE,
                f"--resources {setting!r} cannot be read ({error}); expected "
                f"STEP=cpu:4,memory:16,gpu:1 with {', '.join(kinds)}",
            ) from error
    return tuple(found.items())


def volume(setting: str) -> tuple[str, str]:
    """Parses `CLAIM:PATH`.

    >>> volume("logs:/mnt/logs")
    ('logs', '/mnt/logs')
    """
    claim, _, path = setting.partition(":")
    if not claim or not path.startswith("/"):
        raise CommandFailed(
            USAGE,
            f"--volume {setting!r} cannot be read; expected CLAIM:/PATH, such as logs:/mnt/logs",
        )
    return claim, path


def unseen(recipe: Recipe, root: str, volumes: Sequence[str]) -> Iterator[str]:
    """What steps see of no volume: a warning each for the root and for the log's files.

    No errors, since an image may hold files, and a cluster may mount what is not told here.

    Args:
      recipe: as its log was located on this machine.
      root: the folder that all runs share.
      volumes: where steps see them.
    """
    from ncs4cvr.pipeline.kubeflow.plan import FILES

    def lost(path: str) -> bool:
        on_volume = any(PurePosixPath(path).is_relative_to(volume) for volume in volumes)
        return path.startswith("/") and not on_volume

    if lost(root):
        yield (
            f"--root {root} is on no --volume, and what a step writes there no other step sees; "
            f"give --volume CLAIM:{root} or a root such as gs://BUCKET/FOLDER"
        )
    files = {key: getattr(recipe.log, key) for key in FILES}
    mine = [f"{key} {globs}" for key, globs in files.items() if any(map(lost, globs.split(",")))]
    if mine:
        yield (
            f"{', '.join(mine)}: on no --volume, so steps see these files of the log in the image "
            "at most; name files as steps see them: gs://BUCKET/FILE, or a path on a --volume "
            "CLAIM:/PATH, in the recipe or with --param of `ncs4cvr submit` and `schedule`"
        )
