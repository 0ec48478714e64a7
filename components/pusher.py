"""Pusher: TFX's own, except that a version appears whole or not at all."""

from __future__ import annotations

import os
import time
from typing import Any

from tfx import types
from tfx.components.pusher import component, executor
from tfx.dsl.components.base import executor_spec
from tfx.dsl.io import fileio
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils, proto_utils

from ncs4cvr.components.artifacts import MODEL_ID


class Executor(executor.Executor):
    """Copies the model beside its place and renames the folder once, when everything is there."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes a blessed model to `<base_directory>/<unix time>`; another one nowhere.

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
        model = self.GetModelPath(input_dict)
        io_utils.copy_dir(model, pushed.uri)
        version = push(model, destination.filesystem.base_directory)
        checked = artifact_utils.get_single_instance(
            input_dict[standard_component_specs.INFRA_BLESSING_KEY]
        )
        pushed.set_int_custom_property(MODEL_ID, checked.get_int_custom_property(MODEL_ID))
        self._MarkPushed(
            pushed, os.path.join(destination.filesystem.base_directory, version), version
        )


def push(model: str, base: str) -> str:
    """Copies a SavedModel to the next version under `base`; returns the version's number.

    A name that is no number is invisible to TF Serving, so the copy is made under one; what a push
    that was killed left under such a name is removed first.
    """
    unfinished = os.path.join(base, ".pushing")
    if fileio.exists(unfinished):
        fileio.rmtree(unfinished)
    io_utils.copy_dir(model, unfinished)
    version = int(time.time())
    while fileio.exists(os.path.join(base, str(version))):
        version += 1
    fileio.rename(unfinished, os.path.join(base, str(version)))
    return str(version)


class Pusher(component.Pusher):
    """TFX's Pusher with this executor; `push_destination` names a folder."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)
