"""Transform: TFX's own, except that it may keep what it learned for the last pushed model."""

from __future__ import annotations

import logging
from typing import Any

from tfx import types
from tfx.components.transform import executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import transform_pb2
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter
from tfx.utils import io_utils, json_utils

from ncs4cvr.components import analysis
from ncs4cvr.schemas.recipe import Recipe

PREPROCESSING_FN = "ncs4cvr.models.preprocessing.preprocessing_fn"
logger = logging.getLogger("ncs4cvr")


class Executor(executor.Executor):
    """Copies the last pushed model's graph where it may be kept; else does what TFX's does."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the graph; beside it, how it was come by (see analysis.kept)."""
        config = json_utils.loads(exec_properties[standard_component_specs.CUSTOM_CONFIG_KEY])
        recipe = Recipe.from_json(config["recipe"])
        file = io_utils.get_only_uri_in_dir(artifact_utils.get_single_uri(input_dict["schema"]))
        schema = io_utils.SchemaReader().read(file)
        now = analysis.made_from(recipe, schema, config["code_version"])
        run = input_dict.get("last_run")
        kept, facts = analysis.kept(recipe, now, artifact_utils.get_single_uri(run) if run else "")
        logger.info("%s: %s", "vocabularies kept" if kept else "analysis", facts["decision"]["why"])
        graph = artifact_utils.get_single_uri(output_dict["transform_graph"])
        if kept:
            self._log_startup(input_dict, output_dict, exec_properties)
            io_utils.copy_dir(kept, graph)
        else:
            super().Do(input_dict, output_dict, exec_properties)
        analysis.write(graph, facts)


class TransformSpec(types.ComponentSpec):
    """TFX's TransformSpec with one more input."""

    PARAMETERS = standard_component_specs.TransformSpec.PARAMETERS
    INPUTS = {
        **standard_component_specs.TransformSpec.INPUTS,
        "last_run": ChannelParameter(type=standard_artifacts.ModelRun, optional=True),
    }
    OUTPUTS = standard_component_specs.TransformSpec.OUTPUTS
    TYPE_ANNOTATION = standard_component_specs.TransformSpec.TYPE_ANNOTATION


class Transform(base_component.BaseComponent):
    """Learns vocabularies, boundaries and scales from the training split; writes no rows.

    Training transforms what it reads: see models/learning/batches.py. TFX's cache of analyses is
    off: it pays only where files of earlier days come again.

    Args:
      examples, schema: as for TFX's Transform.
      recipe: the recipe as JSON.
      code_version: of preprocessing; TFX's cache knows the preprocessing_fn only by its name.
      last_run: the last pushed model's, whose graph may be kept.
      train_split: name of the split that is analyzed.
    """

    SPEC_CLASS = TransformSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        schema: types.BaseChannel,
        *,
        recipe: str,
        code_version: str,
        last_run: types.BaseChannel | None = None,
        train_split: str = "train",
    ):
        spec = TransformSpec(
            examples=examples,
            schema=schema,
            last_run=last_run,
            preprocessing_fn=PREPROCESSING_FN,
            splits_config=transform_pb2.SplitsConfig(analyze=[train_split]),
            disable_statistics=1,
            force_tf_compat_v1=0,
            custom_config=json_utils.dumps({"recipe": recipe, "code_version": code_version}),
            transform_graph=types.Channel(type=standard_artifacts.TransformGraph),
        )
        super().__init__(spec=spec)
