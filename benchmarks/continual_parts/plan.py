"""What is run: the arms, and in which order their days take turns."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FRESH, KEPT, WARM = "fresh", "kept", "warm"
#: arm -> the settings that make it, and what it does on a day after the first.
ARMS: dict[str, tuple[tuple[str, ...], str]] = {
    FRESH: ((), "searches for tickets and trains from nothing"),
    KEPT: (("search_every_days=7",), "keeps the tickets, trains from their common start"),
    WARM: (
        ("warm_start=on", "search_every_days=7", "analyze_every_days=7"),
        "keeps the tickets and the vocabularies, goes on from the last pushed model with the rows "
        "that it has not seen",
    ),
}


@dataclass(frozen=True)
class Cell:
    """One run: a day of an arm."""

    arm: str
    day: str
    seed: int

    @property
    def root(self) -> str:
        """The folder that all days of an arm share."""
        return f"{self.arm}-seed{self.seed}"

    @property
    def name(self) -> str:
        return f"{self.root}-{self.day}"


def cells(arms: Sequence[str], days: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """All runs: day by day, in each the arms of every seed; every day another arm comes first.

    >>> [(c.day, c.arm) for c in cells(["a", "b"], ["1", "2"], [1])]
    [('1', 'a'), ('1', 'b'), ('2', 'b'), ('2', 'a')]
    """
    ordered = []
    for d, day in enumerate(days):
        for s, seed in enumerate(seeds):
            first = (d + s) % len(arms)
            ordered += [Cell(arm, day, seed) for arm in (*arms[first:], *arms[:first])]
    return ordered


def left_s(todo: Sequence[Cell], seconds: Mapping[Cell, float]) -> float:
    """How long the missing runs will take: each as its arm's last ones, or as all others.

    Args:
      todo: what is missing.
      seconds: of what was run; at least one.
    """
    first = min(cell.day for cell in seconds)

    def guess(cell: Cell) -> float:
        mine = {c: s for c, s in seconds.items() if c.arm == cell.arm and c.day > first}
        return statistics.median((mine or seconds).values())

    return sum(map(guess, todo))
