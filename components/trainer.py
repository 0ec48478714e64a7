"""Trainer: TFX's own; further inputs are tickets and an earlier day's model."""

from __future__ import annotations

import json
import os
from typing import Any

from tfx import types
from tfx.components.trainer.executor import GenericExecutor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import trainer_pb2
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter
from tfx.utils import io_utils

from ncs4cvr.components import analysis, unfinished
from ncs4cvr.components.artifacts import TRAINED_TO, TaskTickets
from ncs4cvr.schemas.recipe import Recipe

RUN_FN = "ncs4cvr.models.trainer.run_fn"


class Executor(GenericExecutor):
    """Adds the folders of further inputs and of the checkpoint to run_fn's custom_config."""

    def Do(self, input_dict, output_dict, exec_properties):
        """Trains; notes on the run up to which day, and keeps its graph there for the next days."""
        super().Do(input_dict, output_dict, exec_properties)
        config = json.loads(exec_properties["custom_config"])
        recipe = Recipe.from_json(config["recipe"])
        run = artifact_utils.get_single_instance(output_dict["model_run"])
        run.set_string_custom_property(TRAINED_TO, recipe.trained_to)
        if recipe.analyze_every_days:
            graph = artifact_utils.get_single_uri(input_dict["transform_graph"])
            io_utils.copy_dir(graph, os.path.join(run.uri, analysis.GRAPH))
        unfinished.forget(config["checkpoints"])

    def _GetFnArgs(self, input_dict, output_dict, exec_properties):
        fn_args = super()._GetFnArgs(input_dict, output_dict, exec_properties)
        config: dict[str, Any] = dict(fn_args.custom_config)
        for key in ("tickets", "last_run"):
            if input_dict.get(key):
                config[key] = artifact_utils.get_single_uri(input_dict[key])
        where = unfinished.checkpoint(config["checkpoints"], input_dict, exec_properties)
        config["checkpoint"] = where
        fn_args.custom_config = config
        return fn_args


class TrainerSpec(types.ComponentSpec):
    """TFX's TrainerSpec with two more inputs."""

    PARAMETERS = standard_component_specs.TrainerSpec.PARAMETERS
    INPUTS = {
        **standard_component_specs.TrainerSpec.INPUTS,
        "tickets": ChannelParameter(type=TaskTickets, optional=True),
        "last_run": ChannelParameter(type=standard_artifacts.ModelRun, optional=True),
    }
    OUTPUTS = standard_component_specs.TrainerSpec.OUTPUTS
    TYPE_ANNOTATION = standard_component_specs.TrainerSpec.TYPE_ANNOTATION


class Trainer(base_component.BaseComponent):
    """Joint training under the tickets.

    Args:
      examples: of VideoLogExampleGen; they are transformed as they are read.
      transform_graph, schema: as for TFX's Trainer.
      tickets: TaskTickets, for sharings that have them.
      last_run: the last pushed model's, for a warm start.
      recipe: the recipe as JSON.
      code_version: of the model code; TFX's cache knows the run_fn only by its name.
      checkpoints: folder for the checkpoints of unfinished trainings.
      train_split, valid_split: names of the splits.
    """

    SPEC_CLASS = TrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        schema: types.BaseChannel,
        *,
        recipe: str,
        code_version: str,
        checkpoints: str,
        tickets: types.BaseChannel | None = None,
        last_run: types.BaseChannel | None = None,
        train_split: str = "train",
        valid_split: str = "validate",
    ):
        config = {
            "recipe": recipe,
            "code_version": code_version,
            "checkpoints": checkpoints,
        }
        spec = TrainerSpec(
            examples=examples,
            transform_graph=transform_graph,
            schema=schema,
            tickets=tickets,
            last_run=last_run,
            train_args=trainer_pb2.TrainArgs(splits=[train_split]),
            eval_args=trainer_pb2.EvalArgs(splits=[valid_split]),
            run_fn=RUN_FN,
            custom_config=json.dumps(config, sort_keys=True),
            model=types.Channel(type=standard_artifacts.Model),
            model_run=types.Channel(type=standard_artifacts.ModelRun),
        )
        super().__init__(spec=spec)
