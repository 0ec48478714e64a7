"""What a run left in its folder."""

from __future__ import annotations

from pathlib import Path

DATABASE = "metadata.sqlite"  # ML metadata
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


def last_finished(run: Path, component: str) -> dict[str, Path]:
    """What the last execution of a component that finished took and gave: key -> folder.

    A run that was refused, or that died, leaves artifacts which nothing was made of; one from the
    cache gives what an earlier one made. So the newest folders of two kinds may be of different
    runs. Empty where the component has never finished; a folder may be gone.

    Args:
      run: a run's folder, such as runs/kuairand; it may have been moved.
      component: its name, such as "Transform".
    """
    database = run / DATABASE
    if not database.is_file():
        return {}
    # Here, so that processes which are told the folders do not hold it in memory.
    from ml_metadata import MetadataStore
    from ml_metadata.proto import ConnectionConfig, Execution, SqliteMetadataSourceConfig

    config = ConnectionConfig()
    config.sqlite.filename_uri = str(database)
    config.sqlite.connection_mode = SqliteMetadataSourceConfig.READONLY
    store = MetadataStore(config)
    finished = (Execution.COMPLETE, Execution.CACHED)
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
    # Where the run lies now; the metadata has where it lay then.
    return {
        event.path.steps[0].key: run.joinpath(
            "artifacts", *Path(uris[event.artifact_id]).parts[-3:]
        )
        for event in events
    }
