"""report.html: the facts as one page without scripts, which asks for nothing outside of itself."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from typing import Any

from ncs4cvr.pipeline.report import (
    data_part,
    model_part,
    rows_part,
    run_part,
    tickets_part,
    words,
)
from ncs4cvr.pipeline.report.html import Child, Html, tag
from ncs4cvr.pipeline.run import history

Facts = Mapping[str, Any]
#: The browser itself refuses whatever the page might ask for.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
#: How a run ended -> sign, colour, headline.
ENDS = {
    history.PUSHED: ("✓", "good", "Pushed"),
    history.NOT_PUSHED: ("!", "mixed", "Not pushed, though it passed"),
    history.NOT_BLESSED: ("✕", "bad", "Not pushed: the model did not pass"),
    history.REFUSED: ("✕", "bad", "Not pushed: the data was refused"),
    history.FAULT: ("✕", "bad", "Not pushed: the run broke off"),
    history.INTERRUPTED: ("!", "mixed", "Not pushed: the run was interrupted"),
}
MESSAGE_LINES = 40


def page(facts: Facts) -> str:
    """The whole file."""
    run = facts["run"]
    sections = (
        ("rows", "Every row accounted for", rows_part.rows(facts)),
        ("data", "What changed in the data", data_part.changes(facts)),
        ("tickets", "Tickets", tickets_part.tickets(facts)),
        ("metrics", "How good the model is", model_part.metrics(facts)),
        ("serving", "How it serves", model_part.serving(facts)),
        ("time", "Where time and memory went", run_part.timeline(facts)),
        ("lineage", "Where it comes from", run_part.lineage(facts)),
        ("runs", "The last runs", run_part.last_runs(facts)),
    )
    title = f"{ENDS[facts['verdict']['state']][2]} · {run['recipe']} · {words.moment(run['ended'])}"
    style = importlib.resources.files(__package__).joinpath("style.css").read_text("utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("link", rel="icon", href="data:,"),
        tag("title", title),
        tag("style", Html(style)),
    )
    links = (tag("li", tag("a", title, href=f"#{key}")) for key, title, _ in sections)
    body = tag(
        "body",
        tag("header", _run(run), verdict(facts), _tiles(facts)),
        tag("nav", tag("ul", links), aria_label="Sections"),
        tag("main", (tag("section", tag("h2", t), told, id=key) for key, t, told in sections)),
        tag(
            "footer",
            "The same facts for machines: report.json. As a model card: model_card.md. ",
            "All that was logged: run.log. All three lie beside this file.",
        ),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _run(run: Facts) -> Html:
    days = "; ".join(
        f"{s['name']} {s['first']}" + (f" to {s['last']}" if s["last"] != s["first"] else "")
        for s in run["splits"]
    )
    return tag(
        "div",
        tag("span", "Recipe ", tag("b", run["recipe"])),
        tag("span", f"ended {words.moment(run['ended'])}, after {words.seconds(run['seconds'])}"),
        tag("span", days),
        class_="run",
    )


def verdict(facts: Facts) -> Html:
    """Whether the push happened, and why."""
    told = facts["verdict"]
    sign, colour, headline = ENDS[told["state"]]
    if told["component"]:
        headline += f" in {told['component']}"
    lines: list[Child] = []
    if told["pushed"]:
        lines.append(tag("p", f"Version {told['version']} is what users get now."))
    if why := _why(facts):
        lines.append(tag("p", why))
    if told["message"] and told["message"].strip() != told["why"]:
        shown = told["message"].splitlines()
        more = len(shown) - MESSAGE_LINES
        rest = f"\n… and {more} lines more, see run.log" if more > 0 else ""
        lines.append(tag("pre", "\n".join(shown[:MESSAGE_LINES]) + rest))
    served = facts["lineage"]["served"]
    if not told["pushed"]:
        lines.append(tag("p", _still(served), class_="note"))
    return tag(
        "div",
        tag("h1", tag("span", sign, aria_hidden="true"), headline),
        lines,
        class_=f"verdict {colour}",
    )


def _why(facts: Facts) -> Child:
    """The reason: what the gates said, or what the history notes."""
    model, told = facts["model"], facts["verdict"]
    if told["state"] == history.NOT_BLESSED:
        reasons = (model["reasons"] if model else []) + (facts["serving"] or {}).get("failures", [])
        if len(reasons) > 1:
            return tag("ul", (tag("li", reason) for reason in reasons))
        return reasons[0] if reasons else told["why"]
    if told["pushed"] and model:
        return sentence(model["why"])
    return told["why"]


def sentence(text: str) -> str:
    """With a capital letter and a full stop.

    >>> sentence("blessed: all gates hold")
    'Blessed: all gates hold.'
    """
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def _still(served: Facts | None) -> str:
    if served is None:
        return "Nothing is served: no version has been pushed yet."
    since = f", pushed {words.moment(served['pushed'])}" if served["pushed"] else ""
    return f"Users still get version {served['version']}{since}."


def _tiles(facts: Facts) -> Html:
    tiles = [
        *model_part.tiles(facts),
        *rows_part.tiles(facts),
        *data_part.tiles(facts),
        *run_part.tiles(facts),
    ]
    return tag(
        "dl",
        (
            tag("div", tag("dt", name), tag("dd", value), tag("dd", note) if note else None)
            for name, value, note in tiles
        ),
        class_="tiles",
    )
