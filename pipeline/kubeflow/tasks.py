"""The tasks of a compiled pipeline, and the component and the executor of each."""

from __future__ import annotations

from typing import Any

from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.base.executor_spec import BeamExecutorSpec

from ncs4cvr.pipeline.kubeflow import nodes
from ncs4cvr.pipeline.kubeflow.plan import FILES, packed
from ncs4cvr.pipeline.kubeflow.resources import PLAN, REPORT, Options, default_of
from ncs4cvr.schemas.recipe import Recipe

Json = dict[str, Any]

STEPS = "exit-handler-1"  # the task whose end the report waits for
COMMAND = ["python", "-m", "ncs4cvr.pipeline.kubeflow.step"]
IMAGE = "pipelinechannel--image"  # the backend replaces images only under names like this

#: Types that Kubeflow's pages show specially.
TYPES = {"Model": "system.Model", "Examples": "system.Dataset"}

#: Steps that end the same way however often they are tried.
NEVER_RETRIED = ("DataGate",)


class Tasks:
    """Collects tasks, components and executors."""

    def __init__(self, options: Options, cached: set[str]):
        self.options, self.cached = options, cached
        self.tasks: Json = {}
        self.components: Json = {}
        self.executors: Json = {}
        self.report_task: Json = {}

    def plan(self, recipe: Recipe, schema: str, steps: list[str]) -> None:
        """The step that tells all others what to do."""
        given = ("date", "root", *FILES, "gates", "settings")
        parameters = {name: _from_run(name) for name in given}
        parameters |= {
            "recipe": _constant(packed(recipe.to_json())),
            "schema": _constant(packed(schema)),
            "run": _constant("{{$.pipeline_job_uuid}}"),
        }
        self.tasks[PLAN] = self._task(PLAN, PLAN, ["plan"], parameters)
        told = {name: {"parameterType": "STRING"} for name in steps}
        self.components[f"comp-{PLAN}"]["outputDefinitions"] = {"parameters": told}

    def step(self, node: BaseNode) -> None:
        """A node of the TFX pipeline."""
        name = nodes.task_name(node.id)
        parameters = {"told": _from_task(PLAN, name)}
        if isinstance(getattr(node, "executor_spec", None), BeamExecutorSpec):
            parameters["beam_args"] = _from_run("beam_args")
        if node.id in nodes.LETS_THROUGH:
            parameters["run"] = _constant("{{$.pipeline_job_uuid}}")
        task = self._task(name, node.id, _arguments(node), parameters)
        made = nodes.feeds(node)
        if made:
            task["inputs"]["artifacts"] = {
                key: {
                    "taskOutputArtifact": {
                        "producerTask": nodes.task_name(maker),
                        "outputArtifactKey": output,
                    }
                }
                for key, (maker, output) in made.items()
            }
            self.components[f"comp-{name}"]["inputDefinitions"]["artifacts"] = {
                key: _artifact(node.inputs[key].type) for key in made
            }
        outputs = [nodes.FOUND] if nodes.is_look_up(node) else list(node.outputs)
        self.components[f"comp-{name}"]["outputDefinitions"] = {
            "artifacts": {key: _artifact(node.outputs[key].type) for key in outputs}
        }
        above = {PLAN, *(nodes.task_name(other.id) for other in node.upstream_nodes)}
        task["dependentTasks"] = sorted(above)
        if node.id in self.cached:
            task["cachingOptions"] = {"enableCache": True}
        self.tasks[name] = task

    def report(self) -> None:
        """What runs however the steps end."""
        parameters = {name: _from_run(name) for name in ("date", "root")}
        parameters["run"] = _constant("{{$.pipeline_job_uuid}}")
        parameters["status"] = {"taskFinalStatus": {"producerTask": STEPS}}
        task = self._task(REPORT, REPORT, ["report"], parameters)
        task["inputs"]["parameters"][IMAGE] = _from_run("image")
        task["dependentTasks"] = [STEPS]
        task["triggerPolicy"] = {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
        status = self.components[f"comp-{REPORT}"]["inputDefinitions"]["parameters"]["status"]
        status["isOptional"] = True
        self.report_task = task

    def _task(self, name: str, node_id: str, arguments: list[str], parameters: Json) -> Json:
        """A task without artifacts; its component and executor are collected."""
        parameters = {**parameters, IMAGE: _from_run("image")}
        chosen = dict(self.options.resources).get(node_id, default_of(node_id))
        self.executors[f"exec-{name}"] = {
            "container": {
                "image": f"{{{{$.inputs.parameters['{IMAGE}']}}}}",
                "command": COMMAND,
                "args": [*arguments, "--executor_input", "{{$}}"],
                "resources": chosen.to_spec(),
            }
        }
        kinds = {key: {"parameterType": _kind(key)} for key in parameters}
        self.components[f"comp-{name}"] = {
            "executorLabel": f"exec-{name}",
            "inputDefinitions": {"parameters": kinds},
        }
        task: Json = {
            "componentRef": {"name": f"comp-{name}"},
            "taskInfo": {"name": name},
            "inputs": {"parameters": parameters},
            "cachingOptions": {},
        }
        if self.options.retries and node_id not in NEVER_RETRIED:
            task["retryPolicy"] = {
                "maxRetryCount": self.options.retries,
                "backoffDuration": "30s",
                "backoffFactor": 2.0,
                "backoffMaxDuration": "3600s",
            }
        return task


def _arguments(node: BaseNode) -> list[str]:
    """What step.py is asked to do for a node."""
    if nodes.is_look_up(node):
        return ["look-up"]
    if isinstance(node, ImportSchemaGen):
        return ["schema"]
    if isinstance(node, BaseComponent):
        return ["run", "--component", f"{type(node).__module__}.{type(node).__qualname__}"]
    raise TypeError(
        f"{node.id}: a {type(node).__name__} cannot run on Kubeflow; expected a component, a "
        "schema or a look-up (tickets of another run are for the local runner only)"
    )


def _kind(parameter: str) -> str:
    kinds = {
        "gates": "STRUCT",
        "settings": "LIST",
        "beam_args": "LIST",
        "status": "TASK_FINAL_STATUS",
    }
    return kinds.get(parameter, "STRING")


def _artifact(kind: type) -> Json:
    title = TYPES.get(kind.__name__, "system.Artifact")
    return {"artifactType": {"schemaTitle": title, "schemaVersion": "0.0.1"}}


def _from_run(name: str) -> Json:
    return {"componentInputParameter": name}


def _from_task(task: str, key: str) -> Json:
    return {"taskOutputParameter": {"producerTask": task, "outputParameterKey": key}}


def _constant(value: str) -> Json:
    return {"runtimeValue": {"constant": value}}
