# No `from __future__ import annotations` here: TFX's @component reads the annotations as objects.
"""DataGate: the step that stops the pipeline when its data is not what the schema promises."""

import json
from collections.abc import Iterator
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import artifact, artifact_utils, standard_artifacts
from tfx.utils import io_utils

from ncs4cvr.components import day_checks, day_profile
from ncs4cvr.components.artifacts import DeadLetters
from ncs4cvr.components.log.report import check_written
from ncs4cvr.schemas.data_schema import describe
from ncs4cvr.schemas.recipe import Recipe

PASSED = "passed_id"  # what a DataBlessing says passed: the id of a statistics artifact
FILE = "SchemaDiff.pb"  # what both validators call their findings
LARGEST = 10  # features named in a refusal; the rest is counted

Info = anomalies_pb2.AnomalyInfo


class DataRefused(ValueError):
    """The data does not fit the schema, or moved too far; names features, expected and came.

    Attributes:
      complaints: all of them, a line each; the message has the first.
    """

    def __init__(self, complaints: list[str]):
        super().__init__(refusal(complaints))
        self.complaints = complaints


class DataBlessing(artifact.Artifact):
    """Says that some statistics passed the gate."""

    TYPE_NAME = "DataBlessing"


@component
def DataGate(
    statistics: InputArtifact[standard_artifacts.ExampleStatistics],
    schema: InputArtifact[standard_artifacts.Schema],
    anomalies: InputArtifact[standard_artifacts.ExampleAnomalies],
    drift: InputArtifact[standard_artifacts.ExampleAnomalies],
    skew: InputArtifact[standard_artifacts.ExampleAnomalies],
    examples: InputArtifact[standard_artifacts.Examples],
    blessing: OutputArtifact[DataBlessing],
    recipe: Parameter[str],
    code_version: Parameter[str],
    dead_letters: InputArtifact[DeadLetters] = None,
):
    """Raises DataRefused where a validator found an anomaly, or a day is not like the others.

    Else it blesses the statistics. What a day is like: day_profile.py; judged: day_checks.py.

    Before that, it raises RowsLost where the examples that the statistics saw, and the dead letters
    on disk, are not as many as were counted when the log was read.

    Args:
      statistics: what the validators looked at.
      schema: what was expected.
      anomalies: of ExampleValidator, against the schema.
      drift: of DistributionValidator, against the previous run.
      skew: of DistributionValidator, between splits of this run.
      examples: what the statistics are of; their days are held against each other.
      blessing: says which statistics passed; components that need good data wait for it.
      recipe: as JSON: what the columns are, day_change and day_auc_change.
      code_version: of this gate, for TFX's cache.
      dead_letters: of VideoLogExampleGen; other example gens count nothing.
    """
    if dead_letters is not None:
        _check_rows(dead_letters, statistics)
    expected = io_utils.SchemaReader().read(io_utils.get_only_uri_in_dir(schema.uri))
    wanted = Recipe.from_json(recipe)
    complaints = [
        *_without_values(statistics, wanted),
        *_all_complaints(anomalies.uri, "Split-", "in {}", expected),
        *_all_complaints(drift.uri, "SplitPair-", "against the run before, {}", expected),
        *_all_complaints(skew.uri, "SplitPair-", "between splits, {}", expected),
        *_odd_days(examples, statistics, expected, wanted),
    ]
    if dead_letters is not None:
        counts = read_counts(dead_letters.uri)["events"]
        complaints += day_checks.orphans(counts, wanted.log.splits[0].name, wanted.day_change)
    if complaints:
        raise DataRefused(complaints)
    blessing.set_int_custom_property(PASSED, statistics.id)
    io_utils.write_string_file(f"{blessing.uri}/BLESSED", "")


def _without_values(statistics: artifact.Artifact, recipe: Recipe) -> Iterator[str]:
    """Columns that features are made of, and that no example of any split has."""
    known: set[str] = set()
    for split in artifact_utils.decode_split_names(statistics.split_names):
        proto = stats_artifact_utils.load_statistics(statistics, split).proto()
        known |= {".".join(f.path.step) or f.name for f in proto.datasets[0].features}
    for column in dict.fromkeys(f.column for f in recipe.features if f.column not in known):
        of = ", ".join(f.name for f in recipe.features if f.column == column)
        yield f"{column} in all splits: expected values, for feature {of}; came: none in any row"


