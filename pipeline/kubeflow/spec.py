"""Compiles a recipe to a pipeline of Kubeflow Pipelines v2 (PipelineSpec, schema 2.1.0).

Reference: kubeflow/pipelines, api/v2alpha1/pipeline_spec.proto; how its backend reads it,
backend/src/v2/compiler/argocompiler and backend/src/v2/driver.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml
from google.protobuf import text_format
from tfx.dsl.components.base.base_node import BaseNode

from ncs4cvr.components.example_gen import VideoLogExampleGen
from ncs4cvr.pipeline.create import Places, create_pipeline
from ncs4cvr.pipeline.kubeflow import nodes
from ncs4cvr.pipeline.kubeflow.plan import FILES
from ncs4cvr.pipeline.kubeflow.resources import PLAN, REPORT, Options
from ncs4cvr.pipeline.kubeflow.tasks import STEPS, Tasks
from ncs4cvr.schemas import data_schema
from ncs4cvr.schemas.recipe import Recipe

Json = dict[str, Any]


def pipeline_name(recipe: Recipe) -> str:
    """The recipe's name as Kubernetes allows it.

    Raises:
      ValueError: nothing of it is allowed.
    """
    name = re.sub(r"[^a-z0-9]+", "-", recipe.name.lower()).strip("-")
    if not name:
        raise ValueError(f"recipe name {recipe.name!r} has no letter or digit; give it another")
    return name


def compile_pipeline(recipe: Recipe, options: Options) -> str:
    """The pipeline as YAML, ready for `kfp.Client` or an upload; reads no file of the log."""
    documents = [pipeline_spec(recipe, options)]
    if options.volumes:
        mounts = [{"constant": claim, "mountPath": path} for claim, path in options.volumes]
        executors = documents[0]["deploymentSpec"]["executors"]
        config = {"executors": {name: {"pvcMount": mounts} for name in executors}}
        documents.append({"platforms": {"kubernetes": {"deploymentSpec": config}}})
    return yaml.safe_dump_all(documents, sort_keys=True, width=100)


def pipeline_spec(recipe: Recipe, options: Options) -> Json:
    """The PipelineSpec: one sub-DAG with every step, and a report when it has ended."""
    components = _pipeline_nodes(recipe, options)
    known = {PLAN, REPORT, *(node.id for node in components)}
    if unknown := {name for name, _ in options.resources} - known:
        raise ValueError(f"--resources for {sorted(unknown)}; name one of {sorted(known)}")
    text = _schema_text(recipe)
    build = Tasks(options, cached=nodes.cacheable(components) if options.cache else set())
    build.plan(recipe, text, [nodes.task_name(node.id) for node in components])
    for node in components:
        build.step(node)
    build.report()
    inputs = _parameters(recipe, options)
    steps: Json = {
        "inputDefinitions": {"parameters": _required(inputs)},
        "dag": {"tasks": build.tasks},
    }
    passed_on = {name: {"componentInputParameter": name} for name in inputs}
    steps_task = {
        "componentRef": {"name": f"comp-{STEPS}"},
        "inputs": {"parameters": passed_on},
        "taskInfo": {"name": STEPS},
    }
    return {
        "pipelineInfo": {"name": pipeline_name(recipe)},
        "schemaVersion": "2.1.0",
        "sdkVersion": "kfp-2.4.0",
        "components": {**build.components, f"comp-{STEPS}": steps},
        "deploymentSpec": {"executors": build.executors},
        "root": {
            "inputDefinitions": {"parameters": inputs},
            "dag": {"tasks": {STEPS: steps_task, REPORT: build.report_task}},
        },
    }


def _pipeline_nodes(recipe: Recipe, options: Options) -> list[BaseNode]:
    """The nodes, makers first; which files there are is found out when the pipeline runs."""
    gen = VideoLogExampleGen(recipe.log, recipe.features)
    places = Places(options.root, options.root, options.root, schema=recipe.data_schema)
    return list(create_pipeline(recipe, places, example_gen=gen).components)


def _schema_text(recipe: Recipe) -> str:
    if not recipe.data_schema:
        return ""
    schema = data_schema.restricted(data_schema.read(recipe.data_schema), recipe)
    return text_format.MessageToString(schema)


def _parameters(recipe: Recipe, options: Options) -> Json:
    """The run's parameters with their defaults."""
    told: dict[str, tuple[str, Any, str]] = {
        "date": ("STRING", "", "day to test on, YYYY-MM-DD; empty: the recipe's own days"),
        "root": (
            "STRING",
            options.root,
            "folder that all runs share: serving, checkpoints, reports",
        ),
        **{f: ("STRING", getattr(recipe.log, f), "globs; {DATE} is a day") for f in FILES},
        "gates": ("STRUCT", {}, 'other bounds: {"ctr_auc": {"at_least": 0.7}}'),
        "settings": ("LIST", [], "key=value, changes to the recipe"),
        "beam_args": ("LIST", list(options.beam_args), "where Beam runs"),
        "image": ("STRING", options.image, "image of every step"),
    }
    return {
        name: {
            "parameterType": kind,
            "defaultValue": default,
            "isOptional": True,
            "description": description,
        }
        for name, (kind, default, description) in told.items()
    }


def _required(parameters: Mapping[str, Json]) -> Json:
    return {name: {"parameterType": each["parameterType"]} for name, each in parameters.items()}
