"""`ncs4cvr rollback`: serves an earlier version again."""

from __future__ import annotations

import argparse
import os
import shlex
from pathlib import Path

from ncs4cvr.pipeline.run import history, lock
from ncs4cvr.pipeline.status import DONE, FAULT, USAGE, CommandFailed

DOES = "serve an earlier version again"
EXAMPLE = """example:
  ncs4cvr rollback runs/kuairand
  ncs4cvr rollback runs/kuairand --to 1795578161

The version's content is published anew under the next higher number, which TF Serving then serves
(one that was started from a kit does when the kit is written anew); no version is taken away. A run
does not push a model again that was rolled back from."""


def add_options(command: argparse.ArgumentParser) -> None:
    """Run and version."""
    command.add_argument("folder", metavar="RUN_DIR", help="the folder of a run (runs/<recipe>)")
    command.add_argument(
        "--to", type=int, default=0, metavar="VERSION", help="default: the one before"
    )


def main(options: argparse.Namespace) -> int:
    """Publishes an earlier version anew and notes it in the run's history."""
    folder = Path(options.folder)
    if not (folder / "serving").is_dir():
        raise CommandFailed(
            USAGE, f"{folder} is no folder of a run that pushed: it has no folder `serving`"
        )
    from ncs4cvr.pipeline.display import chatter_to

    with chatter_to(Path(os.devnull)):
        from ncs4cvr.components import versions

        base = str(folder.resolve() / "serving")
        try:
            with lock.only_one(folder, "rollback") as died:
                if died:
                    history.add(folder, history.DIED, why=f"{died} ended without a word")
                version, copied = versions.roll_back(base, options.to)
                history.add(folder, history.ROLLED_BACK, version=version, why=f"to {copied}")
        except lock.Locked as error:
            raise CommandFailed(FAULT, str(error)) from error
        except versions.VersionError as error:
            raise CommandFailed(USAGE, str(error)) from error
        kit = _kit(base)
    told = f"version {version} holds what {copied} holds"
    if not kit:
        print(f"{told}, and is served from now on")
        return DONE
    again = ["ncs4cvr", "kit", str(folder), "--output", kit, "--stable", version]
    print(f"{told}; servers of the newest version serve it from now on,")
    print("those of a kit when it is written anew (with its other options, too) and applied:")
    print(f"  {shlex.join(again)}")
    return DONE


def _kit(base: str) -> str:
    """The folder of the kit that was written of the versions; "" where none was."""
    from ncs4cvr.components import retention, versions

    try:
        pins = retention.pinned(base)
    except versions.VersionError:
        return "KIT_DIR"
    return pins.kit if pins else ""
