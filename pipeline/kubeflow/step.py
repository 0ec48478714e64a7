"""What runs in a container of a Kubeflow pipeline.

    python -m ncs4cvr.pipeline.kubeflow.step MODE [--component CLASS] --executor_input JSON

Kubeflow's launcher fills in the JSON (an ExecutorInput), fetches inputs from and brings outputs to
the object store, and reads parameters and metadata from the file that `outputs.outputFile` names.
MODE: plan, schema, look-up, run (a TFX component) or report (when the run has ended).
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import logging
import os
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ncs4cvr.schemas  # noqa: F401  (asks for Keras 2 before TensorFlow is used)


@dataclass
class Call:
    """One ExecutorInput, and what its step says in return."""

    component: str
    parameters: dict[str, Any]
    inputs: dict[str, dict[str, Any]]
    outputs: dict[str, dict[str, Any]]
    output_file: Path
    asked: Collection[str] = ()  # names of output parameters
    told: dict[str, str] = field(default_factory=dict)  # output parameters

    @property
    def payload(self) -> dict[str, Any]:
        """What the plan says to this step (see plan.told)."""
        from ncs4cvr.pipeline.kubeflow.plan import unpacked

        return json.loads(unpacked(self.parameters["told"]))

    def finish(self) -> None:
        """Writes the ExecutorOutput."""
        self.output_file.parent.mkdir(parents=True, exist_ok=True)
        artifacts = {key: {"artifacts": [came]} for key, came in self.outputs.items()}
        text = json.dumps({"parameterValues": self.told, "artifacts": artifacts})
        self.output_file.write_text(text, encoding="utf-8")


def read_call(component: str, executor_input: str) -> Call:
    """Parses an ExecutorInput; every artifact list of these pipelines holds one artifact."""
    came = json.loads(executor_input)
    inputs, outputs = came.get("inputs", {}), came.get("outputs", {})

    def single(lists: dict[str, Any]) -> dict[str, dict[str, Any]]:
        return {key: each["artifacts"][0] for key, each in lists.items()}

    return Call(
        component,
        inputs.get("parameterValues", {}),
        single(inputs.get("artifacts", {})),
        single(outputs.get("artifacts", {})),
        Path(outputs["outputFile"]),
        tuple(outputs.get("parameters", {})),
    )


def plan(call: Call) -> None:
    """Tells every other step its execution properties, as output parameters.

    Begins the run's report before it looks at the files: a day without files is told, too.
    """
    from ncs4cvr.pipeline.kubeflow import nodes, reports
    from ncs4cvr.pipeline.kubeflow.plan import changed, told, unpacked
    from ncs4cvr.schemas.recipe import Recipe

    values = call.parameters
    recipe = changed(Recipe.from_json(unpacked(values["recipe"])), values)
    for split in recipe.log.splits:
        logging.info("%s: %s to %s", split.name, split.first, split.last)
    root = values["root"].rstrip("/")
    reports.write(root, values["run"], date=recipe.log.last_day, state="RUNNING")
    every = told(recipe, root, unpacked(values["schema"]))
    call.told = {nodes.task_name(node): payload for node, payload in every.items()}
    if strange := set(call.told) ^ set(call.asked):
        raise ValueError(
            f"with settings {values['settings']} the pipeline has other steps ({sorted(strange)}) "
            "than it was compiled with; compile it with these settings"
        )


def write_schema(call: Call) -> None:
    """Writes the curated schema, which the plan has as text, where others find it."""
    from tfx.utils import io_utils

    from ncs4cvr.pipeline.kubeflow.artifacts import path_of

    folder = path_of(call.outputs["schema"]["uri"])
    io_utils.write_string_file(f"{folder}/schema.pbtxt", call.payload["properties"]["text"])


def look_up(call: Call) -> None:
    """Copies what last passed in an earlier run to the output, which makes it this run's artifact.

    A copy, since Kubeflow's launcher accepts no output that lies under another run's folder.
    """
    from tfx.dsl.io import fileio
    from tfx.utils import io_utils

    from ncs4cvr.components import versions
    from ncs4cvr.pipeline.kubeflow import passed
    from ncs4cvr.pipeline.kubeflow.artifacts import ABSENT, own_metadata, path_of

    payload = call.payload
    properties = payload["properties"]
    if "before" in properties:
        refused = versions.refused(properties["serving"])
        found = passed.nearest(payload["register"], properties["before"], refused)
    else:
        tested_from = properties.get("tested_from", "")
        found = passed.latest(payload["register"], payload["entry"], tested_from)
    output = call.outputs["earlier"]
    if found is None and properties.get("else_itself"):
        candidate = call.inputs["candidate"]
        found = {"uri": path_of(candidate["uri"]), "metadata": own_metadata(candidate)}
    folder = path_of(output["uri"])
    fileio.makedirs(folder)
    if found is None:
        logging.info("nothing passed before")
        output["metadata"] = {ABSENT: 1}
        return
    logging.info("found %s", found["uri"])
    io_utils.copy_dir(found["uri"], os.path.join(folder, found.get("part", "")).rstrip("/"))
    output["metadata"] = found["metadata"]


def run(call: Call) -> None:
    """Runs a TFX component's executor; registers what it let through."""
    from tfx.dsl.components.base import base_beam_executor, base_executor
    from tfx.dsl.io import fileio
    from tfx.orchestration.portable import outputs_utils

    from ncs4cvr.pipeline import beam
    from ncs4cvr.pipeline.kubeflow.artifacts import ABSENT, metadata_of, to_tfx

    module, _, name = call.component.rpartition(".")
    component = getattr(importlib.import_module(module), name)
    spec, executor = component.SPEC_CLASS, component.EXECUTOR_SPEC.executor_class
    inputs = {
        key: [to_tfx(spec.INPUTS[key].type, came)]
        for key, came in call.inputs.items()
        if not came.get("metadata", {}).get(ABSENT)
    }
    outputs = {key: [to_tfx(spec.OUTPUTS[key].type, came)] for key, came in call.outputs.items()}
    for (artifact,) in outputs.values():
        fileio.makedirs(artifact.uri)
    first = next(iter(outputs.values()))[0].uri
    where: dict[str, Any] = {
        "tmp_dir": os.path.join(os.path.dirname(first.rstrip("/")), ".temp"),
        "unique_id": os.path.basename(first.rstrip("/")),
    }
    if issubclass(executor, base_beam_executor.BaseBeamExecutor):
        where["beam_pipeline_args"] = list(beam.arguments(call.parameters["beam_args"]))
        context = base_beam_executor.BaseBeamExecutor.Context(**where)
    else:
        context = base_executor.BaseExecutor.Context(**where)
    executor(context).Do(inputs, outputs, _parsed(spec, call.payload["properties"]))
    outputs_utils.tag_output_artifacts_with_version(outputs)
    for key, (artifact,) in outputs.items():
        call.outputs[key]["metadata"] = metadata_of(artifact)
    for passing in call.payload.get("lets_through", ()):
        _register(call, **passing)
    if fileio.exists(where["tmp_dir"]):
        fileio.rmtree(where["tmp_dir"])


