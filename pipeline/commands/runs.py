"""`ncs4cvr runs`: what the runs under a root came to."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ncs4cvr.pipeline.run import history, lock
from ncs4cvr.pipeline.status import DONE, USAGE, CommandFailed

DOES = "show what came of every run"
EXAMPLE = """example:
  ncs4cvr runs
  ncs4cvr runs /tmp/trials --last 50"""
COLUMNS = ("ended (UTC)", "recipe", "verdict", "version", "seconds", "AUC", "why")


def add_options(command: argparse.ArgumentParser) -> None:
    """Root and number."""
    command.add_argument("root", nargs="?", default="runs", help="where runs are (default: runs)")
    command.add_argument(
        "--last", type=int, default=20, metavar="N", help="at most N (default: 20); 0: all"
    )


def main(options: argparse.Namespace) -> int:
    """Prints a table, the latest run last."""
    root = Path(options.root)
    folders = run_folders(root)
    if not folders:
        raise CommandFailed(USAGE, f"no runs in {root}; name the folder that --root of a run named")
    noted = [(folder, line) for folder in folders for line in history.read(folder)]
    rows = [row(line) for _, line in sorted(noted, key=lambda pair: pair[1]["ended"])]
    rows = rows[-options.last :] if options.last > 0 else rows
    rows += [_at_work(folder) for folder in folders if lock.held(folder)]
    print("\n".join(aligned([COLUMNS, *rows])))
    return DONE


def run_folders(root: Path) -> list[Path]:
    """The folders of runs under a root, or the root itself where it is one."""
    if (root / lock.FILE).is_file():
        return [root]
    return sorted(path.parent for path in root.glob(f"*/{lock.FILE}"))


def row(line: Mapping[str, Any]) -> tuple[str, ...]:
    """A line of the history as the cells of the table."""
    aucs = [f"{k[:-4]} {v:.4f}" for k, v in line.get("metrics", {}).items() if k.endswith("_auc")]
    ended = str(line["ended"])[:19].replace("T", " ")
    seconds = f"{line['seconds']:.0f}" if "seconds" in line else ""
    name, verdict, version = line["recipe"], line["verdict"], str(line.get("version", ""))
    return ended, name, verdict, version, seconds, "  ".join(aucs), str(line.get("why", ""))


def _at_work(folder: Path) -> tuple[str, ...]:
    who = lock.holder(folder)
    return ("now", folder.name, "at work", "", "", "", str(who or ""))


def aligned(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Rows of cells as lines, every column as wide as its widest cell.

    >>> list(aligned([("a", "b"), ("long", "c")]))
    ['a     b', 'long  c']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for cells in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        yield line.rstrip()
