"""What is told of a run: <root>/reports/<run>.json, under the root that all runs share.

The plan begins it, since the plan alone knows which day the run is of; the exit task, which is
handed no output of steps that failed, writes it anew when the run has ended.
"""

from __future__ import annotations

import json

from tfx.dsl.io import fileio


def write(
    root: str,
    run: str,
    date: str,
    state: str,
    error: str = "",
    pushed_to: str | None = None,
    ended: str | None = None,
) -> str:
    """Writes a run's report, in the place of an earlier one; readers see one of them whole.

    Args:
      root: the folder that all runs share.
      run: its id.
      date: the day that it tests on.
      state: RUNNING, or what Kubeflow says that it came to.
      error: what Kubeflow says about it.
      pushed_to: the served version; None where nothing was pushed.
      ended: when, an ISO time; None while it runs.

    Returns:
      Its text.
    """
    about = {"run": run, "date": date, "state": state, "error": error}
    text = json.dumps({**about, "pushed_to": pushed_to, "ended": ended}, indent=1)
    path = _path(root, run)
    fileio.makedirs(f"{root}/reports")
    with fileio.open(f"{path}.new", "w") as stream:
        stream.write(text + "\n")
    fileio.rename(f"{path}.new", path, overwrite=True)
    return text


def date_of(root: str, run: str) -> str | None:
    """The day of a run; None where its plan did not come to know it."""
    path = _path(root, run)
    if not fileio.exists(path):
        return None
    with fileio.open(path, "r") as stream:
        return json.loads(stream.read())["date"]


def _path(root: str, run: str) -> str:
    return f"{root}/reports/{run}.json"
