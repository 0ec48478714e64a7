"""Iterative magnitude pruning with rewinding: one lottery ticket per task.

The tasks search at the same time on one pass over the data: the model that is trained holds one
independent copy of the network per task (sharing "single_task"), all copies rewound to the same
common start theta_w (multi-task LTH: LT4REC / NCS4CVR, arXiv 2008.09872; rewinding: Frankle et al.,
arXiv 1903.01611).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import tensorflow_model_optimization as tfmot

from ncs4cvr.models.sparsity import Ticket, moved
from ncs4cvr.schemas.recipe import Recipe


@dataclass(frozen=True)
class Round:
    """One training of every task's network under its ticket, and what validation said."""

    tickets: Sequence[Ticket]
    metrics: Mapping[str, float]
    steps: int = 0


def search(
    tickets: Sequence[Ticket],
    keeps: Sequence[float],
    *,
    rewind: Callable[[Sequence[Ticket]], None],
    train: Callable[[int, Sequence[Ticket]], tuple[Mapping[str, float], int]],
    prune: Callable[[int, Ticket, float], Ticket],
    done: Sequence[Round] = (),
    after_round: Callable[[Sequence[Round], Sequence[Ticket]], None] = lambda rounds, tickets: None,
) -> list[Round]:
    """Train, prune, rewind: `len(keeps) + 1` rounds, the first with the given tickets.

    1. theta = theta_w, masks = tickets;  2. train theta under its masks;
    3. every task keeps `keeps[k]` of its connections, the largest;  repeat.

    Args:
      tickets: one per task, usually full.
      keeps: share of all connections kept after each round, falling.
      rewind: sets every variable to theta_w, the optimizer to its start and the masks to tickets.
      train: trains round k under its tickets; returns the tasks' validation metrics and its steps.
      prune: task, its ticket, share to keep -> the smaller ticket.
      done: rounds of a search that was cut off; `tickets` are then those of the next one.
      after_round: told all rounds until now, and the tickets of the next one.
    """
    rounds = list(done)
    for k in range(len(rounds), len(keeps) + 1):
        rewind(tickets)
        rounds.append(Round(tickets, *train(k, tickets)))
        if k < len(keeps):
            tickets = [prune(task, ticket, keeps[k]) for task, ticket in enumerate(tickets)]
        after_round(rounds, tickets)
    return rounds


class EarlyBird:
    """Ends a round as soon as the tickets it would draw have settled (You et al., ICLR 2020).

    Every `EVERY` steps the next tickets are drawn; the round ends when each of the last `MEMORY`
    drawings lacks less than `bound` of the newest one's connections.

    Args:
      bound: a share of the connections kept; see sparsity.moved.
      draw: the tickets that pruning now would give.
    """

    EVERY, MEMORY = 10, 3

    def __init__(self, bound: float, draw: Callable[[], Sequence[Ticket]]):
        self.bound, self.draw = bound, draw
        self.drawn: list[Sequence[Ticket]] = []

    def __call__(self, step: int) -> bool:
        """Whether the round may end after this step."""
        if step % self.EVERY:
            return False
        newest = self.draw()
        settled = len(self.drawn) == self.MEMORY and all(
            moved(older, newest) < self.bound for older in self.drawn
        )
        self.drawn = [*self.drawn, newest][-self.MEMORY :]
        return settled


class RoundEnd:
    """Counts a round's steps over its epochs and says when to stop.

    Without early bird never; with it, when the next tickets have settled. The last round draws
    none: it is as long as the longest before it, so that what they validate at can be compared.

    Args:
      recipe: says whether and how early.
      last: whether this is the last round.
      longest: steps of the longest round before.
      draw: the tickets that pruning now would give.
    """

    def __init__(
        self, recipe: Recipe, last: bool, longest: int, draw: Callable[[], Sequence[Ticket]]
    ):
        self.steps, self.ended = 0, False
        self.settled: Callable[[int], bool] = lambda step: False
        if recipe.early_bird and not last:
            self.settled = EarlyBird(recipe.early_bird, draw)
        elif recipe.early_bird and longest:
            self.settled = lambda step: step >= longest

    def __call__(self, taken: int) -> bool:
        self.steps += taken
        self.ended = self.settled(self.steps)
        return self.ended


def best_round(rounds: Sequence[Round], metric: str, tie: float = 0.0) -> int:
    """The sparsest round whose ticket validated within `tie` of the best.

    An AUC is best high, an `_mse` low. On a day of validation, paired AUC differences below about
    .002 are noise: they count as ties, and ties go to the sparser ticket.
    """
    sign = -1 if metric.endswith("_mse") else 1
    values = [sign * r.metrics[metric] for r in rounds]
    return max(k for k, value in enumerate(values) if value >= max(values) - tie)


def keep_schedule(recipe: Recipe) -> list[float]:
    """The share of connections kept after each round, down to `recipe.keep`.

    geometric   keep^(k / rounds): the same share of survivors goes each round (LT4REC: .2, 4
                rounds, so 66.9, 44.7, 29.9, 20 %)
    polynomial  tfmot's PolynomialDecay (Zhu and Gupta, 2017): steep at first, then gentle
    """
    n = recipe.rounds
    if recipe.pruning == "geometric":
        return [recipe.keep ** (k / n) for k in range(1, n + 1)]
    decay = tfmot.sparsity.keras.PolynomialDecay(0.0, 1 - recipe.keep, 0, n, frequency=1)
    return [1 - float(decay(k)[1]) for k in range(1, n + 1)]
