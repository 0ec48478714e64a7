"""Artifacts between TFX and Kubeflow: a RuntimeArtifact as JSON, and a TFX artifact."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from google.protobuf import json_format
from tfx.types.artifact import Artifact, PropertyType

#: Where Kubeflow's launcher keeps its copy of what lies in an object store (launcher_v2.go,
#: LocalPathForURI). TFX and Beam read gs:// themselves, also on Beam's remote workers.
COPIES = {"minio://": "/minio/", "s3://": "/s3/"}

#: What Kubeflow's metadata store adds to an artifact's metadata; true of that artifact only.
ADDED = ("display_name", "store_session_info")

#: In an artifact's metadata: nothing was found, so whoever can do without it should.
ABSENT = "absent"


def path_of(uri: str) -> str:
    """Where a step reads or writes what Kubeflow calls `uri`.

    >>> path_of("minio://mlpipeline/v2/artifacts/1")
    '/minio/mlpipeline/v2/artifacts/1'
    >>> path_of("gs://bucket/1")
    'gs://bucket/1'
    """
    for scheme, folder in COPIES.items():
        if uri.startswith(scheme):
            return folder + uri.removeprefix(scheme)
    return uri


def to_tfx(kind: type[Artifact], came: Mapping[str, Any]) -> Artifact:
    """The TFX artifact that a RuntimeArtifact (as JSON) stands for."""
    artifact = kind()
    artifact.uri = path_of(came["uri"])
    # Kubeflow names artifacts by URI, TFX by number; gates write the number down.
    artifact.id = int(hashlib.sha256(came["uri"].encode()).hexdigest()[:12], 16)
    declared = kind.PROPERTIES or {}
    for key, value in own_metadata(came).items():
        if key in declared:
            whole = declared[key].type is PropertyType.INT
            setattr(artifact, key, int(value) if whole else value)
        elif isinstance(value, str):
            artifact.set_string_custom_property(key, value)
        elif isinstance(value, dict | list):
            artifact.set_json_value_custom_property(key, value)
        elif float(value).is_integer():
            artifact.set_int_custom_property(key, int(value))
        else:
            artifact.set_float_custom_property(key, float(value))
    return artifact


def own_metadata(came: Mapping[str, Any]) -> dict[str, Any]:
    """What a RuntimeArtifact says of itself that is also true of a copy.

    >>> own_metadata({"metadata": {"split_names": "[]", "display_name": "examples"}})
    {'split_names': '[]'}
    """
    return {key: value for key, value in came.get("metadata", {}).items() if key not in ADDED}


def metadata_of(artifact: Artifact) -> dict[str, Any]:
    """What a TFX artifact says about itself, as a RuntimeArtifact's metadata."""
    about = artifact.mlmd_artifact
    told = {}
    for key, value in (*about.properties.items(), *about.custom_properties.items()):
        kind = value.WhichOneof("value")
        plain = getattr(value, kind) if kind else None
        if kind == "struct_value":
            plain = json_format.MessageToDict(value.struct_value)
        if plain is not None:
            told[key] = plain
    return told
