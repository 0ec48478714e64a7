"""What the finished steps of a folder of runs took and gave, for benchmarks of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ncs4cvr.pipeline.run.run_folder import last_finished


class NoRun(Exception):
    """There is no finished run to take the examples from; says the command that makes it."""


def artifacts(run: Path, component: str, keys: Sequence[str], command: str) -> list[Path]:
    """Folders of what the last finished execution of a component took and gave.

    Args:
      run, component: see `last_finished`.
      keys: of its inputs and outputs, such as "examples"; a folder each.
      command: what makes the run, for messages.

    Raises:
      NoRun: the component never finished, or a folder was removed; says the command.
    """
    found = last_finished(run, component)
    if not found.keys() >= set(keys):
        raise NoRun(f"no {component} in {run} has finished; make them: {command}")
    for key in keys:
        if not found[key].is_dir():
            raise NoRun(f"{found[key]} is gone; make it anew: {command}")
    return [found[key] for key in keys]
