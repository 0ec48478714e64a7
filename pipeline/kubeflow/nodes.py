"""What a pipeline's nodes mean on Kubeflow: names, who feeds whom, what may come from a cache."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common import resolver

#: Node that lets something through -> look-up of a later run -> the artifact that it finds there.
LETS_THROUGH = {
    "DataGate": {"LastStatistics": "statistics"},
    "Pusher": {"LastBlessedModel": "pushed_model", "LastRun": "model_run"},
}

#: The look-up's output that others read; its other outputs only tell TFX's resolver what to read.
FOUND, CANDIDATE = "earlier", "candidate"


def task_name(node_id: str) -> str:
    """A name that Argo accepts.

    >>> task_name("VideoLogExampleGen")
    'video-log-example-gen'
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", node_id).replace("_", "-").lower()


def is_look_up(node: BaseNode) -> bool:
    """Whether the node looks for something of an earlier run."""
    return isinstance(node, resolver.Resolver)


def feeds(node: BaseNode) -> dict[str, tuple[str, str]]:
    """Per input of a node: (id of the node that makes it, name of the output there)."""
    if not is_look_up(node):
        return {
            key: (channel.producer_component_id, channel.output_key)
            for key, channel in node.inputs.items()
        }
    if CANDIDATE not in node.outputs:
        return {}
    kind = node.outputs[CANDIDATE].type
    made = [
        (other.id, key)
        for other in node.upstream_nodes
        for key, channel in other.outputs.items()
        if channel.type is kind
    ]
    if len(made) != 1:
        raise ValueError(f"{node.id}: expected one node that makes a {kind.__name__}, found {made}")
    return {CANDIDATE: made[0]}


def properties_of(node: BaseNode) -> dict[str, Any]:
    """A node's execution properties as plain values, those that are not given left out."""
    if is_look_up(node):
        return dict(node.exec_properties[resolver.RESOLVER_CONFIG])
    return {
        key: json_format.MessageToJson(value, sort_keys=True)
        if isinstance(value, Message)
        else value
        for key, value in node.exec_properties.items()
        if value is not None
    }


def keys(nodes: Sequence[BaseNode], properties: Mapping[str, Any]) -> dict[str, str]:
    """Per node, a digest of what its outputs depend on: its properties and those of all above it.

    Kubeflow's cache compares parameters but, of input artifacts, only their names, which are the
    same in every run. So the digest is handed to every step as a part of its parameter.

    Args:
      nodes: every node after those that feed it.
      properties: per node's id, its execution properties.
    """
    known: dict[str, str] = {}
    for node in nodes:
        above = {key: known[maker] for key, (maker, _) in feeds(node).items()}
        text = json.dumps([node.id, properties[node.id], above], sort_keys=True)
        known[node.id] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return known


def cacheable(nodes: Sequence[BaseNode]) -> set[str]:
    """Ids of nodes whose outputs depend on nothing that a look-up found."""
    known: set[str] = set()
    for node in nodes:
        if not is_look_up(node) and all(maker in known for maker, _ in feeds(node).values()):
            known.add(node.id)
    return known
