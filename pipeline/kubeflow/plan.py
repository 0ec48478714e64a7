"""The first step of a run: makes of the run's parameters what every other step is told.

The pipeline is compiled once and runs every night, so what depends on the day, the files or the
gates cannot be written into it. This step builds the same pipeline as the local runner, from the
recipe as the parameters change it, and gives out each component's execution properties.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ncs4cvr.pipeline.create import Places, create_pipeline
from ncs4cvr.pipeline.dates import on_day
from ncs4cvr.pipeline.kubeflow import nodes
from ncs4cvr.schemas.recipe import Recipe, from_plain
from ncs4cvr.schemas.tasks import Gate

FILES = ("events", "users", "videos", "history")


def packed(text: str) -> str:
    """Text as a parameter.

    A step's parameters arrive as one argument, which Linux limits to 128 KB, and JSON in JSON in
    JSON grows beyond that with a few hundred features.

    >>> unpacked(packed("ticket"))
    'ticket'
    """
    return base64.b64encode(zlib.compress(text.encode(), 9)).decode()


def unpacked(parameter: str) -> str:
    """What `packed` packed."""
    return zlib.decompress(base64.b64decode(parameter)).decode()


def changed(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe as a run's parameters change it.

    Args:
      recipe: what was compiled.
      values: date ("" keeps the recipe's days), events, users, videos and history (globs, "" keeps
        the recipe's), settings (a list of key=value, as for `ncs4cvr run --set`) and gates (bounds
        per metric: {"ctr_auc": {"at_least": 0.7}}).

    Raises:
      ValueError: a value that the recipe refuses; says the cure.
    """
    recipe = recipe.with_settings(values["settings"])
    files = {key: values[key] for key in FILES if values[key]}
    recipe = recipe.replace(
        log=dataclasses.replace(recipe.log, **files), gates=bounded(recipe.gates, values["gates"])
    )
    return on_day(recipe, values["date"])


def bounded(gates: Sequence[Gate], bounds: Mapping[str, Mapping[str, Any]]) -> tuple[Gate, ...]:
    """The gates with other bounds.

    >>> bounded([Gate("ctr_auc", at_least=0.7)], {"ctr_auc": {"at_least": 0.6}})[0].at_least
    0.6
    """
    fields = [field.name for field in dataclasses.fields(Gate) if field.name != "metric"]
    metrics = [gate.metric for gate in gates]
    for metric, changes in bounds.items():
        if metric not in metrics:
            raise ValueError(f"gates: the recipe has no gate {metric!r}; it has {metrics}")
        if unknown := set(changes) - set(fields):
            raise ValueError(f"gates: {metric} has no bound {sorted(unknown)}; it has {fields}")
    return tuple(
        from_plain(Gate, {**dataclasses.asdict(gate), **bounds.get(gate.metric, {})})
        for gate in gates
    )


def told(recipe: Recipe, root: str, schema: str = "") -> dict[str, str]:
    """Per node, the packed JSON that its step gets.

    `properties` and `key` (see nodes.keys); for look-ups also where the `register` of what passed
    is, and which key there, `entry`, is their own; for gates a list of these, `lets_through`, with
    `what` they let through.

    Args:
      recipe: with its days and files filled in.
      root: the folder that all runs share.
      schema: text of the curated schema; "" infers one.

    Raises:
      LogError: a file of the log is missing.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = ""
        if schema:
            path = str(Path(folder) / "schema.pbtxt")
            Path(path).write_text(schema, encoding="utf-8")
        places = Places(
            artifacts=folder,
            serving=f"{root}/serving",
            checkpoints=f"{root}/checkpoints",
            schema=path,
        )
        pipeline = create_pipeline(recipe.replace(data_schema=path), places)
        found = {node.id: nodes.properties_of(node) for node in pipeline.components}
        if schema:
            found["ImportSchemaGen"] = {"text": schema}
        keys = nodes.keys(pipeline.components, found)
    payloads: dict[str, dict[str, Any]] = {
        node.id: {"properties": found[node.id], "key": keys[node.id]}
        for node in pipeline.components
    }
    for gate, look_ups in nodes.LETS_THROUGH.items():
        # Kept under what made them, so that a look-up can tell its own run's from others'.
        made = {
            n.id: next(iter(nodes.feeds(n).values()), (gate, ""))[0] for n in pipeline.components
        }
        payloads[gate]["lets_through"] = []
        for look_up, what in look_ups.items():
            if look_up in payloads:
                about = {"register": f"{root}/passed/{look_up}", "entry": keys[made[look_up]]}
                payloads[look_up] |= about
                payloads[gate]["lets_through"].append({"what": what, **about})
    return {name: packed(json.dumps(payload, sort_keys=True)) for name, payload in payloads.items()}
