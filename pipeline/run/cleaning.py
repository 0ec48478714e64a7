"""Which artifacts of a run's folder no later run needs, and their removal.

TFX's metadata tells, not an artifact's age. Needed is what the last runs read and made, so that
their steps are cached again; what the next run's look-ups find; and every model that is served or
may be rolled back to, since a rollback changes what they find.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ml_metadata import MetadataStore
from ml_metadata.proto import Artifact, ConnectionConfig, Event
from tfx import types
from tfx.dsl.components.common.resolver import ResolverStrategy
from tfx.orchestration import metadata
from tfx.types import artifact_utils, standard_artifacts

from ncs4cvr.components import checksums, versions
from ncs4cvr.components.artifacts import MODEL_ID, RUN_ID
from ncs4cvr.components.data_gate import PASSED, DataBlessing
from ncs4cvr.components.latest_passed import LastRun, LatestPassed, content
from ncs4cvr.pipeline.run import recovery

AFTER_ALL_DAYS = "9999-12-31"
LAST = "of the last {} that ended, and what was read there"
SERVED = "of models that are served or may be rolled back to"
NEXT = "else looked up by the next run"


@dataclass(frozen=True)
class Plan:
    """What is to be done.

    Attributes:
      stays: why -> folders; each under the first reason that holds.
      goes: folders of artifacts that no later run needs.
      cut_off: folders of steps that did not end, which the next run would remove, too.
      marked: what the metadata holds in `goes`, or has lost, and does not call deleted yet.
    """

    stays: dict[str, set[Path]]
    goes: set[Path]
    cut_off: set[Path]
    marked: list[Artifact]


def plan(folder: Path, keep: int) -> Plan:
    """Looks at everything and changes nothing. The caller holds the folder's lock.

    Args:
      folder: of a recipe's runs; its metadata are whole (recovery.database_damage).
      keep: so many of the last runs that ended stay, and as many of the last of any kind.
    """
    folder = folder.resolve()
    root, serving = (folder / "artifacts").resolve(), str(folder / "serving")
    with metadata.Metadata(_connection(folder)) as handle:
        records = _Records(handle.store)
        needed = {
            LAST.format(f"{keep} runs" if keep > 1 else "run"): records.last_runs(keep),
            SERVED: _served(records, serving),
            NEXT: _next(records, serving),
        }
        # A look-up finds nothing without the blessing, or push, that says that it passed.
        needed = {why: ids | _vouching(records, ids) for why, ids in needed.items()}
    found = {number: _unit(each.uri, root) for number, each in records.artifacts.items()}
    units = {number: path for number, path in found.items() if path}
    stays: dict[str, set[Path]] = {}
    taken: set[Path] = set()
    for why, ids in needed.items():
        paths = {units[n] for n in ids if n in units} - taken
        stays[why] = {path for path in paths if path.is_dir()}
        taken |= paths
    gone = {number: path for number, path in units.items() if path not in taken}
    _, finished, _ = recovery.executions(folder)
    return Plan(
        stays,
        goes={path for path in gone.values() if path.is_dir()},
        cut_off=set(recovery.stale_outputs(folder, finished)),
        marked=[a for n in gone if (a := records.artifacts[n]).state != Artifact.DELETED],
    )


def carry_out(folder: Path, what: Plan) -> None:
    """Removes what goes. Killed anywhere, it leaves nothing that a second call does not finish.

    First the metadata, and their copy, call the artifacts deleted: TFX's cache and look-ups take
    live ones only. The others are not written to: the cache would not know them again.
    """
    folder = folder.resolve()
    if what.marked:
        for artifact in what.marked:
            artifact.state = Artifact.DELETED
        with metadata.Metadata(_connection(folder)) as handle:
            handle.store.put_artifacts(what.marked)
    if what.goes:
        recovery.keep_copy(folder)
    for path in sorted(what.goes | what.cut_off):
        checksums.unseal(str(path))
        checksums.remove(str(path))
    for path in what.goes:  # an empty folder of each step
        checksums.remove(str(path.parents[1] / ".system/executor_execution" / path.name))


def size(folders: Iterable[Path]) -> int:
    """Bytes of all files below some folders; of a link, its own."""
    return sum(
        os.lstat(os.path.join(where, name)).st_size
        for folder in folders
        for where, _, names in os.walk(folder)
        for name in names
    )


class _Records:
    """What the metadata say of artifacts, and of the steps and runs that made them."""

    def __init__(self, store: MetadataStore):
        self.store = store
        self._types = {kind.id: kind for kind in store.get_artifact_types()}
        self.artifacts = {artifact.id: artifact for artifact in store.get_artifacts()}

    def live(self, kind: type[types.Artifact]) -> list[types.Artifact]:
        """All of a type that are not deleted, the newest last."""
        return [
            artifact_utils.deserialize_artifact(self._types[artifact.type_id], artifact)
            for _, artifact in sorted(self.artifacts.items())
            if self._is(artifact.id, kind) and artifact.state == Artifact.LIVE
        ]

    def last_runs(self, keep: int) -> set[int]:
        """Artifacts that the last runs read, made or looked up.

        A run has ended when its Pusher did, whether it pushed or not. What one that stopped before
        has finished, the next goes on from.
        """
        found: set[int] = set()
        ended = 0
        runs = sorted(self.store.get_contexts_by_type("pipeline_run"), key=lambda run: run.id)
        for number, run in enumerate(reversed(runs)):
            steps = [step.id for step in self.store.get_executions_by_context(run.id)]
            events = self.store.get_events_by_execution_ids(steps)
            made = [event.artifact_id for event in events if event.type == Event.OUTPUT]
            ends = any(self._is(n, standard_artifacts.PushedModel) for n in made)
            if ends or number < keep:
                found |= {event.artifact_id for event in events}
            ended += ends
            if ended == keep:
                break
        return found

    def made_with(self, numbers: Iterable[int]) -> set[int]:
        """What the steps that made these artifacts made, and read: but the examples, which are the
        bulk, and the run that a training went on from.
        """
        events = self.store.get_events_by_artifact_ids(numbers)
        steps = {event.execution_id for event in events if event.type == Event.OUTPUT}
        but = (standard_artifacts.Examples, standard_artifacts.ModelRun)
        return {
            event.artifact_id
            for event in self.store.get_events_by_execution_ids(steps)
            if event.type == Event.OUTPUT or not any(self._is(event.artifact_id, k) for k in but)
        }

    def _is(self, number: int, kind: type[types.Artifact]) -> bool:
        return self._types[self.artifacts[number].type_id].name == kind.TYPE_NAME


def _served(records: _Records, serving: str) -> set[int]:
    """Pushes whose content a version holds, their models, and what both were made with."""
    held = set()
    for number in versions.numbers(serving):
        try:
            held.add(versions.manifest(serving, number).content)
        except versions.VersionError:  # nobody can go back to it
            continue
    # Every run pushes, if only what is served already: of those that hold the same the last counts.
    pushes = {
        content(push.uri): push
        for push in records.live(standard_artifacts.PushedModel)
        if push.get_int_custom_property("pushed")
    }
    found = [push for what, push in pushes.items() if what in held]
    ids = {n for push in found for n in (push.id, push.get_int_custom_property(MODEL_ID))}
    return ids | records.made_with(ids)


def _next(records: _Records, serving: str) -> set[int]:
    """What the look-ups of pipeline/create.py will find, whatever the next run's own is."""
    pushes = records.live(standard_artifacts.PushedModel)
    found = [
        *_last_two(
            records,
            LatestPassed(PASSED),
            records.live(standard_artifacts.ExampleStatistics),
            records.live(DataBlessing),
        ),
        *_last_two(
            records,
            LatestPassed(MODEL_ID, "pushed"),
            records.live(standard_artifacts.Model),
            pushes,
        ),
        *LastRun(AFTER_ALL_DAYS, serving).resolve_artifacts(
            records.store,
            {"earlier": records.live(standard_artifacts.ModelRun), "blessing": pushes},
        )["earlier"],
    ]
    return {artifact.id for artifact in found}


