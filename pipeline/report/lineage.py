"""Where a model comes from: data, code, recipe, tickets and model, each with a digest."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apache_beam.io.filesystems import FileSystems
from tfx.types.artifact import Artifact

from ncs4cvr.components import checksums, versions
from ncs4cvr.components.log.readers import files
from ncs4cvr.components.log.records import LogError
from ncs4cvr.pipeline.run.run_record import RunRecord, Step
from ncs4cvr.schemas.log import Log
from ncs4cvr.schemas.recipe import Recipe

#: What is told of by its digest: component -> output.
OUTPUTS = {
    "VideoLogExampleGen": "examples",
    "StatisticsGen": "statistics",
    "Transform": "transform_graph",
    "TicketSearch": "tickets",
    "Trainer": "model",
}


def facts(recipe: Recipe, record: RunRecord, serving: Path) -> dict[str, Any]:
    """Digests are SHA-256 in hex.

    `recipe`: name, digest of its JSON, and the JSON; `log`: digest of its files as they were read,
    and the files; `code`: component -> digest of its sources; `artifacts`: what components gave,
    its path below the run's folder and one digest of all its files; `served`: the version that
    users get now.
    """
    text = recipe.to_json()
    return {
        "recipe": {
            "name": recipe.name,
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "json": json.loads(text),
        },
        "log": {
            "sha256": record.told.get("VideoLogExampleGen", {}).get("log_fingerprint"),
            "files": log_files(recipe.log),
        },
        "software": {
            "ncs4cvr": importlib.metadata.version("ncs4cvr"),
            **{name: importlib.metadata.version(name) for name in ("tfx", "tensorflow")},
            "python": platform.python_version(),
        },
        "code": code_versions(record.told),
        "artifacts": [
            told
            for component, output in OUTPUTS.items()
            if component in record.steps
            for told in _artifacts(component, record.steps[component], output)
        ],
        "served": served(serving),
    }


def log_files(log: Log) -> list[dict[str, Any]]:
    """Every file of the log, its kind and bytes; the pattern and None where files are gone."""
    found = []
    for kind in ("events", "users", "videos", "history"):
        pattern = getattr(log, kind)
        try:
            for path in files(pattern):
                size = FileSystems.match([path])[0].metadata_list[0].size_in_bytes
                found.append({"kind": kind, "file": path, "bytes": size})
        except LogError:
            found.append({"kind": kind, "file": pattern, "bytes": None})
    return found


def _artifacts(component: str, step: Step, output: str) -> list[dict[str, Any]]:
    return [_artifact(component, each, step.state) for each in step.outputs.get(output, [])]


def _artifact(component: str, artifact: Artifact, state: str) -> dict[str, Any]:
    digest = None
    if checksums.sealed(artifact.uri):
        digest = versions.content(checksums.sums(artifact.uri))
    below = "/".join(artifact.uri.rstrip("/").split("/")[-3:])
    return {"component": component, "artifact": below, "sha256": digest, "state": state}


def served(base: Path) -> dict[str, Any] | None:
    """The newest version with its date and digest; None where there is none."""
    numbers = versions.numbers(str(base))
    if not numbers:
        return None
    number = numbers[-1]
    try:
        manifest = versions.manifest(str(base), number)
    except versions.VersionError:  # of another hand: TF Serving asks for no manifest
        return {"version": number, "pushed": None, "copy_of": "", "sha256": None}
    return {
        "version": number,
        "pushed": manifest.pushed,
        "copy_of": manifest.copy_of,
        "sha256": manifest.content,
    }


def code_versions(properties: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Component -> the code version that it was told, out of all its execution properties."""
    found = {}
    for component, told in properties.items():
        version = told.get("code_version")
        if not version and "custom_config" in told:
            version = json.loads(told["custom_config"] or "{}").get("code_version")
        if version:
            found[component] = str(version)
    return found
