"""What the page says of the run: time and memory, lineage, and the runs before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ncs4cvr.pipeline.report import pictures, words
from ncs4cvr.pipeline.report.html import Child, Html, join, key, table, tag
from ncs4cvr.pipeline.run import history
from ncs4cvr.pipeline.run.run_record import CACHED

Facts = Mapping[str, Any]
Tile = tuple[str, str, str]


def tiles(facts: Facts) -> Iterator[Tile]:
    """How long it took, and the memory."""
    most = max((point[1] for point in facts["memory"]), default=0)
    note = f"{most / 1024:.1f} GB of memory at most" if most else ""
    yield "Run", words.seconds(facts["run"]["seconds"]), note


def timeline(facts: Facts) -> Html:
    """A bar for every component over the run's time, and the memory under it."""
    steps, memory = facts["timeline"], facts["memory"]
    end = max([*(s["began_s"] + s["seconds"] + s["sealed_s"] for s in steps), 0.1])
    worked = [s for s in steps if s["state"] != CACHED]
    cached = len(steps) - len(worked)
    most = max(worked, key=lambda s: s["seconds"])
    lead = (
        f"{words.seconds(end)} in all, {words.seconds(most['seconds'])} of them in {most['name']}."
    )
    if cached:
        lead += f" {cached} of {len(steps) - 1} components were taken from the cache."
    peak = max((mb for _, mb in memory), default=0)
    told = f"Memory over the run, at most {peak / 1024:.2f} GB"
    legend = (("done", "worked"), ("cached", "from the cache"), ("stopped", "stopped here"))
    return join(
        tag("p", lead, class_="lead"),
        table(
            "Components over the time of the run",
            ("component", f"0 to {words.seconds(end)}", "seconds", "peak memory", "checksums"),
            (_step(step, end) for step in steps),
            words=(0, 1),
        ),
        key(legend),
        tag("h3", "Memory"),
        tag(
            "figure",
            pictures.area(memory, end, peak, told),
            tag(
                "figcaption",
                f"{told}: this process and those it started, looked at 5 times a second",
            ),
        ),
    )


def _step(step: Facts, end: float) -> tuple[Child, ...]:
    first, last = step["began_s"], step["began_s"] + step["seconds"] + step["sealed_s"]
    title = f"{step['name']}: {step['state']}, from second {first:.1f} to {last:.1f}"
    cached = step["state"] == CACHED
    return (
        step["name"],
        pictures.span(first / end, min(1.0, last / end), step["state"], title),
        "cached" if cached else f"{step['seconds']:.1f}",
        f"{step['peak_mb']:,} MB",
        f"{step['sealed_s']:.1f}",
    )


def lineage(facts: Facts) -> Html:
    """Data, code, recipe, tickets and model, with digests."""
    found, training = facts["lineage"], facts["training"]
    recipe, log = found["recipe"], found["log"]
    rows: list[tuple[Child, ...]] = [("recipe", recipe["name"], _digest(recipe["sha256"]))]
    rows.append(("log", f"{len(log['files'])} files", _digest(log["sha256"])))
    rows += [
        (a["component"], f"{a['artifact']}" + (" (cached)" if a["state"] == CACHED else ""),
         _digest(a["sha256"]))
        for a in found["artifacts"]
    ]  # fmt: skip
    if served := found["served"]:
        since = f", pushed {words.moment(served['pushed'])}" if served["pushed"] else ""
        copied = f", a copy of {served['copy_of']}" if served["copy_of"] else ""
        rows.append(
            ("served", f"version {served['version']}{copied}{since}", _digest(served["sha256"]))
        )
    software = ", ".join(f"{name} {version}" for name, version in found["software"].items())
    files = (
        (f["kind"], f["file"], words.megabytes(f["bytes"]) if f["bytes"] is not None else "gone")
        for f in log["files"]
    )
    board = None
    if training:
        board = join(
            tag("h3", "Training"),
            tag(
                "p",
                f"{words.count(training['parameters'])} parameters; {len(training['epochs'])} "
                f"epochs, the best was {training['best_epoch']}; "
                f"{words.seconds(training['seconds'])}. Loss and validation of every epoch are "
                "there for TensorBoard:",
                class_="note",
            ),
            tag("pre", training["tensorboard"]),
        )
    return join(
        tag(
            "p",
            f"Made by {software}. Digests are SHA-256; report.json has them in full.",
            class_="lead",
        ),
        table("What it is made of", ("what", "which", "digest"), rows, words=(0, 1, 2)),
        board,
        tag(
            "details",
            tag("summary", "Files of the log"),
            table("Files of the log", ("kind", "file", "size"), files, words=(0, 1)),
        ),
        tag(
            "details",
            tag("summary", "Code of the components"),
            table(
                "Digest of the sources that each component depends on",
                ("component", "digest"),
                ((name, tag("code", version)) for name, version in found["code"].items()),
                words=(0, 1),
            ),
        ),
    )


def _digest(digest: str | None) -> Html:
    return tag("code", words.short(digest), title=digest)


def last_runs(facts: Facts) -> Html:
    """What the runs before came to, the latest first."""
    runs = facts["last_runs"][::-1]
    colours = {history.PUSHED: "good", history.NOT_PUSHED: "mixed", history.ROLLED_BACK: "mixed"}
    names = list(
        dict.fromkeys(k for one in runs for k in one.get("metrics", {}) if k.endswith("_auc"))
    )
    return table(
        "Runs and rollbacks, the latest first",
        ("ended", "came to", "version", *names, "took", "why"),
        (
            (
                words.moment(one["ended"]),
                tag("span", one["verdict"], class_=colours.get(one["verdict"], "bad")),
                one.get("version", ""),
                *(words.metric(one.get("metrics", {}).get(name)) for name in names),
                words.seconds(one["seconds"]) if "seconds" in one else "",
                one.get("why", ""),
            )
            for one in runs
        ),
        words=(0, 1),
    )
