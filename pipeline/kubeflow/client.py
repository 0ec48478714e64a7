"""Uploads a compiled pipeline to Kubeflow Pipelines, runs it now, runs it on a schedule.

Needs the kfp package and nothing of TFX, so it also works in an environment of its own.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ncs4cvr.pipeline.kubeflow.server import Server, explained
from ncs4cvr.pipeline.status import USAGE, CommandFailed


@dataclass(frozen=True)
class Pipeline:
    """An uploaded pipeline."""

    name: str
    id: str
    version_id: str
    new: bool  # whether this version was uploaded just now


def values_for(file: Path, settings: Mapping[str, str]) -> dict[str, Any]:
    """A run's parameters, parsed by the types that the pipeline declares.

    Raises:
      CommandFailed: the pipeline has no such parameter, or the value is not of its type.
    """
    declared = _spec(file)["root"]["inputDefinitions"]["parameters"]
    values: dict[str, Any] = {}
    for name, text in settings.items():
        if name not in declared:
            raise CommandFailed(
                USAGE,
                f"{file} has no parameter {name!r}; name one of {', '.join(sorted(declared))}",
            )
        kind = declared[name]["parameterType"]
        if kind == "STRING":
            values[name] = text
            continue
        with contextlib.suppress(ValueError):
            values[name] = json.loads(text)
        if not isinstance(values.get(name), {"LIST": list, "STRUCT": dict}[kind]):
            example = {"LIST": '["seed=2"]', "STRUCT": '{"ctr_auc": {"at_least": 0.7}}'}[kind]
            raise CommandFailed(
                USAGE, f"parameter {name} must be JSON such as {example}, came {text!r}"
            )
    return values


def name_of(file: Path) -> str:
    """The name of a compiled pipeline."""
    return _spec(file)["pipelineInfo"]["name"]


def _spec(file: Path) -> dict[str, Any]:
    try:
        spec = next(yaml.safe_load_all(file.read_text(encoding="utf-8")))
        _ = spec["pipelineInfo"]["name"], spec["root"]["inputDefinitions"]["parameters"]
    except (OSError, yaml.YAMLError, LookupError, TypeError) as error:
        raise CommandFailed(
            USAGE, f"{file} is no pipeline ({error}); `ncs4cvr compile` writes one"
        ) from error
    return spec


def upload(client: Any, server: Server, file: Path) -> Pipeline:
    """Creates the pipeline, or adds a version to it; what is there already is taken as it is.

    A version is named by its content, so the same file is uploaded once.
    """
    name = name_of(file)
    version = hashlib.sha256(file.read_bytes()).hexdigest()[:12]
    where = {"namespace": server.namespace} if server.namespace else {}
    with explained(server):
        pipeline_id = _pipeline_id(client, server, name)
        if not pipeline_id:
            pipeline_id = client.upload_pipeline(str(file), pipeline_name=name, **where).pipeline_id
        for each in _versions(client, pipeline_id):
            if each.display_name == version:
                return Pipeline(name, pipeline_id, each.pipeline_version_id, new=False)
        made = client.upload_pipeline_version(
            str(file), pipeline_version_name=version, pipeline_id=pipeline_id
        )
        return Pipeline(name, pipeline_id, made.pipeline_version_id, new=True)


def _pipeline_id(client: Any, server: Server, name: str) -> str:
    """ "" where there is none. (kfp's get_pipeline_id knows shared pipelines alone.)"""
    predicate = {"operation": "EQUALS", "key": "display_name", "stringValue": name}
    found = client.list_pipelines(
        namespace=server.namespace or None, filter=json.dumps({"predicates": [predicate]})
    ).pipelines
    return next((each.pipeline_id for each in found or [] if each.display_name == name), "")


def _versions(client: Any, pipeline_id: str) -> Iterator[Any]:
    page = ""
    while True:
        answer = client.list_pipeline_versions(pipeline_id, page_token=page, page_size=100)
        yield from answer.pipeline_versions or []
        page = answer.next_page_token or ""
        if not page:
            return


def run_now(
    client: Any, server: Server, pipeline: Pipeline, values: Mapping[str, Any], pipeline_root: str
) -> str:
    """Starts a run; returns its id."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
    with explained(server):
        run = client.run_pipeline(
            experiment_id=_experiment(client, server, pipeline),
            job_name=f"{pipeline.name} {values.get('date', '')} ({now})".replace("  ", " "),
            params=dict(values),
            pipeline_id=pipeline.id,
            version_id=pipeline.version_id,
            pipeline_root=pipeline_root or None,
        )
    return run.run_id


def recur(
    client: Any,
    server: Server,
    pipeline: Pipeline,
    cron: str,
    values: Mapping[str, Any],
    pipeline_root: str,
) -> tuple[str, list[str]]:
    """Runs the pipeline whenever `cron` says; earlier schedules of the same pipeline end.

    One run at a time, and days that were missed are not made up for (`ncs4cvr submit` does that).

    Returns:
      The schedule's id, and the ids of those that it replaces.
    """
    cron = cron_of(cron)
    with explained(server):
        before = [each.recurring_run_id for each in schedules(client, server, pipeline.name)]
        made = client.create_recurring_run(
            experiment_id=_experiment(client, server, pipeline),
            job_name=pipeline.name,
            cron_expression=cron,
            max_concurrency=1,
            no_catchup=True,
            params=dict(values),
            pipeline_id=pipeline.id,
            version_id=pipeline.version_id,
            pipeline_root=pipeline_root or None,
        )
        # The new one first: a failure in between leaves two schedules, not none.
        for each in before:
            client.delete_recurring_run(each)
    return made.recurring_run_id, before


def schedules(client: Any, server: Server, name: str) -> list[Any]:
    """The recurring runs of a pipeline; of all pipelines for ""."""
    found: list[Any] = []
    page = ""
    with explained(server):
        while True:
            answer = client.list_recurring_runs(
                page_token=page, page_size=100, namespace=server.namespace or None
            )
            found += answer.recurring_runs or []
            page = answer.next_page_token or ""
            if not page:
                return [each for each in found if not name or each.display_name == name]


def switch(client: Any, server: Server, name: str, on: bool) -> int:
    """Pauses or resumes a pipeline's schedules; returns how many.

    Raises:
      CommandFailed: the pipeline has none.
    """
    found = schedules(client, server, name)
    if not found:
        raise CommandFailed(
            USAGE, f"{name} has no schedule; `ncs4cvr schedule FILE --cron ...` makes one"
        )
    with explained(server):
        for each in found:
            change = client.enable_recurring_run if on else client.disable_recurring_run
            change(each.recurring_run_id)
    return len(found)


def cron_of(text: str) -> str:
    """A cron expression with the seconds that Kubeflow wants.

    >>> cron_of("0 3 * * *")
    '0 0 3 * * *'

    Raises:
      CommandFailed: not five or six fields.
    """
    fields = text.split()
    if len(fields) == 5:
        fields = ["0", *fields]
    if len(fields) != 6:
        raise CommandFailed(
            USAGE, f"--cron {text!r}: expected 5 fields (6 with seconds), such as '0 3 * * *'"
        )
    return " ".join(fields)


def _experiment(client: Any, server: Server, pipeline: Pipeline) -> str:
    return client.create_experiment(pipeline.name, namespace=server.namespace or None).experiment_id