def _check_rows(dead_letters: DeadLetters, statistics: artifact.Artifact) -> None:
    counts = read_counts(dead_letters.uri)
    letters = dict.fromkeys(counts, 0)
    for name in fileio.listdir(dead_letters.uri):
        if name.startswith("dead_letters-"):
            with fileio.open(f"{dead_letters.uri}/{name}", "rb") as stream:
                letters[name.split("-")[1]] += sum(1 for _ in stream)
    examples = {split: rows_of(statistics, split) for split in counts["events"]["examples"]}
    check_written(counts, letters, examples)


def rows_of(statistics: artifact.Artifact, split: str) -> int:
    """How many examples some statistics are of."""
    proto = stats_artifact_utils.load_statistics(statistics, split).proto()
    return int(proto.datasets[0].num_examples)


def _odd_days(
    examples: artifact.Artifact,
    statistics: artifact.Artifact,
    schema: schema_pb2.Schema,
    recipe: Recipe,
) -> Iterator[str]:
    """What is wrong with the days of all splits but the first."""
    if not recipe.day_change and not recipe.day_auc_change:
        return
    watched = day_profile.Watched.of(recipe)
    if watched.needed - {feature.name for feature in schema.feature}:
        return  # ExampleValidator tells of it; or another example gen says nothing of days
    shards = {
        split: fileio.glob(f"{artifact_utils.get_split_uri([examples], split)}/*")
        for split in artifact_utils.decode_split_names(examples.split_names)
    }
    rows = sum(rows_of(statistics, split) for split in shards)
    days = day_profile.profile(*day_profile.read(shards, rows, schema, watched), watched)
    new = recipe.log.splits[1:]
    days = {**day_profile.without_rows(new), **days}
    names = tuple(split.name for split in new)
    yield from day_checks.complaints(days, names, recipe.day_change, recipe.day_auc_change)


def read_counts(uri: str) -> dict[str, Any]:
    """What VideoLogExampleGen counted, out of its dead letters' folder."""
    with fileio.open(f"{uri}/counts.json", "rb") as stream:
        return json.loads(stream.read())


def refusal(complaints: list[str]) -> str:
    """The message of a refusal."""
    shown = "\n".join(f"  {line}" for line in complaints[:LARGEST])
    more = len(complaints) - LARGEST
    rest = f"\n  and {more} more, see the log file" if more > 0 else ""
    return (
        f"the data is not what the schema says, or not like the other days:\n{shown}{rest}\n"
        "Mend the log; or, if the data is right, change the schema or the recipe's "
        "drift_threshold, day_change or day_auc_change"
    )


def _all_complaints(uri: str, prefix: str, where: str, schema: schema_pb2.Schema) -> Iterator[str]:
    for folder in sorted(fileio.listdir(uri) if fileio.exists(uri) else []):
        if folder.startswith(prefix):
            with fileio.open(f"{uri}/{folder}/{FILE}", "rb") as stream:
                found = anomalies_pb2.Anomalies.FromString(stream.read())
            yield from complaints(found, where.format(folder[len(prefix) :]), schema)


def complaints(
    found: anomalies_pb2.Anomalies, where: str, schema: schema_pb2.Schema
) -> Iterator[str]:
    """One line per anomaly: the feature, where, what was expected, what came.

    Comparisons that could not be made are no complaint: a new column has no past, and whether a
    column is there at all ExampleValidator says.
    """
    features = {f.name: f for f in schema.feature}
    infos = sorted(found.anomaly_info.items())
    if found.HasField("dataset_anomaly_info"):
        infos.append(("the data set", found.dataset_anomaly_info))
    for name, info in infos:
        name = ".".join(info.path.step) or name
        came = [
            reason.description or reason.short_description
            for reason in info.reason
            if reason.type != Info.STATS_NOT_AVAILABLE
        ]
        if came and info.severity == Info.ERROR:
            wanted = f"expected {describe(features[name], schema)}; " if name in features else ""
            yield f"{name} {where}: {wanted}came: {' '.join(came)}"
    if found.data_missing:
        yield f"the data set {where}: expected examples; came: none"
