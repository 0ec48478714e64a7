"""What the page says of the data: the data gate, and what changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ncs4cvr.pipeline.report import pictures, words
from ncs4cvr.pipeline.report.html import Child, Html, join, key, table, tag

Facts = Mapping[str, Any]
Tile = tuple[str, str, str]
COMPLAINTS = 40  # that are shown
NEARLY = 0.5  # of what is allowed: a feature from here on is worth a look


def tiles(facts: Facts) -> Iterator[Tile]:
    """The largest change."""
    changes = facts["data"]["changes"]
    if changes and changes["drift"]:
        most = changes["drift"][0]
        share = words.percent(reach(most), 0)
        yield "Largest drift", share, f"of what is allowed: {most['column']}"


def reach(move: Facts) -> float:
    """How much of the threshold a change used up."""
    return move["value"] / move["threshold"] if move["threshold"] else 0.0


def changes(facts: Facts) -> Html:
    """The data gate, drift and skew."""
    found, gate = facts["data"]["changes"], facts["data"]["gate"]
    if found is None:
        return tag("p", "No statistics were made of this data.", class_="lead")
    return join(
        tag("p", _lead(found, gate), class_="lead"),
        _complaints(gate["complaints"]),
        _columns(found),
        _drift(found),
        _skew(found, facts["run"]["splits"][0]["name"]),
        _shares(found),
    )


def _lead(found: Facts, gate: Facts) -> str:
    said = {
        "passed": "The data gate let this data pass.",
        "refused": "The data gate refused this data.",
        "not reached": "The run did not get past the data gate's checks.",
    }[gate["state"]]
    if found["earlier"] is None:
        return f"{said} There is no earlier data that passed, so nothing to compare it with."
    since = f"Compared with the last data that passed, of {words.moment(found['earlier'])}:"
    if not found["drift"]:
        return f"{said} The recipe's drift_threshold is 0: no column is compared with earlier data."
    near = [move for move in found["drift"] if reach(move) >= NEARLY]
    told = f"{len(near)} of {len(found['drift'])} columns used up half of what is allowed or more"
    return f"{said} {since} {told if near else 'no column used up half of what is allowed'}."


def _complaints(complaints: Sequence[str]) -> Html | None:
    if not complaints:
        return None
    more = len(complaints) - COMPLAINTS
    lines = [tag("li", line) for line in complaints[:COMPLAINTS]]
    rest = tag("p", f"and {more:,} more, see run.log", class_="note") if more > 0 else None
    return join(tag("h3", f"Complaints: {len(complaints):,}"), tag("ul", lines), rest)


def _columns(found: Facts) -> Html | None:
    told = [
        f"{what}: {', '.join(found[key])}"
        for key, what in (("new", "New columns"), ("gone", "Columns that are gone"))
        if found[key]
    ]
    return tag("p", ". ".join(told), class_="note") if told else None


def _drift(found: Facts) -> Html | None:
    if not found["drift"]:
        return None
    colours = key((("now", "now"), ("before", "before")))
    caption = "Drift, the largest first: each column in the split where it moved most"
    return join(
        tag("h3", "Since the last data that passed"),
        colours,
        _moves(caption, found["drift"], "before"),
    )


def _skew(found: Facts, first: str) -> Html | None:
    if not found["skew"]:
        return None
    caption = f"Later splits (filled) against {first} (outline), within this run"
    picture = _moves(caption, found["skew"], first)
    if found["drift"]:
        title = tag("summary", f"Between the splits of this run: {len(found['skew'])} columns")
        return tag("details", title, picture)
    return join(tag("h3", "Between the splits of this run"), picture)


def _moves(caption: str, moves: Sequence[Facts], other: str) -> Html:
    heads = (
        "column", "distribution", "of the limit", "split", "distance", "allowed", "median",
        f"in {other}" if other != "before" else "before", "missing",
    )  # fmt: skip
    return table(caption, heads, (_move(move, other) for move in moves), words=(0, 1, 3))


def _move(move: Facts, other: str) -> tuple[Child, ...]:
    shape, share = move["shape"], reach(move)
    colour = "bad" if share >= 1 else "mixed" if share >= NEARLY else None
    return (
        move["column"],
        pictures.twins(shape["now"], shape["before"], _shape_in_words(move, other)),
        tag("span", words.percent(share, 0), class_=colour),
        move["split"],
        tag("span", words.quantity(round(move["value"], 5)), title=move["measure"]),
        words.quantity(move["threshold"]),
        words.quantity(move["median"]["now"]),
        words.quantity(move["median"]["before"]),
        words.percent(move["missing"]["now"]),
    )


def _shape_in_words(move: Facts, other: str) -> str:
    """What a picture shows, for those who do not see it."""
    shape = move["shape"]
    if shape["kind"] == "numbers":
        bins = [f"{words.quantity(edge)} on" for edge in shape["edges"][:-1]]
    else:
        bins = shape["values"]
    before = shape["before"] or [None] * len(bins)
    told = (
        f"{name}: {words.percent(now)}"
        + ("" if then is None else f" ({other} {words.percent(then)})")
        for name, now, then in zip(bins, shape["now"], before, strict=True)
    )
    return f"{move['column']} in {move['split']}. {'; '.join(told)}"


def _shares(found: Facts) -> Html:
    """Rows and labels per split, now and before."""

    def pair(now: str, before: str | None) -> str:
        return now if found["earlier"] is None else f"{now} (before {before})"

    names = [split["name"] for split in found["splits"]]
    rows_of = [pair(words.count(s["rows"]), words.count(s["before"])) for s in found["splits"]]
    labels = (
        (
            f"mean of {label['name']}",
            *(
                pair(words.percent(s["now"], 2), words.percent(s["before"], 2))
                for s in label["splits"]
            ),
        )
        for label in found["labels"]
    )
    return join(
        tag("h3", "Rows and labels"),
        table("Rows and mean labels of every split", ("", *names), (("rows", *rows_of), *labels)),
    )
