"""What came out of a run: summary.json and the table on the screen."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis import constants
from tensorflow_model_analysis.proto import config_pb2, metrics_for_slice_pb2
from tfx.components.statistics_gen import stats_artifact_utils
from tfx.types.artifact import Artifact
from tfx.utils import path_utils

from ncs4cvr.components.data_gate import read_counts
from ncs4cvr.components.report import describe_rows
from ncs4cvr.pipeline.local import Step
from ncs4cvr.schemas.recipe import Recipe

OVERALL = "all"


def summarize(recipe: Recipe, steps: Mapping[str, Step], peak_rss_mb: float) -> dict[str, Any]:
    """The contents of summary.json, from what the components left behind."""
    evaluation = _output(steps, "Evaluator", "evaluation").uri
    blessing = _output(steps, "Evaluator", "blessing")
    pushed = _output(steps, "Pusher", "pushed_model")
    serving = _json(_output(steps, "ServingCheck", "blessing"), "serving_check.json")
    model = Path(path_utils.serving_model_path(_output(steps, "Trainer", "model").uri))
    metrics, slices = _metrics(evaluation)
    tickets = _tickets(steps)
    return {
        "recipe": recipe.name,
        "stack": ".".join(importlib.metadata.version("tfx").split(".")[:2]),
        "blessed": blessing.get_int_custom_property("blessed") == 1 and serving["blessed"],
        "pushed_to": pushed.get_string_custom_property("pushed_destination") or None,
        "failures": failures(evaluation) + serving["failures"],
        "metrics": metrics,
        "sparsity": {task: 1 - kept["total"] for task, kept in tickets.get("kept", {}).items()},
        "overlap": tickets.get("overlap"),
        "bytes": {"savedmodel": sum(f.stat().st_size for f in model.rglob("*") if f.is_file())},
        "serving": serving,
        "seconds": {name: round(step.seconds, 2) for name, step in steps.items()},
        "cached": [name for name, step in steps.items() if step.cached],
        "peak_rss_mb": round(peak_rss_mb),
        "rows": _counts(steps),
        "test_rows": _rows(
            _output(steps, "StatisticsGen", "statistics"), recipe.log.splits[-1].name
        ),
        "slices": slices,
    }


def _metrics(evaluation: str) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """The candidate's metrics on all rows, and per slice."""
    slices = {}
    for found in tfma.load_metrics(evaluation):
        slices[_slice_name(found.slice_key)] = {
            each.key.name: each.value.double_value.value
            for each in found.metric_keys_and_values
            if each.key.model_name in ("", constants.CANDIDATE_KEY) and not each.key.is_diff
        }
    return slices.pop(OVERALL), slices


def _slice_name(key: metrics_for_slice_pb2.SliceKey) -> str:
    names = []
    for single in key.single_slice_keys:
        value = getattr(single, single.WhichOneof("kind"))
        value = value.decode() if isinstance(value, bytes) else value
        names.append(f"{single.column}={value}")
    return ",".join(names) or OVERALL


def failures(evaluation: str) -> list[str]:
    """One line per gate that did not hold: the metric, its value, the bound."""
    result = tfma.load_validation_result(evaluation)
    lines = []
    for validation in result.metric_validations_per_slice:
        for failure in validation.failures:
            name, value = failure.metric_key.name, failure.metric_value.double_value.value
            threshold = failure.metric_threshold
            if threshold.HasField("change_threshold"):
                allowed = -threshold.change_threshold.absolute.value
                lines.append(
                    f"{name} is {-value:.4f} below the last blessed model's; "
                    f"it may be {allowed:g} below"
                )
            else:
                lines.append(f"{name} is {value:.4f}; it must be {_bound(threshold)}")
    return lines


def _bound(threshold: config_pb2.MetricThreshold) -> str:
    bounds = threshold.value_threshold
    words = []
    if bounds.HasField("lower_bound"):
        words.append(f"at least {bounds.lower_bound.value:g}")
    if bounds.HasField("upper_bound"):
        words.append(f"at most {bounds.upper_bound.value:g}")
    return " and ".join(words)


