"""The wiring: which component feeds which. Says nothing about where it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ml_metadata.proto import ConnectionConfig
from tfx.components import (
    DistributionValidator,
    Evaluator,
    ExampleValidator,
    SchemaGen,
    StatisticsGen,
)
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.importer import Importer
from tfx.dsl.components.common.resolver import Resolver
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2
from tfx.types import BaseChannel, Channel, standard_artifacts

from ncs4cvr.components.artifacts import MODEL_ID, TaskTickets
from ncs4cvr.components.data_gate import PASSED, DataBlessing, DataGate
from ncs4cvr.components.example_gen import VideoLogExampleGen
from ncs4cvr.components.latest_passed import LastRun, LatestPassed
from ncs4cvr.components.log.readers import fingerprint
from ncs4cvr.components.model_gate import ModelGate
from ncs4cvr.components.pusher import Pusher
from ncs4cvr.components.serving_check import ServingCheck
from ncs4cvr.components.ticket_search import TicketSearch
from ncs4cvr.components.trainer import Trainer
from ncs4cvr.components.transform import Transform
from ncs4cvr.pipeline.code_version import code_version
from ncs4cvr.pipeline.evaluation import EXTRACTORS, eval_config
from ncs4cvr.pipeline.recipe_parts import (
    SERVING_BOUNDS,
    for_data_gate,
    for_gate,
    for_search,
    for_training,
    for_transform,
)
from ncs4cvr.pipeline.validation import drift_config, skew_config, skew_pairs
from ncs4cvr.schemas.recipe import Recipe


@dataclass(frozen=True)
class Places:
    """Where a pipeline keeps what: paths or URIs.

    schema: a copy of the curated schema under a name that changes with its text ("" infers one).
    tickets: a folder of tickets to use instead of a search, and what its files hold, in short.
    """

    artifacts: str
    serving: str
    checkpoints: str
    schema: str = ""
    tickets: str = ""
    tickets_digest: str = ""


def create_pipeline(
    recipe: Recipe,
    places: Places,
    metadata: ConnectionConfig | None = None,
    example_gen: BaseNode | None = None,
    beam_args: Sequence[str] = (),
) -> Pipeline:
    """From raw logs to a pushed model.

    Args:
      recipe: what to run, its files found.
      places: where to keep what.
      metadata: where TFX remembers what ran; a runner of its own may know.
      example_gen: stands in for VideoLogExampleGen: a component whose `examples` have the recipe's
        columns and splits.
      beam_args: for the components that run on Beam.

    Raises:
      LogError: a file of the recipe's log is missing.
    """
    train, validate, test = (split.name for split in recipe.log.splits)
    if example_gen is None:
        example_gen = VideoLogExampleGen(
            recipe.log,
            recipe.features,
            code_version=code_version("ncs4cvr.components.example_gen"),
            log_fingerprint=fingerprint(recipe.log),
        )
    examples = example_gen.outputs["examples"]

    statistics_gen = StatisticsGen(examples)
    statistics = statistics_gen.outputs["statistics"]
    schema_gen = (
        ImportSchemaGen(places.schema)
        if places.schema
        else SchemaGen(statistics, infer_feature_shape=False)
    )
    schema = schema_gen.outputs["schema"]
    example_validator = ExampleValidator(statistics, schema)
    last_statistics = Resolver(
        LatestPassed,
        {"id_key": PASSED, "else_itself": True},
        candidate=statistics,
        earlier=Channel(type=standard_artifacts.ExampleStatistics),
        blessing=Channel(type=DataBlessing),
    ).with_id("LastStatistics")
    drift = DistributionValidator(
        statistics, last_statistics.outputs["earlier"], drift_config(recipe)
    ).with_id("DriftValidator")
    skew = DistributionValidator(
        statistics, statistics, skew_config(recipe), include_split_pairs=skew_pairs(recipe)
    ).with_id("SkewValidator")
    data_gate = DataGate(
        statistics=statistics,
        schema=schema,
        anomalies=example_validator.outputs["anomalies"],
        drift=drift.outputs["anomalies"],
        skew=skew.outputs["anomalies"],
        examples=examples,
        recipe=for_data_gate(recipe).to_json(),
        code_version=code_version("ncs4cvr.components.data_gate"),
        dead_letters=example_gen.outputs.get("dead_letters"),
    )

    last_run = _last_run(recipe, places.serving)
    earlier = last_run.outputs["earlier"] if last_run else None
    transform = Transform(
        examples,
        schema,
        recipe=for_transform(recipe).to_json(),
        code_version=code_version("ncs4cvr.models.preprocessing"),
        last_run=earlier if recipe.analyze_every_days else None,
        train_split=train,
    )
    # In order only, not as an input: a new blessing of the same data transforms nothing anew.
    transform.add_upstream_node(data_gate)

    tickets = _tickets(recipe, places, examples, transform, earlier)
    trainer = Trainer(
        examples,
        transform.outputs["transform_graph"],
        schema,
        recipe=for_training(recipe).to_json(),
        code_version=code_version("ncs4cvr.models.trainer"),
        checkpoints=places.checkpoints,
        tickets=tickets.outputs["tickets"] if tickets else None,
        last_run=earlier if recipe.warm_start == "on" else None,
        train_split=train,
        valid_split=validate,
    )
    model = trainer.outputs["model"]
    # Blessed by all who had to: a model that the Evaluator alone found good was not pushed.
    last_blessed = Resolver(
        LatestPassed,
        {
            "id_key": MODEL_ID,
            "passed_key": "pushed",
            "tested_from": recipe.log.splits[-1].first,
        },
        candidate=model,
        earlier=Channel(type=standard_artifacts.Model),
        blessing=Channel(type=standard_artifacts.PushedModel),
    ).with_id("LastBlessedModel")
    evaluator = Evaluator(
        examples,
        model,
        example_splits=[test],
        eval_config=eval_config(recipe),
        module_path=EXTRACTORS,
    )
    model_gate = ModelGate(
        examples=examples,
        schema=schema,
        model=model,
        evaluated=evaluator.outputs["blessing"],
        baseline=last_blessed.outputs["earlier"],
        split=test,
        recipe=for_gate(recipe).to_json(),
        code_version=code_version("ncs4cvr.components.model_gate"),
    )
    serving_check = ServingCheck(
        model=model,
        model_run=trainer.outputs["model_run"],
        exact=int(recipe.lossless),
        bf16=int(recipe.weights == "bf16"),
        code_version=code_version("ncs4cvr.components.serving_check"),
        **{key: getattr(recipe, key) for key in SERVING_BOUNDS},
    )
    serving_check.add_upstream_node(model_gate)  # one after the other: it measures time
    pusher = Pusher(
        model_blessing=model_gate.outputs["blessing"],
        infra_blessing=serving_check.outputs["blessing"],  # with the model and its warm-up requests
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=places.serving)
        ),
        keep_versions=recipe.keep_versions,
        trained_to=recipe.trained_to,
        model_run=trainer.outputs["model_run"] if recipe.renews else None,
    )
    return Pipeline(
        pipeline_name=recipe.name,
        pipeline_root=places.artifacts,
        components=[
            example_gen,
            statistics_gen,
            schema_gen,
            example_validator,
            last_statistics,
            drift,
            skew,
            data_gate,
            *([last_run] if last_run else []),
            transform,
            *([tickets] if tickets else []),
            trainer,
            last_blessed,
            evaluator,
            model_gate,
            serving_check,
            pusher,
        ],
        enable_cache=True,
        metadata_connection_config=metadata,
        beam_pipeline_args=list(beam_args),
    )


def _last_run(recipe: Recipe, serving: str) -> BaseNode | None:
    """Finds what a run begins with of an earlier day's; None where it begins with nothing."""
    if not recipe.renews:
        return None
    return Resolver(
        LastRun,
        {"before": recipe.trained_to, "serving": serving},
        earlier=Channel(type=standard_artifacts.ModelRun),
        blessing=Channel(type=standard_artifacts.PushedModel),
    ).with_id("LastRun")


def _tickets(
    recipe: Recipe,
    places: Places,
    examples: BaseChannel,
    transform: Transform,
    last_run: BaseChannel | None,
) -> BaseNode | None:
    """The search, or an import of what an earlier one found; None where nobody needs tickets."""
    if recipe.sharing != "ncs4cvr":
        return None
    train, validate, _ = (split.name for split in recipe.log.splits)
    if places.tickets:
        return Importer(
            places.tickets,
            TaskTickets,
            custom_properties={"digest": places.tickets_digest},
            output_key="tickets",
        ).with_id("ImportTickets")
    return TicketSearch(
        examples,
        transform.outputs["transform_graph"],
        recipe=for_search(recipe).to_json(),
        code_version=code_version("ncs4cvr.models.trainer"),
        checkpoints=places.checkpoints,
        last_run=last_run if recipe.search_every_days else None,
        train_split=train,
        valid_split=validate,
    )
