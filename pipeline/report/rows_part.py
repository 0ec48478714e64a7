"""What the page says of the log's rows: the law of conservation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ncs4cvr.pipeline.report import pictures, words
from ncs4cvr.pipeline.report.html import Child, Html, join, key, table, tag

Facts = Mapping[str, Any]
Tile = tuple[str, str, str]
REASONS = 10  # of dead letters that are shown


def tiles(facts: Facts) -> Iterator[Tile]:
    """Rows of events."""
    if facts["rows"]:
        events = next(s for s in facts["rows"] if s["kind"] == "events")
        dead = sum(events["dead"].values())
        state = "all accounted for" if all(s["holds"] for s in facts["rows"]) else "rows were lost"
        yield "Rows of events", words.count(events["read"]), f"{state}; {dead:,} dead letters"


def rows(facts: Facts) -> Html:
    """The law of conservation."""
    sums = facts["rows"]
    if sums is None:
        return tag("p", "The log was not read to its end: nothing was counted.", class_="lead")
    holds = all(one["holds"] for one in sums)
    lead = (
        "Rows read = examples written + exact duplicates + dead letters, for every file."
        if holds
        else "Rows were lost: what was read is not what was written, dropped and refused."
    )
    return join(
        tag("p", lead, class_="lead"),
        join(_sum(one) for one in sums if one["kind"] == "events"),
        key((("written", "written"), ("twice", "duplicates"), ("dead", "dead letters"))),
        table(
            "Rows read, and where they are",
            ("file", "all there", "read", "written", "duplicates", "dead letters"),
            (_row(one) for one in sums),
            words=(0, 1),
        ),
        _letters(sums),
    )


def _row(one: Facts) -> tuple[Child, ...]:
    mark = (
        tag("span", "✓ yes", class_="good") if one["holds"] else tag("span", "✕ no", class_="bad")
    )
    return (
        one["kind"],
        mark,
        words.count(one["read"]),
        words.count(sum(one["written"].values())),
        words.count(one["duplicates"]),
        words.count(sum(one["dead"].values())),
    )


def _sum(one: Facts) -> Html:
    """One kind of file as a bar, and the sum in words."""
    read, dead = one["read"], sum(one["dead"].values())
    written = " + ".join(f"{n:,} {name}" for name, n in one["written"].items())
    told = f"{read:,} = {written} + {one['duplicates']:,} duplicates + {dead:,} dead letters"
    whole = max(read, 1)
    parts = [
        ("written", sum(one["written"].values()) / whole),
        ("twice", one["duplicates"] / whole),
        ("dead", dead / whole),
    ]
    bar = pictures.stack(parts, f"rows of {one['kind']}: {told}")
    return tag("figure", bar, tag("figcaption", f"{one['kind']}: {told}"))


def _letters(sums: Sequence[Facts]) -> Html | None:
    dead = [(one["kind"], why, n) for one in sums for why, n in one["dead"].items()]
    if not dead:
        return None
    dead.sort(key=lambda each: -each[2])
    caption = "Dead letters by reason"
    if len(dead) > REASONS:
        caption += f", the {REASONS} most frequent of {len(dead)}"
    return table(
        caption,
        ("file", "reason", "rows"),
        ((kind, why, words.count(n)) for kind, why, n in dead[:REASONS]),
        words=(0, 1),
    )