def _output(steps: Mapping[str, Step], component: str, key: str) -> Artifact:
    return steps[component].outputs[key][0]


def _tickets(steps: Mapping[str, Step]) -> dict[str, Any]:
    for component in ("TicketSearch", "ImportTickets"):
        if component in steps:
            return _json(_output(steps, component, "tickets"), "tickets.json")
    return {}


def _json(artifact: Artifact, file: str) -> dict[str, Any]:
    return json.loads((Path(artifact.uri) / file).read_text(encoding="utf-8"))


def _counts(steps: Mapping[str, Step]) -> dict[str, Any]:
    """What became of every row of the log; nothing where another example gen reads it."""
    if "VideoLogExampleGen" not in steps:
        return {}
    return read_counts(_output(steps, "VideoLogExampleGen", "dead_letters").uri)


def _rows(statistics: Artifact, split: str) -> int:
    proto = stats_artifact_utils.load_statistics(statistics, split).proto()
    return int(proto.datasets[0].num_examples)


def table(recipe: Recipe, summary: Mapping[str, Any]) -> str:
    """The summary for people."""
    gates = {gate.metric: gate for gate in recipe.gates}
    lines = ["", f"{'metric':<20}{'value':>8}   bound"]
    for name, value in summary["metrics"].items():
        gate = gates.get(name)
        bounds = [] if gate is None else [
            *([f">= {gate.at_least:g}"] if gate.at_least is not None else []),
            *([f"<= {gate.at_most:g}"] if gate.at_most is not None else []),
            *([f"{gate.worse_by:g} below the last at most"] if gate.worse_by >= 0 else []),
        ]  # fmt: skip
        lines.append(f"{name:<20}{value:>8.4f}   {', '.join(bounds)}".rstrip())
    lines.append(f"{'on test rows':<20}{summary['test_rows']:>8,}")
    if summary["sparsity"]:
        removed = ", ".join(f"{task} {share:.1%}" for task, share in summary["sparsity"].items())
        lines += ["", f"connections removed: {removed}; overlap {summary['overlap']:.2f}"]
    work = {n: s for n, s in summary["seconds"].items() if n not in summary["cached"] and s >= 0.5}
    seconds = ", ".join(f"{name} {s:.0f}" for name, s in work.items())
    lines += [
        "",
        *describe_rows(summary["rows"]),
        "",
        f"model: {summary['bytes']['savedmodel'] / 1e6:.1f} MB",
        _serving_line(summary["serving"]),
        f"seconds: {seconds or 'all cached'}; in all {sum(summary['seconds'].values()):.0f}",
        f"peak memory: {summary['peak_rss_mb'] / 1024:.1f} GB",
        "",
    ]
    if summary["pushed_to"]:
        lines.append(f"blessed, pushed to {summary['pushed_to']}")
    elif summary["blessed"]:
        lines.append(
            "blessed, but not pushed: this very model was rolled back from. A new one is pushed "
            "again; `ncs4cvr runs` names the version to bring back with `ncs4cvr rollback --to`"
        )
    else:
        lines.append("not blessed, nothing pushed:")
        lines += [f"  {failure}" for failure in summary["failures"]]
    return "\n".join(lines)


def _serving_line(serving: Mapping[str, Any]) -> str:
    """Latency of single rows and of batches, load, memory, and how far answers are off."""
    calls = {
        call["batch"]: f"{call['p50_ms']:.1f} / {call['p99_ms']:.1f}"
        for call in serving["calls"]
        if call["signature"] == "serving_default" and call["batch"] in (1, 64, 1024)
    }
    outputs = serving["outputs"].values()
    if serving["exact"]:
        apart = f"{max(output['difference'] for output in outputs):.0e}"
    else:
        known = [o for o in outputs if o["served"] is not None]
        apart = f"{max((abs(o['served'] - o['trainer']) for o in known), default=0):.5f} of AUC"
    return (
        f"serving: {' / '.join(map(str, calls))} rows in {', '.join(calls.values())} ms (p50 / "
        f"p99); loads in {serving['load_s']:.1f} s to {serving['memory_mb']:.0f} MB of memory; "
        f"within {apart} of the trainer"
    )
