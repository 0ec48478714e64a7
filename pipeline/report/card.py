"""model_card.md: the facts as a model card (Mitchell et al., FAT* 2019)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ncs4cvr.pipeline.report import words

Facts = Mapping[str, Any]
SPECIAL = re.compile(r"([\\`*_{}\[\]<>()#+!|~&])")


def card(facts: Facts) -> str:
    """The whole file."""
    run, told = facts["run"], facts["verdict"]
    head = [
        f"# Model card: {plain(run['recipe'])}",
        f"Run that ended {words.moment(run['ended'])}: **{told['state']}**"
        + (f", version {told['version']}." if told["pushed"] else "."),
    ]
    parts = [
        *head,
        *_use(facts),
        *_data(facts),
        *_metrics(facts),
        *_slices(facts),
        *_limits(facts),
        *_making(facts),
    ]
    return "\n\n".join(parts) + "\n"


def plain(value: object) -> str:
    r"""Text that Markdown takes for nothing else, in one line.

    >>> plain("a|b\n<script>")
    'a\\|b \\<script\\>'
    """
    return SPECIAL.sub(r"\\\1", " ".join(str(value).split()))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _use(facts: Facts) -> Iterator[str]:
    yield "## Intended use"
    recipe = facts["lineage"]["recipe"]["json"]
    tasks = [
        f"{plain(t['name'])} (P({plain(t['label'])}"
        + (f" given {plain(t['given'])}" if t["given"] else "")
        + "))"
        for t in recipe["tasks"]
    ]
    tasks += [plain(product["name"]) for product in recipe["products"]]
    yield (
        f"Ranks candidates for a user by {', '.join(tasks)}, for traffic like that of the log "
        "below. Scores are probabilities on that traffic, for ordering and blending, "
        "not for judging single users or videos."
    )


def _data(facts: Facts) -> Iterator[str]:
    yield "## Data"
    attribution = facts["lineage"]["recipe"]["json"].get("attribution")
    yield (
        f"Source and licence: {plain(attribution)}"
        if attribution
        else "Source and licence: not said; the recipe's key `attribution` is the place for it."
    )
    days = [f"{plain(s['name'])} {s['first']} to {s['last']}" for s in facts["run"]["splits"]]
    yield f"Days: {', '.join(days)}. The model has seen labels of the first two only."
    if facts["rows"]:
        rows = [
            [plain(one["kind"]), *map(words.count, (one["read"], sum(one["written"].values()),
             one["duplicates"], sum(one["dead"].values())))]
            for one in facts["rows"]
        ]  # fmt: skip
        yield _table(["file", "rows read", "written", "duplicates", "dead letters"], rows)


def _metrics(facts: Facts) -> Iterator[str]:
    yield "## Metrics"
    model = facts["model"]
    if model is None:
        yield "The run ended before a model was judged."
        return
    yield (
        f"On {words.count(model['rows'])} rows of {plain(model['split'])}, "
        f"{words.count(model['users'])} users; {words.percent(model['level'], 0)} intervals from a "
        f"bootstrap over users. {plain(model['why'])}."
    )
    rows = []
    for name, out in model["outputs"].items():
        before = out["before"] or {}
        rows.append(
            [
                f"{plain(name)} {out['metric'].upper()}",
                words.metric(out["value"]),
                words.interval(out["interval"]),
                words.difference(before.get("difference")),
                words.interval(before.get("interval")),
                words.metric(out["gauc"]),
                words.metric(out["calibration"]["ratio"]),
            ]
        )
    yield _table(
        ["output", "value", "interval", "to the last blessed", "its interval", "GAUC",
         "predicted / observed"],
        rows,
    )  # fmt: skip


def _slices(facts: Facts) -> Iterator[str]:
    outputs = (facts["model"] or {"outputs": {}})["outputs"]
    rows = [
        [plain(name), plain(f"{s['column']} = {s['slice']}"), words.count(s["rows"]),
         words.count(s["positives"]), words.metric(s["value"]), words.interval(s["interval"])]
        for name, out in outputs.items()
        for s in out["slices"]
    ]  # fmt: skip
    if rows:
        yield "## Slices"
        yield _table(["output", "slice", "rows", "positives", "value", "interval"], rows)


def _limits(facts: Facts) -> Iterator[str]:
    yield "## Limits"
    recipe = facts["lineage"]["recipe"]["json"]
    lines = [
        "The log holds what an earlier ranking showed; what it never showed is not judged here.",
        "Offline metrics on later days of the same log; no online test.",
    ]
    training = facts["training"] or {"start": {}}
    taught = training.get("soft_labels") or training["start"].get("label_share")
    beyond = "it learned what models extrapolated" if taught else "it extrapolates"
    lines += [
        f"{plain(t['name'])} has labels, and is judged, on rows with {plain(t['given'])} alone; on "
        f"all other rows {beyond}."
        for t in recipe["tasks"]
        if t["given"]
    ]
    if facts["model"] and not facts["model"]["compared"]:
        lines.append("There was no earlier model to compare it with.")
    yield "\n".join(f"- {line}" for line in lines)


def _making(facts: Facts) -> Iterator[str]:
    yield "## How it was made"
    sharing, training, serving = facts["sharing"], facts["training"], facts["serving"]
    lines = [f"Sharing: {plain(sharing['kind'])}, layers {sharing['hidden']}."]
    if tickets := sharing["tickets"]:
        kept = (f"{plain(t)} {words.percent(k)}" for t, k in tickets["total"]["kept"].items())
        lines.append(
            f"Tickets keep {', '.join(kept)} of {words.count(tickets['total']['connections'])} "
            f"connections and overlap to {words.percent(tickets['total']['overlap'])}."
        )
    if training:
        lines.append(
            f"{words.count(training['parameters'])} parameters, {len(training['epochs'])} epochs, "
            f"the best was {training['best_epoch']}."
        )
        if training.get("soft_labels"):
            lines.append(
                f"It learned what {training['soft_labels']} rounds of the ticket search say of the "
                "training rows on average, in place of the labels."
            )
        if share := training["start"].get("label_share"):
            lines.append(
                f"It went on from the model of {plain(training['start']['from'])}. Of its losses "
                f"{words.percent(share)} are on labels, the rest on what that model says."
            )
    if serving:
        lines.append(
            f"Files {words.megabytes(serving['model_bytes'])}; memory after load "
            f"{serving['memory_mb']:.0f} MB with TensorFlow."
        )
    yield "\n".join(f"- {line}" for line in lines)
    found = facts["lineage"]
    digests = [["recipe", plain(found["recipe"]["name"]), found["recipe"]["sha256"]]]
    digests.append(["log", f"{len(found['log']['files'])} files", found["log"]["sha256"] or "–"])
    digests += [
        [plain(a["component"]), plain(a["artifact"]), a["sha256"] or "–"]
        for a in found["artifacts"]
    ]
    yield _table(["what", "which", "SHA-256"], digests)
    yield ", ".join(f"{name} {version}" for name, version in found["software"].items()) + "."
