"""Pusher: TFX's own, except that a version appears whole or not at all (versions.py)."""

from __future__ import annotations

import logging
import os
from typing import Any

from tfx import types
from tfx.components.pusher import component, executor
from tfx.dsl.components.base import executor_spec
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils, json_utils, proto_utils

from ncs4cvr.components import checksums, versions
from ncs4cvr.components.artifacts import MODEL_ID

KEEP_VERSIONS = "keep_versions"  # in the component's custom_config
logger = logging.getLogger("ncs4cvr")


class Executor(executor.Executor):
    """Pushes a blessed model to `<base_directory>/<version>`; another one nowhere."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Publishes the model, unless it was rolled back from, and removes the oldest versions.

        What is pushed is the copy in ServingCheck's blessing, with its warm-up requests. The
        PushedModel names the model, so that the next run can compare itself with it.
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
        version = push(model, base)
        if not version:
            self._MarkNotPushed(pushed)
            return
        told = exec_properties.get(standard_component_specs.CUSTOM_CONFIG_KEY)
        config = json_utils.loads(told) if told else None
        if config:
            versions.retain(base, config[KEEP_VERSIONS])
        io_utils.copy_dir(model, pushed.uri)
        checked = artifact_utils.get_single_instance(
            input_dict[standard_component_specs.INFRA_BLESSING_KEY]
        )
        pushed.set_int_custom_property(MODEL_ID, checked.get_int_custom_property(MODEL_ID))
        self._MarkPushed(pushed, os.path.join(base, version), version)


def push(model: str, base: str) -> str:
    """Makes sure that this SavedModel is served; returns its version's number.

    The model that is served already, whole, is not copied again. One that was rolled back from is
    not pushed: "".
    """
    now = versions.served(base)
    if now:
        served = versions.manifest(base, now)
        mine = versions.content(checksums.of(model, versions.MANIFEST))
        if mine == served.content:
            return str(now)
        if mine in served.refused:
            logger.warning("this very model was rolled back from: version %d stays", now)
            return ""
    return versions.publish(model, base)


class Pusher(component.Pusher):
    """TFX's Pusher with this executor; `push_destination` names a folder.

    custom_config: {"keep_versions": n} removes all but the last n; without it none is removed.
    """

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
