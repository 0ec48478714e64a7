"""What the page says of the model: how good it is, and how it serves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ncs4cvr.pipeline.report import pictures, words
from ncs4cvr.pipeline.report.html import Child, Html, join, table, tag

Facts = Mapping[str, Any]
Tile = tuple[str, str, str]


def tiles(facts: Facts) -> Iterator[Tile]:
    """The metric that is compared with the last model's, else the first; size and latency."""
    model = facts["model"]
    if model:
        name = watched(model)
        output = model["outputs"][name]
        before = output["before"]
        note = f"95 %: {words.interval(output['interval'])}"
        if before:
            note = f"{words.difference(before['difference'])} to the last blessed model"
        yield f"{name} {output['metric'].upper()}", words.metric(output["value"]), note
    serving = facts["serving"]
    if serving:
        call = _call(serving, 64)
        note = f"p99 {call['p99_ms']:.1f} ms for 64 rows" if call else ""
        yield "Model", words.megabytes(serving["model_bytes"]), note


def watched(model: Facts) -> str:
    """The output that a gate compares with the last model, or the first that a gate is about."""
    gates = sorted(model["gates"], key=lambda gate: gate["worse_by"] is None)
    return next((gate["metric"].rpartition("_")[0] for gate in gates), next(iter(model["outputs"])))


# -- metrics -------------------------------------------------------------------------------


