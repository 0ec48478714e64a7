"""TicketSearch: a TFX component that finds one lottery ticket per task."""

from __future__ import annotations

import importlib
import os
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from ncs4cvr.components import unfinished
from ncs4cvr.components.artifacts import TaskTickets


class Executor(base_executor.BaseExecutor):
    """Calls `ncs4cvr.models.trainer.search_fn` on the splits."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the tickets into the output artifact; goes on with a search that was cut off."""
        self._log_startup(input_dict, output_dict, exec_properties)

        def split(name: str) -> str:
            uri = artifact_utils.get_split_uri(input_dict["examples"], exec_properties[name])
            return os.path.join(uri, "*")

        last_run, checkpoints = input_dict.get("last_run"), exec_properties["checkpoints"]
        # TensorFlow is loaded where the search runs, not where the pipeline is compiled.
        trainer = importlib.import_module("ncs4cvr.models.trainer")
        trainer.search_fn(
            exec_properties["recipe"],
            split("train_split"),
            split("valid_split"),
            artifact_utils.get_single_uri(input_dict["transform_graph"]),
            artifact_utils.get_single_uri(output_dict["tickets"]),
            artifact_utils.get_single_uri(last_run) if last_run else "",
            unfinished.checkpoint(checkpoints, input_dict, exec_properties),
        )
        unfinished.forget(checkpoints)


class TicketSearchSpec(types.ComponentSpec):
    """Examples in, which are transformed as they are read; tickets out."""

    PARAMETERS = {
        "recipe": ExecutionParameter(type=str),
        "code_version": ExecutionParameter(type=str),
        "checkpoints": ExecutionParameter(type=str),
        "train_split": ExecutionParameter(type=str),
        "valid_split": ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": ChannelParameter(type=standard_artifacts.Examples),
        "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph),
        "last_run": ChannelParameter(type=standard_artifacts.ModelRun, optional=True),
    }
    OUTPUTS = {"tickets": ChannelParameter(type=TaskTickets)}


class TicketSearch(base_component.BaseComponent):
    """Iterative magnitude pruning with rewinding, all tasks in one pass over the data.

    Its own step and artifact, so that a retrain can reuse tickets.

    Args:
      examples: of VideoLogExampleGen; they are transformed as they are read.
      transform_graph: knows types and vocabularies.
      last_run: the last pushed model's, whose tickets may be kept.
      recipe: the recipe as JSON.
      code_version: of the model code, for TFX's cache.
      checkpoints: folder for the checkpoints of unfinished searches.
      train_split, valid_split: names of the splits.
    """

    SPEC_CLASS = TicketSearchSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        *,
        recipe: str,
        code_version: str,
        checkpoints: str,
        last_run: types.BaseChannel | None = None,
        train_split: str = "train",
        valid_split: str = "validate",
    ):
        spec = TicketSearchSpec(
            examples=examples,
            transform_graph=transform_graph,
            last_run=last_run,
            recipe=recipe,
            code_version=code_version,
            checkpoints=checkpoints,
            train_split=train_split,
            valid_split=valid_split,
            tickets=types.Channel(type=TaskTickets),
        )
        super().__init__(spec=spec)
