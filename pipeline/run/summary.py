"""What came out of a run: summary.json and the table on the screen."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow_model_analysis as tfma
from tfx.types.artifact import Artifact
from tfx.utils import path_utils

from ncs4cvr.components import analysis, model_gate, serving_check
from ncs4cvr.components.artifacts import WHY_NOT
from ncs4cvr.components.data_gate import read_counts, rows_of
from ncs4cvr.components.log.report import describe_rows
from ncs4cvr.components.pusher import ROLLED_BACK
from ncs4cvr.pipeline.run.run_record import RunRecord, Step
from ncs4cvr.schemas.recipe import Recipe
from ncs4cvr.schemas.tasks import Gate


def summarize(recipe: Recipe, record: RunRecord, peak_rss_mb: float) -> dict[str, Any]:
    """The contents of summary.json, from what the components left behind."""
    steps = record.components()
    evaluation = _output(steps, "Evaluator", "evaluation").uri
    pushed = _output(steps, "Pusher", "pushed_model")
    verdict, serving = _verdict(steps), _serving(steps)
    model = Path(path_utils.serving_model_path(_output(steps, "Trainer", "model").uri))
    tickets = _tickets(steps)
    return {
        "recipe": recipe.name,
        "stack": ".".join(importlib.metadata.version("tfx").split(".")[:2]),
        "blessed": verdict["blessed"] and serving["blessed"],
        **_judged(verdict, serving),
        "pushed_to": pushed.get_string_custom_property("pushed_destination") or None,
        "not_pushed": pushed.get_string_custom_property(WHY_NOT) or None,
        "failures": failures(steps),
        "metrics": {**_metrics(evaluation), **_exact(verdict)},
        "intervals": _intervals(verdict),
        "sparsity": {task: 1 - kept["total"] for task, kept in tickets.get("kept", {}).items()},
        "overlap": tickets.get("overlap"),
        "tickets": tickets.get("decision"),
        "vocabularies": analysis.read(_output(steps, "Transform", "transform_graph").uri)[
            "decision"
        ],
        "start": _json(_output(steps, "Trainer", "model_run"), "training.json")["start"],
        "bytes": {"savedmodel": sum(f.stat().st_size for f in model.rglob("*") if f.is_file())},
        "serving": serving,
        "seconds": {name: round(step.seconds, 2) for name, step in steps.items()},
        "processor_seconds": {name: round(step.processor, 2) for name, step in steps.items()},
        "cached": [name for name, step in steps.items() if step.cached],
        "peak_rss_mb": round(peak_rss_mb),
        "timeline": record.timeline(),
        "rows": _counts(steps),
        "test_rows": rows_of(
            _output(steps, "StatisticsGen", "statistics"), recipe.log.splits[-1].name
        ),
        "slices": _slices(verdict),
    }


def _metrics(evaluation: str) -> dict[str, float]:
    """The Evaluator's metrics on all rows; its AUC is of binned predictions."""
    (found,) = tfma.load_metrics(evaluation)
    return {each.key.name: each.value.double_value.value for each in found.metric_keys_and_values}


def _exact(verdict: Mapping[str, Any]) -> dict[str, float]:
    """The metrics that the gate judged by, of every row's own prediction."""
    return {
        f"{name}_{output['metric']}": output["value"]
        for name, output in verdict["outputs"].items()
        if output["value"] is not None
    }


