"""`ncs4cvr clean`: removes what no later run needs."""

from __future__ import annotations

import argparse
import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from ncs4cvr.pipeline import recipe_files
from ncs4cvr.pipeline.commands.runs import aligned
from ncs4cvr.pipeline.run import history, lock
from ncs4cvr.pipeline.status import DONE, FAULT, USAGE, CommandFailed

if TYPE_CHECKING:
    from ncs4cvr.pipeline.run.cleaning import Plan

DOES = "remove artifacts that no later run needs"
EXAMPLE = """example:
  ncs4cvr clean my_log.py --dry-run
  ncs4cvr clean my_log.py --keep 7

It removes from runs/<recipe>/artifacts what TFX's metadata do not tie to the last runs, to a model
that is served or may be rolled back to, or to what the next run compares itself with and goes on
from. Versions (the recipe's keep_versions), history and reports stay as they are.

exit status: 0 done, 1 a run is at work, or a fault, 2 a wrong command or recipe"""


def add_options(command: argparse.ArgumentParser) -> None:
    """Recipe, root, how much stays, and whether to remove at all."""
    names = ", ".join(recipe_files.built_in_names())
    command.add_argument("recipe", help=f"built in ({names}), a .py file (is run) or a .json file")
    command.add_argument("--root", default="runs", help="where runs are (default: runs)")
    command.add_argument(
        "--keep",
        type=int,
        default=3,
        metavar="N",
        help="the last N runs that ended stay whole, so that a day of theirs that runs again, as "
        "after a change of the gates, is neither read nor trained on anew (default: 3)",
    )
    command.add_argument("--dry-run", action="store_true", help="only say what would go")


def main(options: argparse.Namespace) -> int:
    """Says what stays and why, and what goes; removes that."""
    if options.keep < 1:
        raise CommandFailed(
            USAGE, f"--keep {options.keep}: the next run needs the last one; keep 1 or more"
        )
    folder = Path(options.root).resolve() / recipe_files.load(options.recipe).name
    if not (folder / "artifacts").is_dir():
        raise CommandFailed(
            USAGE,
            f"{folder} is no folder of a run: it has no folder `artifacts`; name the folder that "
            "--root of the runs named",
        )
    try:
        with lock.only_one(folder, f"clean {folder.name}") as died:
            if died:
                history.add(folder, history.DIED, why=f"{died} ended without a word")
            _clean(folder, options.keep, options.dry_run)
    except lock.Locked as error:
        raise CommandFailed(FAULT, str(error)) from error
    return DONE


def _clean(folder: Path, keep: int, dry_run: bool) -> None:
    from ncs4cvr.pipeline.display import chatter_to

    with chatter_to(Path(os.devnull)):
        from ncs4cvr.pipeline.run import cleaning, recovery

        try:
            if wrong := recovery.database_damage(folder):
                raise CommandFailed(
                    FAULT,
                    f"{folder / recovery.DATABASE} {wrong}, so nobody can tell what is needed; "
                    "nothing was removed: `ncs4cvr run` puts it in order, clean after that",
                )
            what = cleaning.plan(folder, keep)
        except recovery.Unreadable as error:
            raise CommandFailed(FAULT, str(error)) from error
    print("\n".join(aligned(told(what))), flush=True)
    if dry_run:
        print("nothing was removed (--dry-run)")
        return
    with chatter_to(Path(os.devnull)):
        cleaning.carry_out(folder, what)
    print("removed")


def told(what: Plan) -> list[tuple[str, ...]]:
    """What stays and why, and what goes, by component and output: rows of a table."""
    goes: dict[str, set[Path]] = defaultdict(set)
    for path in what.goes:
        goes[f"{path.parents[1].name}/{path.parent.name}"].add(path)
    if what.cut_off:
        goes["of steps that did not end"] = what.cut_off
    return [
        ("", "folders", "MB"),
        _row("stays", set().union(*what.stays.values())),
        *(_row(f"  {why}", paths) for why, paths in what.stays.items() if paths),
        _row("goes", what.goes | what.cut_off),
        *(_row(f"  {name}", paths) for name, paths in sorted(goes.items())),
    ]


def _row(name: str, paths: set[Path]) -> tuple[str, ...]:
    from ncs4cvr.pipeline.run.cleaning import size

    return name, f"{len(paths):,}", f"{size(paths) / 1e6:,.1f}"
