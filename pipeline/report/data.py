"""What the log held: every row accounted for, and what changed since the last data that passed."""

from __future__ import annotations

import datetime as dt
import itertools
import os
from collections.abc import Mapping, Sequence
from typing import Any

from tensorflow_metadata.proto.v0 import anomalies_pb2, statistics_pb2
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

from ncs4cvr.components import data_gate
from ncs4cvr.components.log.report import OUTSIDE
from ncs4cvr.pipeline.report import distributions
from ncs4cvr.pipeline.run.run_record import Step
from ncs4cvr.schemas.recipe import Recipe

Measure = anomalies_pb2.DriftSkewInfo.Measurement
MEASURES = {
    Measure.L_INFTY: "largest change of a share",
    Measure.JENSEN_SHANNON_DIVERGENCE: "Jensen-Shannon divergence",
    Measure.NORMALIZED_ABSOLUTE_DIFFERENCE: "normalized absolute difference",
}
Columns = dict[str, distributions.Column]


def rows(counts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """counts.json as sums that must hold, one for each kind of file.

    read = sum of `written` (by split, or "kept") + duplicates + sum of `dead` (by reason)
    """
    sums = []
    for kind, one in counts.items():
        duplicates = one.get("duplicates", one.get("duplicate_keys", 0))
        dead = dict(sorted(one["dead"].items(), key=lambda pair: -pair[1]))
        if kind == "events":
            written = {**one["examples"], OUTSIDE: one["history_only"]}
            if one["later"]:
                written["after the splits"] = one["later"]
        else:
            kept = one.get("kept", one["rows"] - duplicates - sum(dead.values()))
            written = {"kept": kept}
        accounted = sum(written.values()) + duplicates + sum(dead.values())
        sums.append(
            {
                "kind": kind,
                "read": one["rows"],
                "written": written,
                "duplicates": duplicates,
                "dead": dead,
                "holds": accounted == one["rows"],
            }
        )
    return sums


def gate(steps: Mapping[str, Step], error: BaseException | None) -> dict[str, Any]:
    """What the data gate said: passed, refused (with all complaints), or not reached."""
    if "DataGate" in steps:
        return {"state": "passed", "complaints": []}
    cause = error.__cause__ if error else None
    if isinstance(cause, data_gate.DataRefused):
        return {"state": "refused", "complaints": cause.complaints}
    return {"state": "not reached", "complaints": []}


def changes(recipe: Recipe, steps: Mapping[str, Step]) -> dict[str, Any] | None:
    """What changed since the last data that passed the gate, and between the splits of this run.

    None where no statistics were made. Else: `earlier`, when the earlier statistics were made, or
    None where there are none; `splits`, `labels`: rows and shares now and before; `drift`, `skew`:
    see `_moves`; `new`, `gone`: columns that only one side has.
    """
    if "StatisticsGen" not in steps:
        return None
    names = [split.name for split in recipe.log.splits]
    now_at = steps["StatisticsGen"].outputs["statistics"][0]
    before_at = _earlier(steps, now_at)
    now, sizes = _statistics(now_at, names)
    before, sizes_before = _statistics(before_at, names) if before_at else ({}, {})
    drift = [
        {**move, **_sides(now[split][column], before.get(split, {}).get(column))}
        for column, split, _, move in _moves(steps, "DriftValidator", names)
        if before and column in now[split]
    ]
    skew = [
        {**move, **_sides(now[split][column], now[other].get(column))}
        for column, split, other, move in _moves(steps, "SkewValidator", names)
        if column in now[split]
    ]
    first = names[0]
    return {
        "earlier": _made(before_at) if before_at else None,
        "splits": [
            {"name": n, "rows": sizes[n], "before": sizes_before.get(n) if before else None}
            for n in names
        ],
        "labels": [
            {
                "name": label.name,
                "splits": [
                    {
                        "name": n,
                        "now": _mean(now, n, label.name),
                        "before": _mean(before, n, label.name),
                    }
                    for n in names
                ],
            }
            for label in recipe.log.labels
        ],
        "drift": drift,
        "skew": skew,
        "new": sorted(set(now[first]) - set(before[first])) if first in before else [],
        "gone": sorted(set(before[first]) - set(now[first])) if first in before else [],
    }


def _earlier(steps: Mapping[str, Step], now: Artifact) -> Artifact | None:
    found = steps["LastStatistics"].outputs["earlier"] if "LastStatistics" in steps else []
    return found[0] if found and found[0].id != now.id else None


def _made(artifact: Artifact) -> str:
    milliseconds = artifact.mlmd_artifact.create_time_since_epoch
    made = dt.datetime.fromtimestamp(milliseconds / 1000, dt.timezone.utc)
    return made.isoformat(timespec="seconds")


def _statistics(
    artifact: Artifact, splits: Sequence[str]
) -> tuple[dict[str, Columns], dict[str, int]]:
    """Split -> its columns, and split -> its rows."""
    columns: dict[str, Columns] = {}
    sizes = {}
    there = artifact_utils.decode_split_names(artifact.split_names)
    for split in [name for name in splits if name in there]:  # those of before may have others
        loaded = stats_artifact_utils.load_statistics(artifact, split).proto()
        data: statistics_pb2.DatasetFeatureStatistics = loaded.datasets[0]
        columns[split] = {distributions.name_of(each): each for each in data.features}
        sizes[split] = int(data.num_examples)
    return columns, sizes


def _moves(
    steps: Mapping[str, Step], validator: str, splits: Sequence[str]
) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Every column that a validator compared, in the pair of splits where it moved most.

    Returns:
      column, split, the split that it was compared with, and the facts: `column`, `split`,
      `against`, the `measure`, its `value`, and the `threshold` that stops a run. The column
      nearest to its threshold (or farthest above it) comes first.
    """
    if validator not in steps:
        return []
    uri = steps[validator].outputs["anomalies"][0].uri
    worst: dict[str, tuple[str, str, str, dict[str, Any]]] = {}
    for split, other in itertools.product(splits, splits):
        path = os.path.join(uri, f"SplitPair-{split}_{other}", data_gate.FILE)
        if not fileio.exists(path):
            continue
        with fileio.open(path, "rb") as stream:
            found = anomalies_pb2.Anomalies.FromString(stream.read())
        for info in found.drift_skew_info:
            column = ".".join(info.path.step)
            for measured in info.drift_measurements:
                move = {
                    "column": column,
                    "split": split,
                    "against": other,
                    "measure": MEASURES.get(measured.type, "distance"),
                    "value": measured.value,
                    "threshold": measured.threshold,
                }
                if column not in worst or _reach(move) > _reach(worst[column][3]):
                    worst[column] = (column, split, other, move)
    return sorted(worst.values(), key=lambda each: (-_reach(each[3]), each[0]))


def _reach(move: Mapping[str, Any]) -> float:
    """How much of what is allowed was used up; 1 and more stops a run."""
    return move["value"] / move["threshold"] if move["threshold"] else move["value"]


def _sides(now: distributions.Column, before: distributions.Column | None) -> dict[str, Any]:
    told = {}
    for key, measure in (("missing", distributions.missing), ("median", distributions.middle)):
        told[key] = {"now": measure(now), "before": None if before is None else measure(before)}
    return {**told, "shape": distributions.shapes(now, before)}


def _mean(columns: Mapping[str, Columns], split: str, label: str) -> float | None:
    found = columns.get(split, {}).get(label)
    return None if found is None else distributions.mean(found)
