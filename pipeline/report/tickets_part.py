"""What the page says of the tickets: what each task keeps, and how the search went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ncs4cvr.pipeline.report import pictures, words
from ncs4cvr.pipeline.report.html import Child, Html, join, key, table, tag

Facts = Mapping[str, Any]


def tickets(facts: Facts) -> Html:
    """What each task keeps, where they overlap, and how the search went."""
    sharing = facts["sharing"]
    found = sharing["tickets"]
    if found is None and sharing["kind"] == "ncs4cvr":
        return tag("p", "The run ended before tickets were found.", class_="lead")
    if found is None:
        told = f"The tasks share by {sharing['kind']}, which has no tickets."
        return tag("p", told, class_="lead")
    total, tasks = found["total"], found["tasks"]
    kept = ", ".join(f"{task} {words.percent(total['kept'][task])}" for task in tasks)
    lead = (
        f"Of {words.count(total['connections'])} connections the tasks keep: {kept}. What all of "
        f"them keep is {words.percent(total['overlap'])} of what any keeps."
    )
    control = sharing["control"]
    if control:
        lead += f" The model was trained under a control of these tickets instead: {control}."
    if found["source"] == "ImportTickets":
        lead += " They were handed over by an earlier run; nothing was searched."
    colours = [(f"task{i % 4}", f"{task} alone") for i, task in enumerate(tasks)]
    legend = (("shared", "kept by several"), *colours, ("track", "kept by none"))
    return join(
        tag("p", lead, class_="lead"),
        key(legend),
        table(
            "Connections of every layer: what is kept, by whom",
            ("layer", "kept by several, by one alone, by none", "overlap",
             *(f"{task} keeps" for task in tasks), *(f"{task} alone" for task in tasks)),
            _layers(found, tasks),
            words=(0, 1),
        ),
        _rounds(found, tasks),
    )  # fmt: skip


def _layers(found: Facts, tasks: Sequence[str]) -> Iterator[tuple[Child, ...]]:
    named = [
        (f"{i + 1}: {'×'.join(map(str, one['shape']))}", one)
        for i, one in enumerate(found["layers"])
    ]
    for name, one in [*named, ("all layers", found["total"])]:
        parts = [("shared", one["several"])]
        parts += [(f"task{i % 4}", one["alone"][task]) for i, task in enumerate(tasks)]
        alone = ", ".join(f"{t} alone {words.percent(one['alone'][t])}" for t in tasks)
        title = f"layer {name}: several {words.percent(one['several'])}, {alone}"
        yield (
            name,
            pictures.stack(parts, title),
            words.percent(one["overlap"]),
            *(words.percent(one["kept"][task]) for task in tasks),
            *(words.percent(one["alone"][task]) for task in tasks),
        )


def _rounds(found: Facts, tasks: Sequence[str]) -> Html:
    """Validation by what was removed, a chart for each task, since their metrics lie far apart."""
    figures = []
    for i, task in enumerate(tasks):
        rounds = [one[task] for one in found["rounds"]]
        chosen = found["chosen"][task]
        points = [(100 * (1 - one["kept"]), one["value"]) for one in rounds]
        name = rounds[0]["metric"]
        told = ", ".join(f"{x:.0f} % removed {words.metric(y)}" for x, y in points)
        title = f"{name}: {told}"
        chart = pictures.line(points, chosen, i, "connections removed, %", title)
        said = f"chosen: round {chosen}, {words.metric(rounds[chosen]['value'])} (large dot)"
        figures.append(
            tag("figure", tag("h3", f"{name} on validation"), chart, tag("figcaption", said))
        )
    head = (
        "The rounds of the search" if len(found["rounds"]) > 1 else "The only round of the search"
    )
    return join(tag("h3", head), tag("div", figures, class_="grid"))
