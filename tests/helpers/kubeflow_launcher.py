"""Runs a compiled pipeline on this machine, the way Kubeflow's driver and launcher do.

What it follows (kubeflow/pipelines, backend/src/v2):
- driver/resolve.go: inputs from the parent DAG, from a task's output parameter or artifact, from a
  constant (with {{$.pipeline_job_uuid}}), from the final status of a task; types are checked.
- driver/driver.go, provisionOutputs: every output gets a fresh URI under the run's own folder of
  the pipeline root; inputs and outputs go into one ExecutorInput.
- driver/cache.go with cacheutils/cache.go: the key is made of input parameters, the NAMES of input
  artifacts (not their URIs), output names, image, command and arguments.
- compiler/argocompiler/dag.go: a task starts when all its dependent tasks succeeded; a task with
  ALL_UPSTREAM_TASKS_COMPLETED runs however they ended.
- component/launcher_v2.go: placeholders in command and arguments, the process itself, its exit
  status, retries, output parameters and metadata from the executor's output file (a parameter that
  is missing is an error), and no output outside the run's own folder.
What it leaves out: images, resources and volumes (a step is a process on this machine); object
stores (the root is a folder that steps read in place); tasks in parallel; importers and loops,
which these pipelines do not have.
"""

import hashlib
import json
import os
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import yaml

KINDS = {"STRING": str, "LIST": list, "STRUCT": dict, "TASK_FINAL_STATUS": dict}


@dataclass
class Task:
    """How a task ended: SUCCEEDED, CACHED, FAILED or SKIPPED, and what it gave."""

    state: str
    parameters: dict = field(default_factory=dict)
    artifacts: dict = field(default_factory=dict)
    log: str = ""


@dataclass
class Run:
    """A finished run."""

    id: str
    state: str
    tasks: dict[str, Task]


