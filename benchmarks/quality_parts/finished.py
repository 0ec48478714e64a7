"""What the finished steps of a folder of runs took and gave, out of its ML metadata.

A run that was refused, or that died, leaves examples which nothing was made of; a run from the
cache gives what an earlier one made. So the newest folder of each kind may be of different runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

DATABASE = "metadata.sqlite"  # pipeline.recovery.DATABASE, but importing that brings TFX


class NoRun(Exception):
    """There is no finished run to take the examples from; says the command that makes it."""


def artifacts(run: Path, component: str, keys: Sequence[str], command: str) -> list[Path]:
    """Folders of what the last finished execution of a component took and gave.

    Args:
      run: a run's folder, such as runs/kuairand; it may have been moved.
      component: its name, such as "Transform".
      keys: of its inputs and outputs, such as "examples"; a folder each.
      command: what makes the run, for messages.

    Raises:
      NoRun: the component never finished, or a folder was removed; says the command.
    """
    found = _last(run / DATABASE, component)
    if not found.keys() >= set(keys):
        raise NoRun(f"no {component} in {run} has finished; make them: {command}")
    # Where the run lies now; the metadata has where it lay then.
    folders = [run.joinpath("artifacts", *Path(found[key]).parts[-3:]) for key in keys]
    for folder in folders:
        if not folder.is_dir():
            raise NoRun(f"{folder} is gone; make it anew: {command}")
    return folders


def _last(database: Path, component: str) -> dict[str, str]:
    """Key -> URI of the last finished execution; empty where there is none."""
    if not database.is_file():
        return {}
    # Here, so that processes which are told the folders do not hold it in memory.
    from ml_metadata import MetadataStore
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    config = mlmd.ConnectionConfig()
    config.sqlite.filename_uri = str(database)
    config.sqlite.connection_mode = mlmd.SqliteMetadataSourceConfig.READONLY
    store = MetadataStore(config)
    finished = (mlmd.Execution.COMPLETE, mlmd.Execution.CACHED)
    ended = [
        execution.id
        for kind in store.get_execution_types()
        if kind.name.endswith(f".{component}")
        for execution in store.get_executions_by_type(kind.name)
        if execution.last_known_state in finished
    ]
    if not ended:
        return {}
    events = store.get_events_by_execution_ids([max(ended)])
    uris = {a.id: a.uri for a in store.get_artifacts_by_id([e.artifact_id for e in events])}
    return {event.path.steps[0].key: uris[event.artifact_id] for event in events}
