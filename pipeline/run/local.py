"""Runs a pipeline from this machine, one component after the other, in this process.

What the components do with Beam runs where the recipe's `beam` says.
"""

from __future__ import annotations

import datetime
import hashlib
import resource
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from google.protobuf import text_format
from ml_metadata.proto import ConnectionConfig, Execution
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata
from tfx.orchestration.local import runner_utils
from tfx.orchestration.pipeline import Pipeline
from tfx.orchestration.portable import launcher, runtime_parameter_utils
from tfx.orchestration.portable.mlmd import execution_lib
from tfx.proto.orchestration import pipeline_pb2

from ncs4cvr.components import checksums
from ncs4cvr.pipeline import beam
from ncs4cvr.pipeline.create import Places, create_pipeline
from ncs4cvr.pipeline.display import Display
from ncs4cvr.pipeline.run import durable, interruption, recovery
from ncs4cvr.pipeline.run.run_record import CACHED, DONE, LOOKED_UP, Outputs, RunRecord
from ncs4cvr.schemas import data_schema
from ncs4cvr.schemas.recipe import Recipe

RESOLVER = "tfx.dsl.components.common.resolver.Resolver"


class ComponentFailed(Exception):
    """A component raised; `__cause__` says what."""

    def __init__(self, component: str, message: str):
        super().__init__(f"{component}: {message}")


class Damaged(Exception):
    """A finished step's output is no longer what it was: it must not be taken from the cache."""

    def __init__(self, component: str, uri: str, wrong: Sequence[str]):
        super().__init__(f"{component}: {uri}: {', '.join(wrong[:3])}")
        self.uri = uri


def run(
    recipe: Recipe,
    folder: Path,
    tickets: Path | None,
    display: Display,
    record: RunRecord,
    last: str = "",
) -> None:
    """Runs the recipe's pipeline under `folder`; components of an earlier run are not repeated.

    The caller holds the folder's lock. What a process that died left there is put in order first;
    finished outputs that are damaged are made anew.

    Args:
      recipe, folder: what to run, and where.
      tickets: a folder of tickets to use instead of a search.
      display, record: are told of every component.
      last: the component to end with; all of them if empty.

    Raises:
      ComponentFailed: a component raised.
      LogError: a file of the log is missing.
      recovery.Unreadable: the metadata is locked or cannot be opened.
    """
    recovery.put_in_order(folder, display.say)
    database = str(folder / recovery.DATABASE)
    connection = metadata.sqlite_metadata_connection_config(database)
    places = Places(
        artifacts=str(folder / "artifacts"),
        serving=str(folder / "serving"),
        checkpoints=str(folder / "checkpoints"),
        schema=_schema_copy(recipe, folder / "schemas"),
        tickets=str(tickets or ""),
        tickets_digest=_digest(*sorted(tickets.iterdir())) if tickets else "",
    )
    pipeline = create_pipeline(recipe, places, connection, beam_args=beam.arguments(recipe.beam))
    record.told = {node.id: dict(node.exec_properties) for node in pipeline.components}
    while True:
        try:
            # What is served may have changed since the last push; the cache would not know.
            with beam.apart_from_the_command_line():
                run_pipeline(pipeline, display, record, ("Pusher",), last)
            break
        except Damaged as found:  # without its folder the cache does not know it; so this ends
            display.say(f"! {found}: made anew")
            shutil.rmtree(found.uri)
            checksums.unseal(found.uri)
    recovery.keep_copy(folder)


def run_pipeline(
    pipeline: Pipeline,
    display: Display,
    record: RunRecord,
    never_cached: Sequence[str] = (),
    last: str = "",
) -> None:
    """What tfx's LocalDagRunner does, with a word on every component.

    last: the component to end with; all of them if empty.

    Raises:
      ComponentFailed, Damaged: see there.
      KeyboardInterrupt: one that `interruption` noted came, whatever became of it in a component.
    """
    ir = compiler.Compiler().compile(pipeline)
    runtime_parameter_utils.substitute_runtime_parameter(
        ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: _run_id()}
    )
    config = runner_utils.extract_local_deployment_config(ir)
    where = config.metadata_connection_config
    connection = getattr(where, where.WhichOneof("connection_config"))
    for each in ir.nodes:
        node: pipeline_pb2.PipelineNode = each.pipeline_node
        name = node.node_info.id
        interruption.check()
        if name in never_cached:
            node.execution_options.caching_options.enable_cache = False
        display.start(name)
        record.start(name)
        try:
            info = launcher.Launcher(
                pipeline_node=node,
                mlmd_connection=metadata.Metadata(connection),
                pipeline_info=ir.pipeline_info,
                pipeline_runtime_spec=ir.runtime_spec,
                executor_spec=runner_utils.extract_executor_spec(config, name),
                custom_driver_spec=runner_utils.extract_custom_driver_spec(config, name),
            ).launch()
            seconds = record.now() - record.since
            state, outputs = _finished(name, info, connection)
            if node.node_info.type.name == RESOLVER:
                state = LOOKED_UP
            else:
                root = ir.runtime_spec.pipeline_root.field_value.string_value
                _check(name, state == CACHED, outputs, root)
        except Damaged:
            display.end("damaged")
            raise
        except Exception as error:
            interruption.check()
            display.end("failed")
            raise ComponentFailed(name, str(error) or type(error).__name__) from error
        record.end(state, seconds, outputs)
        if state != LOOKED_UP:
            display.end(CACHED if state == CACHED else f"{seconds:.1f} s")
        if name == last:
            break


def _finished(name: str, info: object, connection: ConnectionConfig) -> tuple[str, Outputs]:
    with metadata.Metadata(connection) as handle:
        number = getattr(info, "execution_id", None)
        if number is None:
            raise RuntimeError(f"{name} did not run: an input is missing")
        (execution,) = handle.store.get_executions_by_id([number])
        if execution.last_known_state not in (Execution.COMPLETE, Execution.CACHED):
            state = Execution.State.Name(execution.last_known_state).lower()
            raise RuntimeError(f"its execution {number} is {state}; the log file says why")
        outputs = execution_lib.get_output_artifacts(handle, number)
        return CACHED if execution.last_known_state == Execution.CACHED else DONE, outputs


def _run_id() -> str:
    """A name that no other run has, also where the clock was set back."""
    return f"{datetime.datetime.now().isoformat()}-{uuid.uuid4().hex[:8]}"


def _check(name: str, cached: bool, outputs: Outputs, root: str) -> None:
    """Seals what a step made; raises Damaged where a cached one's output is not as it was sealed.

    Folders outside the pipeline's root are somebody else's.
    """
    for artifact in (each for found in outputs.values() for each in found):
        if not checksums.inside(artifact.uri, root):
            continue
        if not cached or not checksums.sealed(artifact.uri):  # killed before it was sealed
            checksums.seal(artifact.uri)
        elif wrong := checksums.damage(artifact.uri):
            raise Damaged(name, artifact.uri, wrong)


def peak_rss_mb() -> float:
    """The most memory that this process (or one that it started) has held so far."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(each).ru_maxrss for each in who) / 1024


def _schema_copy(recipe: Recipe, folder: Path) -> str:
    """The recipe's part of its schema, in a file named after its text: TFX's cache sees names."""
    if not recipe.data_schema:
        return ""
    schema = data_schema.restricted(data_schema.read(recipe.data_schema), recipe)
    text = text_format.MessageToString(schema)
    folder.mkdir(exist_ok=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    copy = folder / f"{Path(recipe.data_schema).stem}-{digest}.pbtxt"
    durable.write(copy, text)
    return str(copy)


def _digest(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