class Launcher:
    """Runs the pipeline of a YAML file again and again; remembers what it can reuse."""

    def __init__(self, file: Path, pipeline_root: Path, environment: dict[str, str]):
        self.spec = next(yaml.safe_load_all(file.read_text()))
        self.root, self.cache = pipeline_root, {}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, **environment}

    def run(self, **parameters) -> Run:
        """One run with these parameters."""
        run_id = uuid.uuid4().hex
        declared = self.spec["root"]["inputDefinitions"]["parameters"]
        assert set(parameters) <= set(declared), f"no such parameters: {parameters}"
        values = {key: each["defaultValue"] for key, each in declared.items()} | parameters
        tasks: dict[str, Task] = {}
        state = self.dag(self.spec["root"]["dag"], values, run_id, tasks)
        return Run(run_id, state, tasks)

    def dag(self, dag, values, run_id, found) -> str:
        """All tasks of a DAG; tasks of DAGs inside it are added to `found`, too."""
        mine: dict[str, Task] = {}
        waiting = dict(dag["tasks"])
        while waiting:
            name = next(
                name
                for name, task in waiting.items()
                if set(task.get("dependentTasks", [])) <= set(mine)
            )
            task = waiting.pop(name)
            above = [mine[other].state for other in task.get("dependentTasks", [])]
            always = task.get("triggerPolicy", {}).get("strategy") == "ALL_UPSTREAM_TASKS_COMPLETED"
            if not always and not set(above) <= {"SUCCEEDED", "CACHED"}:
                mine[name] = Task("SKIPPED")
            else:
                mine[name] = self.task(task, values, run_id, mine, found)
            found[name] = mine[name]
        states = {task.state for task in mine.values()}
        return "SUCCEEDED" if states <= {"SUCCEEDED", "CACHED"} else "FAILED"

    def task(self, task, values, run_id, siblings, found) -> Task:
        component = self.spec["components"][task["componentRef"]["name"]]
        inputs = self.inputs(task, component, values, run_id, siblings)
        if "dag" in component:
            return Task(self.dag(component["dag"], inputs["parameterValues"], run_id, found))
        outputs = self.outputs(task, component, run_id)
        container = self.spec["deploymentSpec"]["executors"][component["executorLabel"]][
            "container"
        ]
        key = cache_key(inputs, outputs, container)
        if task.get("cachingOptions", {}).get("enableCache") and key in self.cache:
            done = self.cache[key]
            return Task("CACHED", done.parameters, done.artifacts)
        for _ in range(1 + task.get("retryPolicy", {}).get("maxRetryCount", 0)):
            done = self.launch(inputs, outputs, container, component)
            if done.state == "SUCCEEDED":
                self.cache[key] = done
                break
        return done

    def inputs(self, task, component, values, run_id, siblings) -> dict:
        """The ExecutorInput's inputs."""
        declared = component.get("inputDefinitions", {})
        given = task.get("inputs", {})
        assert set(given.get("parameters", {})) == set(declared.get("parameters", {})), task
        assert set(given.get("artifacts", {})) == set(declared.get("artifacts", {})), task
        parameters = {}
        for name, source in given.get("parameters", {}).items():
            (kind,) = source
            if kind == "componentInputParameter":
                value = values[source[kind]]
            elif kind == "runtimeValue":
                value = source[kind]["constant"]
                value = run_id if value == "{{$.pipeline_job_uuid}}" else value
            elif kind == "taskOutputParameter":
                producer = siblings[source[kind]["producerTask"]]
                value = producer.parameters[source[kind]["outputParameterKey"]]
            elif kind == "taskFinalStatus":
                producer = source[kind]["producerTask"]
                state = siblings[producer].state
                value = {"state": state, "pipelineTaskName": producer, "error": {}}
            else:
                raise AssertionError(f"{kind} is not resolved by Kubeflow's driver")
            expected = KINDS[declared["parameters"][name]["parameterType"]]
            assert isinstance(value, expected), f"{name} must be {expected}, came {value!r}"
            parameters[name] = value
        artifacts = {}
        for name, source in given.get("artifacts", {}).items():
            producer = siblings[source["taskOutputArtifact"]["producerTask"]]
            made = producer.artifacts[source["taskOutputArtifact"]["outputArtifactKey"]]
            artifacts[name] = {"artifacts": [made]}
        return {"parameterValues": parameters, "artifacts": artifacts}

    def outputs(self, task, component, run_id) -> dict:
        """The ExecutorInput's outputs, each artifact with a URI that nothing had before."""
        name, declared = task["taskInfo"]["name"], component.get("outputDefinitions", {})
        base = self.root / self.spec["pipelineInfo"]["name"] / run_id / name / uuid.uuid4().hex
        scratch = base / "scratch"
        return {
            "artifacts": {
                key: {"artifacts": [{"uri": str(base / key), "type": each["artifactType"]}]}
                for key, each in declared.get("artifacts", {}).items()
            },
            "parameters": {
                key: {"outputFile": str(scratch / key)} for key in declared.get("parameters", {})
            },
            "outputFile": str(scratch / "output_metadata.json"),
        }

    def launch(self, inputs, outputs, container, component) -> Task:
        """The container's own command in a process of its own."""
        executor_input = json.dumps({"inputs": inputs, "outputs": outputs})
        command = [
            part.replace("{{$}}", executor_input)
            for part in (*container["command"], *container.get("args", []))
        ]
        done = subprocess.run(
            command,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
        )
        if done.returncode:
            return Task("FAILED", log=done.stdout)
        told = Path(outputs["outputFile"])
        told = json.loads(told.read_text()) if told.is_file() else {}
        values = told.get("parameterValues", {})
        for key in component.get("outputDefinitions", {}).get("parameters", {}):
            assert key in values, f"output parameter {key} was not written"
        artifacts = {}
        for key, list_ in outputs["artifacts"].items():
            before = list_["artifacts"][0]
            after = (told.get("artifacts", {}).get(key) or {"artifacts": [{}]})["artifacts"][0]
            uri = after.get("uri") or before["uri"]
            assert uri.startswith(before["uri"]), f"{uri} is outside of the run's own folder"
            # A reader gets from the metadata store: no name, the type as an instance schema, and
            # two more facts.
            title = before["type"]["schemaTitle"]
            kind = {"instanceSchema": f"title: {title}"}
            about = {**after.get("metadata", {}), "display_name": key, "store_session_info": "{}"}
            artifacts[key] = {"uri": uri, "type": kind, "metadata": about}
        return Task("SUCCEEDED", values, artifacts, log=done.stdout)


def cache_key(inputs, outputs, container) -> str:
    """What Kubeflow's cache compares."""
    names = {
        key: [a.get("name", "") for a in each["artifacts"]]
        for key, each in inputs["artifacts"].items()
    }
    made = {key: each["artifacts"][0]["type"] for key, each in outputs["artifacts"].items()}
    parts = [inputs["parameterValues"], names, made, sorted(outputs["parameters"])]
    text = json.dumps(
        [parts, container["image"], container["command"], container["args"]], sort_keys=True
    )
    return hashlib.sha256(text.encode()).hexdigest()