def _parsed(spec: Any, properties: dict[str, Any]) -> dict[str, Any]:
    """Execution properties as the executor wants them: some are protos, which came as JSON."""
    from google.protobuf import json_format

    return {
        key: json_format.Parse(value, spec.PARAMETERS[key].type())
        if spec.PARAMETERS[key].use_proto
        else value
        for key, value in properties.items()
    }


def _register(call: Call, what: str, register: str, entry: str) -> None:
    """Adds what this step let through to the register, for the look-ups of later runs.

    A served version is named where it is; of other artifacts a copy is kept.
    """
    from tfx.utils import io_utils

    from ncs4cvr.components.artifacts import TRAINED_TO
    from ncs4cvr.components.latest_passed import content
    from ncs4cvr.pipeline.kubeflow import passed
    from ncs4cvr.pipeline.kubeflow.artifacts import own_metadata, path_of

    run_id = call.parameters["run"]
    about: dict[str, Any] = {"key": entry, "run": run_id}
    pushed = call.outputs.get("pushed_model", {"metadata": {"pushed": 1}})
    if not pushed["metadata"].get("pushed"):
        logging.warning("not pushed, no %s for later runs", what)
        return
    if what == "pushed_model":
        where = pushed["metadata"]["pushed_destination"]
        about[TRAINED_TO] = pushed["metadata"].get(TRAINED_TO, "")
        # The served part of a Model artifact.
        passed.add(register, where, part="Format-Serving", metadata={}, **about)
        return
    if "uri" in pushed:
        about["content"] = content(path_of(pushed["uri"]))
    came = call.inputs[what]
    kept = f"{register}/{run_id}-{entry}"
    io_utils.copy_dir(path_of(came["uri"]), kept)
    passed.add(register, kept, metadata=own_metadata(came), **about)


def report(call: Call) -> None:
    """Says how the run ended, in the step's log and in <root>/reports/<run>.json.

    Its day is the plan's, or as it was asked for where the plan did not come to know it.
    """
    from ncs4cvr.pipeline.kubeflow import passed, reports

    values = call.parameters
    root, run_id, status = values["root"].rstrip("/"), values["run"], values["status"]
    status = json.loads(status) if isinstance(status, str) else status
    pushed = [
        entry["uri"]
        for entry in passed.entries(f"{root}/passed/LastBlessedModel")
        if entry["run"] == run_id
    ]
    text = reports.write(
        root,
        run_id,
        date=reports.date_of(root, run_id) or values["date"],
        state=status.get("state", ""),
        error=(status.get("error") or {}).get("message", ""),
        pushed_to=pushed[0] if pushed else None,
        ended=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    )
    print(text)


MODES: dict[str, Callable[[Call], None]] = {
    "plan": plan,
    "schema": write_schema,
    "look-up": look_up,
    "run": run,
    "report": report,
}


def main(argv: Sequence[str] | None = None) -> int:
    """One step; what it raises ends it with status 1, and Kubeflow counts it as failed."""
    parser = argparse.ArgumentParser(prog="ncs4cvr.pipeline.kubeflow.step")
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--component", default="", help="dotted name of a TFX component's class")
    parser.add_argument("--executor_input", required=True, help="an ExecutorInput, as JSON")
    options = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger().setLevel(logging.INFO)
    call = read_call(options.component, options.executor_input)
    MODES[options.mode](call)
    call.finish()
    return 0


if __name__ == "__main__":
    sys.exit(main())