def metrics(facts: Facts) -> Html:
    """The model gate's verdict, its measurements, calibration and slices."""
    model = facts["model"]
    if model is None:
        return tag("p", "The run ended before a model was judged.", class_="lead")
    where = (
        f"Judged on {words.count(model['rows'])} rows of {model['split']}, "
        f"{words.count(model['users'])} users. Intervals are of "
        f"{words.percent(model['level'], 0)}, from {words.count(model['replicates'])} bootstrap "
        "samples of users; differences are paired."
    )
    if not model["compared"]:
        where += " There was no earlier model to compare this one with."
    outputs = model["outputs"]
    return join(
        tag("p", _sentence(model["why"]), class_="lead"),
        tag("p", where, class_="note"),
        tag("div", (_output(name, out) for name, out in outputs.items()), class_="grid"),
        _gates(model),
        (_slices(name, out, name == watched(model)) for name, out in outputs.items()),
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _output(name: str, out: Facts) -> Html:
    told = f" of rows with {out['given']}" if out["given"] else ""
    calibration, before = out["calibration"], out["before"]
    pairs: list[tuple[str, str]] = [("95 % interval", words.interval(out["interval"]))]
    if before:
        pairs += [
            ("last blessed model", words.metric(before["value"])),
            ("difference", words.difference(before["difference"])),
            ("its interval", words.interval(before["interval"])),
        ]
    if out["gauc"] is not None:
        pairs.append(("GAUC", words.metric(out["gauc"])))
        pairs += [("last blessed model's", words.metric(out["gauc_before"]))] if before else []
    pairs += [
        ("predicted / observed", words.metric(calibration["ratio"])),
        ("mean label", words.percent(out["share"], 2)),
        ("rows", words.count(out["rows"])),
    ]
    points = [
        (part["predicted"], part["observed"])
        for part in out["deciles"]
        if part["predicted"] is not None and part["observed"] is not None
    ]
    chart = None
    if points:
        said = "; ".join(f"predicted {p:.3f}, observed {o:.3f}" for p, o in points)
        chart = tag(
            "figure",
            pictures.calibration(points, f"Calibration of {name} by tenths of the rows: {said}"),
            tag("figcaption", "Calibration by tenths of the rows; the thin line is perfect"),
        )
    return tag(
        "div",
        tag(
            "h3",
            f"{name} {out['metric'].upper()}",
            tag("span", f" · {out['label']}{told}", class_="soft"),
        ),
        tag("p", words.metric(out["value"]), class_="big"),
        tag("dl", ((tag("dt", k), tag("dd", v)) for k, v in pairs), class_="pairs"),
        chart,
        class_="output",
    )


def _gates(model: Facts) -> Html:
    gates = model["gates"]
    if not gates:
        return tag("p", "The recipe has no gate: every model passes.", class_="note")
    mark = {
        True: tag("span", "✓ yes", class_="good"),
        False: tag("span", "✕ no", class_="bad"),
    }
    return table(
        "Gates of the recipe",
        ("metric", "holds", "is", "must be"),
        (
            (g["metric"], mark[g["holds"]], _judged(model, g), tag("span", _demand(g), _wrong(g)))
            for g in gates
        ),
        words=(0, 1, 3),
    )


def _judged(model: Facts, gate: Facts) -> str:
    output, _, kind = gate["metric"].rpartition("_")
    found = model["outputs"][output]
    return words.metric(found["calibration"]["ratio"] if kind == "calibration" else found["value"])


def _wrong(gate: Facts) -> Html | None:
    if not gate["why"]:
        return None
    return tag("ul", (tag("li", line) for line in gate["why"]), class_="soft")


def _demand(gate: Facts) -> str:
    """What a gate asks for, in words."""
    told = []
    if gate["at_least"] is not None:
        told.append(f"at least {gate['at_least']:g}")
    if gate["at_most"] is not None:
        told.append(f"at most {gate['at_most']:g}")
    if gate["worse_by"] is not None:
        sure = f" at confidence {gate['confidence']:g}" if gate["confidence"] > 0.5 else ""
        told.append(f"at most {gate['worse_by']:g} below the last blessed model's{sure}")
    if gate["slice_worse_by"] is not None:
        told.append(f"in no slice surely more than {gate['slice_worse_by']:g} below it")
    return ", ".join(told) or "anything"


def _slices(name: str, out: Facts, opened: bool) -> Html | None:
    slices = out["slices"]
    if not slices:
        return None
    ends = [e for s in slices for e in (s["interval"] or [])] or [0.0, 1.0]
    axis = (min(ends), max(ends))
    caption = (
        f"{out['metric'].upper()} of {name} by slice, on an axis from {axis[0]:.2f} to "
        f"{axis[1]:.2f}; thin line: all rows, dashed: the smallest allowed"
    )
    compared = any(s["before"] for s in slices)
    heads = ["slice", "value and interval", out["metric"].upper()]
    heads += ["difference", "its interval"] if compared else []
    heads += ["allowed"] if any(s["allowed"] is not None for s in slices) else []
    heads += ["rows", "positives"]
    body = (_slice(s, out["value"], axis, compared, "allowed" in heads) for s in slices)
    return tag(
        "details",
        tag("summary", f"Slices of {name}: {len(slices)}"),
        table(caption, heads, body, words=(0, 1)),
        open="open" if opened else None,
    )


def _slice(
    one: Facts, whole: float | None, axis: tuple[float, float], compared: bool, allowed: bool
) -> list[Child]:
    picture: Child = "too few rows for an interval"
    if one["value"] is not None and one["interval"]:
        marks = [m for m in (whole, one["allowed"]) if m is not None]
        low, high = one["interval"]
        picture = pictures.strip(low, one["value"], high, axis, marks)
    before = one["before"] or {}
    cells: list[Child] = [
        f"{one['column']} = {one['slice']}",
        picture,
        words.metric(one["value"]),
    ]
    if compared:
        interval = before.get("interval")
        cells += [words.difference(before.get("difference")), words.interval(interval)]
    if allowed:
        colour = {True: "good", False: "bad", None: None}[one["holds"]]
        cells.append(tag("span", words.metric(one["allowed"]), class_=colour))
    return [*cells, words.count(one["rows"]), words.count(one["positives"])]


# -- serving -------------------------------------------------------------------------------


def serving(facts: Facts) -> Html:
    """Sizes, latencies, and whether answers are the trainer's."""
    found = facts["serving"]
    if found is None:
        return tag("p", "The run ended before a server's process tried the model.", class_="lead")
    lead = (
        "A process without ncs4cvr loaded the model and answered as its trainer does."
        if not found["failures"]
        else "A process without ncs4cvr tried the model; not all was as it must be:"
    )
    failed = (
        tag("ul", (tag("li", line) for line in found["failures"])) if found["failures"] else None
    )
    sizes = (
        ("files", words.megabytes(found["model_bytes"])),
        ("loads in", words.seconds(found["load_s"])),
        ("memory after load", f"{found['memory_mb']:.0f} MB"),
        ("memory before load", f"{found['memory_before_load_mb']:.0f} MB"),
    )
    calls = sorted({call["batch"] for call in found["calls"]})
    signatures = sorted({call["signature"] for call in found["calls"]})
    return join(
        tag("p", lead, class_="lead"),
        failed,
        tag("dl", (tag("div", tag("dt", k), tag("dd", v)) for k, v in sizes), class_="tiles"),
        table(
            "Milliseconds a request, p50 / p99, by rows in it (one process, no network)",
            ("signature", *(f"{batch:,}" for batch in calls)),
            ((name, *(_milliseconds(found, name, b) for b in calls)) for name in signatures),
        ),
        _answers(found),
    )


def _call(found: Facts, batch: int, signature: str = "serving_default") -> Facts | None:
    return next(
        (c for c in found["calls"] if (c["signature"], c["batch"]) == (signature, batch)), None
    )


def _milliseconds(found: Facts, signature: str, batch: int) -> str:
    call = _call(found, batch, signature)
    return f"{call['p50_ms']:.1f} / {call['p99_ms']:.1f}" if call else "–"


def _answers(found: Facts) -> Html:
    caption = f"{words.count(found['rows'])} recorded rows: what is served, and what was trained"
    return table(
        caption,
        ("output", "metric", "trainer", "served", "largest difference of an answer"),
        (
            (name, o["metric"], f"{o['trainer']:.5f}" if o["trainer"] is not None else "–",
             f"{o['served']:.5f}" if o["served"] is not None else "–", f"{o['difference']:.1e}")
            for name, o in found["outputs"].items()
        ),
        words=(0, 1),
    )  # fmt: skip
