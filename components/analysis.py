"""Whether Transform analyzes the rows, or keeps what it learned for the last pushed model.

TensorFlow Transform's analysis is the pass over the training split from which it learns
vocabularies, bin boundaries, means and deviations. They are constants of the graph that it writes;
the rows themselves are transformed by whoever reads them.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from typing import Any

from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import schema_utils
from tfx.dsl.io import fileio

from ncs4cvr.schemas.recipe import Recipe

Facts = dict[str, Any]

FILE = "analysis.json"  # beside a graph: `decision`, and what it was `made_from`
GRAPH = "transform_graph"  # folder in a model's run: a copy of the graph that it was trained with


def made_from(recipe: Recipe, schema: schema_pb2.Schema, code_version: str) -> Facts:
    """The day up to which an analysis reads, and all that decides what it makes of the rows.

    code: of preprocessing, TensorFlow and TFX.
    """
    columns = schema_utils.schema_as_feature_spec(schema).feature_spec
    made = {
        "trained_to": recipe.trained_to,
        "features": [dataclasses.asdict(f) for f in recipe.features],
        "labels": [dataclasses.asdict(label) for label in recipe.log.labels],
        "tallies": [dataclasses.asdict(tally) for tally in recipe.log.tallies],
        "history_actions": list(recipe.log.history_actions),
        "log_columns": dict(recipe.log.columns),
        "utc_offset_hours": recipe.log.utc_offset_hours,
        "columns": {name: str(spec) for name, spec in sorted(columns.items())},
        "code": code_version,
    }
    return json.loads(json.dumps(made))  # as it will be read


def kept(recipe: Recipe, now: Facts, last_run: str) -> tuple[str, Facts]:
    """The folder of the graph to keep, "" where an analysis is due; and the facts.

    Args:
      recipe: today's; see analyze_every_days.
      now: what an analysis would be made from; see `made_from`.
      last_run: folder of the last pushed model's run; "" where there is none.

    Returns:
      The folder; and `made_from`, with the day of the analysis, and `decision`: `analyzed`, `why`,
      and `analyzed_on` where it was not.
    """

    def analyze(why: str) -> tuple[str, Facts]:
        return "", {"decision": {"analyzed": True, "why": why}, "made_from": now}

    if not recipe.analyze_every_days:
        return analyze("analyze_every_days is 0")
    if not last_run:
        return analyze("no model of an earlier day was pushed")
    graph = f"{last_run}/{GRAPH}"
    if not fileio.exists(f"{graph}/{FILE}"):
        return analyze(
            "the last model was trained with analyze_every_days=0, which keeps no vocabularies"
        )
    then = read(graph)["made_from"]
    for name, value in now.items():
        if name != "trained_to" and then.get(name) != value:
            return analyze(f"{name} changed since the last analysis")
    since = then["trained_to"]
    days = (dt.date.fromisoformat(recipe.trained_to) - dt.date.fromisoformat(since)).days
    age = f"they are {days} days old; analyze_every_days is {recipe.analyze_every_days}"
    if days >= recipe.analyze_every_days:
        return analyze(age)
    decision = {"analyzed": False, "why": age, "analyzed_on": since}
    return graph, {"decision": decision, "made_from": then}


def read(graph: str) -> Facts:
    """The facts beside a graph."""
    with fileio.open(f"{graph}/{FILE}", "r") as stream:
        return json.loads(stream.read())


def write(graph: str, facts: Facts) -> None:
    """Writes the facts beside a graph."""
    with fileio.open(f"{graph}/{FILE}", "w") as stream:
        stream.write(json.dumps(facts, indent=1, sort_keys=True))