def _last_two(
    records: _Records,
    strategy: ResolverStrategy,
    earlier: Sequence[types.Artifact],
    blessings: Sequence[types.Artifact],
) -> list[types.Artifact]:
    """What is found; and what is found by a run that has, from the cache, that very one itself."""
    found: list[types.Artifact] = []
    for _ in range(2):
        channels = {"candidate": found, "earlier": earlier, "blessing": blessings}
        found = found + strategy.resolve_artifacts(records.store, channels)["earlier"]
    return found


def _vouching(records: _Records, ids: set[int]) -> set[int]:
    """The last artifact that says of each of these that it passed, or was pushed."""
    found = set()
    for kind, key in (
        (DataBlessing, PASSED),
        (standard_artifacts.PushedModel, MODEL_ID),
        (standard_artifacts.PushedModel, RUN_ID),
    ):
        last = {each.get_int_custom_property(key): each.id for each in records.live(kind)}
        found |= {number for about, number in last.items() if about in ids}
    return found


def _unit(uri: str, root: Path) -> Path | None:
    """The folder <component>/<output>/<number> that an artifact lies in; None where it does not.

    Tickets of another run may lie anywhere, also within an artifact.
    """
    path = Path(os.path.realpath(uri))
    if not path.is_relative_to(root):
        return None
    unit = root.joinpath(*path.relative_to(root).parts[:3])
    return unit if unit.name.isdigit() and unit.parents[2] == root else None


def _connection(folder: Path) -> ConnectionConfig:
    return metadata.sqlite_metadata_connection_config(str(folder / recovery.DATABASE))
