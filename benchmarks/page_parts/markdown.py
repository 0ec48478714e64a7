"""Text and tables of pages."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

WIDTH = 100


def prose(text: str, first: str = "") -> str:
    """A paragraph in lines of at most WIDTH, with an empty line after it.

    first: what it begins with, such as "- " of a list; later lines are set in as far, and no empty
    line follows.

    >>> prose("Short  is\\n good.")
    'Short is good.\\n'
    """
    filled = textwrap.fill(
        " ".join(text.split()),
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return filled if first else filled + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with an empty line after it.

    >>> print(table(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    <BLANKLINE>
    """
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, ""])
