# No `from __future__ import annotations` here: TFX's @component reads the annotations as objects.
"""A pipeline whose look-ups, cache, seals and pushes are the real ones, and whose steps do nothing.

A day of it takes a second.
"""

import contextlib
import os
from pathlib import Path

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration import metadata
from tfx.orchestration.pipeline import Pipeline
from tfx.types import Channel, standard_artifacts

from ncs4cvr.components import pusher, retention
from ncs4cvr.components.artifacts import MODEL_ID, RUN_ID, TRAINED_TO
from ncs4cvr.components.data_gate import PASSED, DataBlessing
from ncs4cvr.components.latest_passed import LastRun, LatestPassed
from ncs4cvr.pipeline.run import lock, recovery
from ncs4cvr.pipeline.run.local import ComponentFailed, run_pipeline
from ncs4cvr.pipeline.run.meter import Meter
from ncs4cvr.pipeline.run.run_record import RunRecord

KEEP_VERSIONS, BYTES = 3, 100_000


def write(uri, text, size=0):
    Path(uri).mkdir(parents=True, exist_ok=True)
    (Path(uri) / "saved_model.pb").write_text(text + "x" * size)


@component
def Gen(examples: OutputArtifact[standard_artifacts.Examples], day: Parameter[str]):
    """Of so many bytes and the day."""
    write(examples.uri, day, BYTES)


@component
def Statistics(
    examples: InputArtifact[standard_artifacts.Examples],
    statistics: OutputArtifact[standard_artifacts.ExampleStatistics],
):
    write(statistics.uri, examples.uri)


@component
def Gate(
    statistics: InputArtifact[standard_artifacts.ExampleStatistics],
    earlier: InputArtifact[standard_artifacts.ExampleStatistics],
    blessing: OutputArtifact[DataBlessing],
    refuse: Parameter[int],
):
    if refuse:
        raise ValueError("refused")
    write(blessing.uri, earlier.uri)
    blessing.set_int_custom_property(PASSED, statistics.id)


@component
def Train(
    examples: InputArtifact[standard_artifacts.Examples],
    model: OutputArtifact[standard_artifacts.Model],
    model_run: OutputArtifact[standard_artifacts.ModelRun],
    day: Parameter[str],
    last_run: InputArtifact[standard_artifacts.ModelRun] = None,
):
    write(model.uri, day)
    write(model_run.uri, last_run.uri if last_run else "fresh")
    model_run.set_string_custom_property(TRAINED_TO, day)


@component
def Judge(
    model: InputArtifact[standard_artifacts.Model],
    verdict: OutputArtifact[standard_artifacts.ModelBlessing],
    good: Parameter[int],
    baseline: InputArtifact[standard_artifacts.Model] = None,
):
    write(verdict.uri, baseline.uri if baseline else "first")
    verdict.set_int_custom_property("blessed", good)


@component
def Pusher(
    model: InputArtifact[standard_artifacts.Model],
    model_run: InputArtifact[standard_artifacts.ModelRun],
    verdict: InputArtifact[standard_artifacts.ModelBlessing],
    pushed: OutputArtifact[standard_artifacts.PushedModel],
    serving: Parameter[str],
    day: Parameter[str],
):
    pushed.set_int_custom_property("pushed", 0)
    if not verdict.get_int_custom_property("blessed"):
        return
    with contextlib.suppress(pusher.NotPushed):
        pusher.push(model.uri, serving, day)
        retention.retain(serving, KEEP_VERSIONS)
        write(pushed.uri, day)
        pushed.set_int_custom_property("pushed", 1)
        pushed.set_int_custom_property(MODEL_ID, model.id)
        pushed.set_int_custom_property(RUN_ID, model_run.id)


def pipeline(folder: Path, day: str, refuse: int, good: int) -> Pipeline:
    """As pipeline/create.py looks up; see there."""
    serving = str(folder / "serving")
    gen = Gen(day=day)
    statistics = Statistics(examples=gen.outputs["examples"])
    last_statistics = Resolver(
        LatestPassed,
        {"id_key": PASSED, "else_itself": True},
        candidate=statistics.outputs["statistics"],
        earlier=Channel(type=standard_artifacts.ExampleStatistics),
        blessing=Channel(type=DataBlessing),
    ).with_id("LastStatistics")
    gate = Gate(
        statistics=statistics.outputs["statistics"],
        earlier=last_statistics.outputs["earlier"],
        refuse=refuse,
    )
    last_run = Resolver(
        LastRun,
        {"before": day, "serving": serving},
        earlier=Channel(type=standard_artifacts.ModelRun),
        blessing=Channel(type=standard_artifacts.PushedModel),
    ).with_id("LastRun")
    train = Train(examples=gen.outputs["examples"], day=day, last_run=last_run.outputs["earlier"])
    train.add_upstream_node(gate)
    last_blessed = Resolver(
        LatestPassed,
        {"id_key": MODEL_ID, "passed_key": "pushed"},
        candidate=train.outputs["model"],
        earlier=Channel(type=standard_artifacts.Model),
        blessing=Channel(type=standard_artifacts.PushedModel),
    ).with_id("LastBlessedModel")
    judge = Judge(model=train.outputs["model"], good=good, baseline=last_blessed.outputs["earlier"])
    push = Pusher(
        model=train.outputs["model"],
        model_run=train.outputs["model_run"],
        verdict=judge.outputs["verdict"],
        serving=serving,
        day=day,
    )
    return Pipeline(
        pipeline_name=folder.name,
        pipeline_root=str(folder / "artifacts"),
        components=[
            gen,
            statistics,
            last_statistics,
            gate,
            last_run,
            train,
            last_blessed,
            judge,
            push,
        ],
        enable_cache=True,
        metadata_connection_config=metadata.sqlite_metadata_connection_config(
            str(folder / recovery.DATABASE)
        ),
    )


class Silent:
    """A display that shows nothing."""

    def start(self, name):
        pass

    end = start


def run(folder: Path, day: str, refuse: int = 0, good: int = 1) -> dict[str, tuple]:
    """A run of a day: step -> (how it ended, the URIs that it gave); {} where it was refused."""
    os.makedirs(folder, exist_ok=True)
    with Meter() as meter, lock.only_one(folder, "run"):
        recovery.put_in_order(folder, lambda _: None)
        record = RunRecord(meter)
        try:
            run_pipeline(pipeline(folder, day, refuse, good), Silent(), record, ("Pusher",))
        except ComponentFailed:
            if not refuse:
                raise
            return {}
        recovery.keep_copy(folder)
    return {
        name: (step.state, sorted(a.uri for found in step.outputs.values() for a in found))
        for name, step in record.steps.items()
    }
