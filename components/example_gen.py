"""VideoLogExampleGen: the TFX component that turns raw logs into tf.Examples."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_component, base_beam_executor, executor_spec
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from ncs4cvr.components.artifacts import DeadLetters
from ncs4cvr.components.log.log_pipeline import write_examples
from ncs4cvr.components.log.row_checks import check_rows
from ncs4cvr.schemas.checks import from_plain
from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.log import Log


def rows_to_json(log: Log, features: Sequence[Feature]) -> tuple[str, str]:
    """The rows as JSON, stable in its order (TFX hashes it for its cache)."""
    rows = (dataclasses.asdict(log), [dataclasses.asdict(feature) for feature in features])
    return json.dumps(rows[0], sort_keys=True), json.dumps(rows[1], sort_keys=True)


def rows_from_json(log: str, features: str) -> tuple[Log, tuple[Feature, ...]]:
    """Rebuilds and checks what rows_to_json wrote."""
    return from_plain(Log, json.loads(log)), from_plain(tuple[Feature, ...], json.loads(features))


class Executor(base_beam_executor.BaseBeamExecutor):
    """Runs the Beam pipeline of log_pipeline.py into the component's artifacts."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the splits, the dead letters and counts.json. Raises LogError for a bad log."""
        self._log_startup(input_dict, output_dict, exec_properties)
        log, features = rows_from_json(exec_properties["log"], exec_properties["features"])
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        dead_letters = artifact_utils.get_single_instance(output_dict["dead_letters"])
        splits = [split.name for split in log.splits]
        examples.split_names = artifact_utils.encode_split_names(splits)
        examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(examples, "tfrecords_gzip")
        write_examples(
            log,
            features,
            {split: artifact_utils.get_split_uri([examples], split) for split in splits},
            dead_letters.uri,
            f"{self._get_tmp_dir()}/log_pipeline",
            self._make_beam_pipeline,
        )


class VideoLogExampleGenSpec(types.ComponentSpec):
    """What VideoLogExampleGen takes and gives."""

    PARAMETERS = {
        "log": ExecutionParameter(type=str),
        "features": ExecutionParameter(type=str),
        "code_version": ExecutionParameter(type=str),
        "log_fingerprint": ExecutionParameter(type=str),
    }
    INPUTS: dict[str, ChannelParameter] = {}
    OUTPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "dead_letters": ChannelParameter(type=DeadLetters),
    }


class VideoLogExampleGen(base_beam_component.BaseBeamComponent):
    """Joins a log with its users and videos, adds what was known before, and splits it by time.

    Every example carries the keys, the time, `day` (YYYYMMDD), all labels, and each column that a
    feature names. A row of the log that breaks a rule becomes a dead letter.

    Args:
      log: where the log lies and what it holds.
      features: the columns to write.
      code_version: changes whenever the code does, so that TFX's cache notices.
      log_fingerprint: `readers.fingerprint(log)`, so that TFX's cache notices changed files.

    Outputs: `examples` (gzip TFRecords, one split per Log.splits) and `dead_letters`.

    Raises:
      LogError: the rows contradict each other.
    """

    SPEC_CLASS = VideoLogExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        log: Log,
        features: Sequence[Feature],
        code_version: str = "",
        log_fingerprint: str = "",
    ):
        check_rows(log, features)
        log_json, features_json = rows_to_json(log, features)
        super().__init__(
            VideoLogExampleGenSpec(
                log=log_json,
                features=features_json,
                code_version=code_version,
                log_fingerprint=log_fingerprint,
                examples=types.Channel(type=standard_artifacts.Examples),
                dead_letters=types.Channel(type=DeadLetters),
            )
        )
