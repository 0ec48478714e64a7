"""What a run left in its folder."""

from __future__ import annotations

from pathlib import Path


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