def _slices(verdict: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """`column=value` -> the metric of every output there."""
    found: dict[str, dict[str, float]] = {}
    for name, output in verdict["outputs"].items():
        for each in output["slices"]:
            values = found.setdefault(f"{each['column']}={each['slice']}", {})
            values[f"{name}_{output['metric']}"] = each["value"]
    return found


def failures(steps: Mapping[str, Step]) -> list[str]:
    """One line for everything that kept the model from being pushed."""
    return _verdict(steps)["reasons"] + _serving(steps)["failures"]


def _verdict(steps: Mapping[str, Step]) -> dict[str, Any]:
    return _json(_output(steps, "ModelGate", "blessing"), model_gate.FILE)


def _serving(steps: Mapping[str, Step]) -> dict[str, Any]:
    return _json(_output(steps, "ServingCheck", "blessing"), serving_check.REPORT)


def _judged(verdict: Mapping[str, Any], serving: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict of both who judge a model, in one word and one line."""
    if verdict["blessed"] and not serving["blessed"]:
        return {"verdict": "not blessed", "why": f"not blessed: {'; '.join(serving['failures'])}"}
    return {"verdict": verdict["verdict"], "why": verdict["why"]}


def _intervals(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """Per metric of an output: its interval, and the difference to the last blessed model."""
    return {
        f"{name}_{output['metric']}": {"interval": output["interval"], "before": output["before"]}
        for name, output in verdict["outputs"].items()
    }


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


def table(recipe: Recipe, summary: Mapping[str, Any]) -> str:
    """The summary for people."""
    gates = {gate.metric: gate for gate in recipe.gates}
    lines = ["", f"{'metric':<20}{'value':>8}   {'95 % interval':<17}{'to the last':>11}   bound"]
    for name, value in summary["metrics"].items():
        sure, change = _sureness(summary["intervals"].get(name))
        bounds = _bounds(gates[name]) if name in gates else ""
        lines.append(f"{name:<20}{value:>8.4f}   {sure:<17}{change:>11}   {bounds}".rstrip())
    lines.append(f"{'on test rows':<20}{summary['test_rows']:>8,}")
    if summary["sparsity"]:
        removed = ", ".join(f"{task} {share:.1%}" for task, share in summary["sparsity"].items())
        lines += ["", f"connections removed: {removed}; overlap {summary['overlap']:.2f}"]
    lines += _from_before(recipe, summary)
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
    lines.append(summary["why"])
    if summary["pushed_to"]:
        lines.append(f"pushed to {summary['pushed_to']}")
    elif summary["blessed"]:
        lines.append(_unpushed(summary["not_pushed"]))
    else:
        lines.append("nothing pushed:")
        lines += [f"  {failure}" for failure in summary["failures"]]
    return "\n".join(lines)


def _unpushed(why: str) -> str:
    """Why a blessed model is not pushed, and what to do if it should be."""
    if why == ROLLED_BACK:
        return (
            "not pushed: this very model was rolled back from. A new one is pushed again; "
            "`ncs4cvr runs` names the version to bring back with `ncs4cvr rollback --to`"
        )
    return (
        f"not pushed: {why}. To serve this day all the same, go back to one before it with "
        "`ncs4cvr rollback --to` and run it again"
    )


def _sureness(found: Mapping[str, Any] | None) -> tuple[str, str]:
    """An interval, and the difference to the last blessed model; "" where there is none."""
    interval = found["interval"] if found else None
    before = found["before"] if found else None
    sure = f"{interval[0]:.4f} to {interval[1]:.4f}" if interval else ""
    difference = before["difference"] if before else None
    return sure, "" if difference is None else f"{difference:+.4f}"


def _bounds(gate: Gate) -> str:
    """What a gate demands, in a few words."""
    words = [f">= {gate.at_least:g}"] if gate.at_least is not None else []
    words += [f"<= {gate.at_most:g}"] if gate.at_most is not None else []
    words += [f"{gate.worse_by:g} below the last at most"] if gate.worse_by >= 0 else []
    if gate.slice_worse_by >= 0:
        words.append(f"{gate.slice_worse_by:g} below in a slice at most")
    return ", ".join(words)


def _from_before(recipe: Recipe, summary: Mapping[str, Any]) -> list[str]:
    """What the run began with of an earlier day's model."""
    lines, start, tickets = [], summary["start"], summary["tickets"]
    if recipe.analyze_every_days:
        words = summary["vocabularies"]
        done = "learned" if words["analyzed"] else f"those of {words['analyzed_on']}"
        lines.append(f"vocabularies: {done}; {words['why']}")
    if recipe.search_every_days and tickets:
        done = "searched for" if tickets["searched"] else f"those of {tickets['searched_on']}"
        changes = ", ".join(f"{task} {share:.1%}" for task, share in tickets["changed"].items())
        lines.append(f"tickets: {done}; {tickets['why']}")
        lines += [f"one round changes: {changes}"] if changes else []
    if recipe.warm_start == "on":
        words = f"{start.get('words_kept', 0):,} ids known, {start.get('words_new', 0):,} new"
        began = f"from the model of {start['from']}; {words}"
        lines.append(f"start: {began if start['from'] else 'fresh; ' + start['why']}")
        learned = f"trained on {start['rows']:,} rows"
        if share := start.get("label_share"):
            learned += (
                f"; {share:.0%} of the losses are on labels, the rest on what that model says"
            )
        lines.append(learned)
    return lines


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
