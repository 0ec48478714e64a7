"""Pusher: TFX's own, except that a version appears whole or not at all (versions.py)."""

from __future__ import annotations

import logging
import os
from typing import Any

from tfx import types
from tfx.components.pusher import executor
from tfx.dsl.components.base import base_component, executor_spec
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_artifacts, standard_component_specs
from tfx.types.component_spec import ChannelParameter
from tfx.utils import io_utils, json_utils, proto_utils

from ncs4cvr.components import checksums, retention, versions
from ncs4cvr.components.artifacts import MODEL_ID, RUN_ID, TRAINED_TO, WHY_NOT

KEEP_VERSIONS = "keep_versions"  # in the component's custom_config
ROLLED_BACK = "it was rolled back from"
logger = logging.getLogger("ncs4cvr")


class NotPushed(Exception):
    """A model that passed every gate is not to be served; the message says why."""


class Executor(executor.Executor):
    """Pushes a blessed model to `<base_directory>/<version>`; another one nowhere."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Publishes the model, unless `push` has a reason not to; removes the oldest versions.

        What is pushed is the copy in ServingCheck's blessing, with its warm-up requests. The
        PushedModel names the model, with the day up to which it was trained, so that later runs can
        compare themselves with it, and the model's run, so that they can go on from there; or it
        says why a blessed model is not pushed.
        """
        self._log_startup(input_dict, output_dict, exec_properties)
        pushed = artifact_utils.get_single_instance(
            output_dict[standard_component_specs.PUSHED_MODEL_KEY]
        )
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(
            exec_properties[standard_component_specs.PUSH_DESTINATION_KEY], destination
        )
        base = destination.filesystem.base_directory
        model = self.GetModelPath(input_dict)
        told = exec_properties.get(standard_component_specs.CUSTOM_CONFIG_KEY)
        config = (json_utils.loads(told) if told else None) or {}
        try:
            version = push(model, base, config.get(TRAINED_TO, ""))
        except NotPushed as why:
            logger.warning("not pushed: %s", why)
            self._MarkNotPushed(pushed)
            pushed.set_string_custom_property(WHY_NOT, str(why))
            return
        if keep := config.get(KEEP_VERSIONS):
            retention.retain(base, keep)
        io_utils.copy_dir(model, pushed.uri)
        checked = artifact_utils.get_single_instance(
            input_dict[standard_component_specs.INFRA_BLESSING_KEY]
        )
        pushed.set_string_custom_property(TRAINED_TO, config.get(TRAINED_TO, ""))
        pushed.set_int_custom_property(MODEL_ID, checked.get_int_custom_property(MODEL_ID))
        if run := input_dict.get("model_run"):
            pushed.set_int_custom_property(RUN_ID, artifact_utils.get_single_instance(run).id)
        self._MarkPushed(pushed, os.path.join(base, version), version)


def push(model: str, base: str, trained_to: str = "") -> str:
    """Makes sure that this SavedModel is served; returns its version's number.

    The model that is served already, whole, is not copied again, unless a part of a version lies
    above it.

    Args:
      model: its folder.
      base: the folder of versions.
      trained_to: the last day that it was trained on; "" where there are no days.

    Raises:
      NotPushed: it was rolled back from, or what is served was trained up to a later day.
    """
    mine = versions.content(checksums.of(model, versions.MANIFEST))
    number, refused = versions.served(base), versions.refused(base)
    served = versions.manifest(base, number) if number else None
    if served and mine == served.content and number == versions.highest(base):
        return str(number)
    if mine in refused:
        raise NotPushed(ROLLED_BACK)
    if served and trained_to and trained_to < served.trained_to:
        raise NotPushed(
            f"it is older than what is served: trained to {trained_to}, served is "
            f"{served.trained_to}"
        )
    return versions.publish(model, base, no_more=refused, trained_to=trained_to)


class PusherSpec(types.ComponentSpec):
    """TFX's PusherSpec with one more input."""

    PARAMETERS = standard_component_specs.PusherSpec.PARAMETERS
    INPUTS = {
        **standard_component_specs.PusherSpec.INPUTS,
        "model_run": ChannelParameter(type=standard_artifacts.ModelRun, optional=True),
    }
    OUTPUTS = standard_component_specs.PusherSpec.OUTPUTS
    TYPE_ANNOTATION = standard_component_specs.PusherSpec.TYPE_ANNOTATION


class Pusher(base_component.BaseComponent):
    """TFX's Pusher with this executor.

    Args:
      model_blessing: ModelGate's.
      infra_blessing: ServingCheck's, with the model.
      push_destination: names a folder.
      keep_versions: all but so many of the last versions are removed; 0 removes none.
      trained_to: the last day that the model was trained on; "" where there are no days.
      model_run: of the model, for the next day's warm start.
    """

    SPEC_CLASS = PusherSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(
        self,
        *,
        model_blessing: types.BaseChannel,
        infra_blessing: types.BaseChannel,
        push_destination: pusher_pb2.PushDestination,
        keep_versions: int = 0,
        trained_to: str = "",
        model_run: types.BaseChannel | None = None,
    ):
        told = {KEEP_VERSIONS: keep_versions, TRAINED_TO: trained_to}
        config = {key: value for key, value in told.items() if value} or None
        spec = PusherSpec(
            model_blessing=model_blessing,
            infra_blessing=infra_blessing,
            push_destination=push_destination,
            custom_config=json_utils.dumps(config),
            model_run=model_run,
            pushed_model=types.Channel(type=standard_artifacts.PushedModel),
        )
        super().__init__(spec=spec)
