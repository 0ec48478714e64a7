"""`ncs4cvr kit`: what a user starts TF Serving with."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ncs4cvr.pipeline.status import DONE, USAGE, CommandFailed

DOES = "write what TF Serving is started with"
EXAMPLE = """example:
  ncs4cvr kit runs/kuairand --output kit
  kit/start.sh                      # Docker, this machine
  kubectl apply -k kit              # a fleet
  python kit/client.py --input rows.jsonl"""


def add_options(command: argparse.ArgumentParser) -> None:
    """Run, folder, and what may be chosen."""
    command.add_argument("run", metavar="RUN_DIR", help="a run that pushed a model")
    command.add_argument("--output", required=True, metavar="DIR", help="folder to write to")
    command.add_argument(
        "--name", default="ncs4cvr", help="of the model in the server (default: %(default)s)"
    )
    command.add_argument("--stable", type=int, metavar="VERSION", help="default: the newest")
    command.add_argument("--canary", type=int, metavar="VERSION", help="default: as --stable")
    command.add_argument(
        "--latency-ms", type=float, default=20, help="p99 that a batch may take (default: 20)"
    )
    command.add_argument("--cpus", type=int, default=4, help="of one pod (default: 4)")
    command.add_argument(
        "--batching", action="store_true", help="let the server join requests into batches"
    )
    command.add_argument(
        "--measured", metavar="FILE", help="latencies (default: the run's last serving_check.json)"
    )


def main(options: argparse.Namespace) -> int:
    """Writes the kit."""
    from ncs4cvr.pipeline.display import chatter_to

    with chatter_to(Path(os.devnull)):
        from ncs4cvr.pipeline.serving.batching import KitError
        from ncs4cvr.pipeline.serving.serving_kit import Settings, write_kit

        try:
            settings = Settings(
                name=options.name,
                stable=options.stable,
                canary=options.canary,
                budget_ms=options.latency_ms,
                cpus=options.cpus,
                batching=options.batching,
            )
            measured = Path(options.measured) if options.measured else None
            write_kit(Path(options.run), Path(options.output), settings, measured)
        except KitError as error:
            raise CommandFailed(USAGE, str(error)) from error
    print(f"written to {options.output}; {Path(options.output) / 'README.md'} says how to start it")
    return DONE
