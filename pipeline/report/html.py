"""HTML by small functions. Everything that is no markup already is text, and gets escaped."""

from __future__ import annotations

import html as standard
from collections.abc import Collection, Iterable, Sequence
from typing import TypeAlias

VOID = {"meta", "link", "br"}
#: Characters of logs that are no text: controls, and those that turn the direction of writing.
CONTROLS = (*range(9), 11, 12, *range(14, 32), *range(127, 160))
TURNS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
UNSEEN = dict.fromkeys((*CONTROLS, *TURNS), "\N{REPLACEMENT CHARACTER}")


class Html(str):
    """Markup."""


Child: TypeAlias = "str | int | float | Iterable[Child] | None"


def text(value: object) -> Html:
    """A value as markup that shows it, whatever it holds.

    >>> text("<script>")
    '&lt;script&gt;'
    """
    if isinstance(value, Html):
        return value
    plain = str(value).translate(UNSEEN).encode("utf-8", "replace").decode("utf-8")
    return Html(standard.escape(plain))


def join(*children: Child) -> Html:
    """Children one after the other; None is left out."""
    parts: list[str] = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, str | int | float):
            parts.append(text(child))
        else:
            parts.append(join(*child))
    return Html("".join(parts))


def tag(name: str, /, *children: Child, **attributes: str | float | None) -> Html:
    """An element; underscores in names of attributes are hyphens, one at the end is nothing.

    >>> tag("td", "a < b", class_="number", colspan=2)
    '<td class="number" colspan="2">a &lt; b</td>'
    """
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Html(f"<{name}{told}>" + ("" if name in VOID else f"{join(*children)}</{name}>"))


def table(
    caption: str,
    heads: Sequence[Child],
    rows: Iterable[Sequence[Child]],
    words: Collection[int] = (0,),
) -> Html:
    """A table; the first cell of a row names it. `words` are the columns that are not numbers.

    It scrolls sideways where it is wider than the screen.
    """

    def kind(column: int) -> str | None:
        return None if column in words else "n"

    head = tag("tr", (tag("th", h, scope="col", class_=kind(i)) for i, h in enumerate(heads)))
    body = (
        tag(
            "tr",
            tag("th", row[0], scope="row"),
            (tag("td", cell, class_=kind(i)) for i, cell in enumerate(row[1:], 1)),
        )
        for row in rows
    )
    return tag(
        "div",
        tag("table", tag("caption", tag("span", caption)), tag("thead", head), tag("tbody", body)),
        class_="wide",
        tabindex="0",
        role="region",
        aria_label=caption,
    )


def key(colours: Iterable[tuple[str, str]]) -> Html:
    """What the colours of a picture mean, as (class, meaning)."""
    return tag(
        "ul",
        (tag("li", tag("i", class_=c, aria_hidden="true"), name) for c, name in colours),
        class_="key",
    )
