"""What a run left in its folder."""

from __future__ import annotations

from pathlib import Path

LATEST = "the latest run in runs/"  # what commands show when they are given no folder


def latest_run() -> Path:
    """The folder in runs/ whose run wrote to its log last; the default recipe's if there is none.

    Commands that only show something take it when they are given no folder.
    """
    logs = list(Path("runs").glob("*/run.log"))
    return max(logs, key=lambda log: log.stat().st_mtime).parent if logs else Path("runs/kuairand")


def newest_artifact(run: Path, output: str, file: str = "") -> Path:
    """The newest artifact of a component's output, e.g. "TicketSearch/tickets".

    Args:
      run: a run's folder, such as runs/kuairand.
      output: component/output.
      file: what it must hold.

    Raises:
      FileNotFoundError: there is none.
    """
    folder = run / "artifacts" / output
    found = [p for p in folder.glob("*") if p.name.isdigit() and (p / file).exists()]
    if not found:
        what = f"{output.split('/')[1]} with {file}" if file else output.split("/")[1]
        raise FileNotFoundError(
            f"no {what} in {folder}; give the folder of a finished run (runs/<recipe>)"
        )
    return max(found, key=lambda path: int(path.name))
