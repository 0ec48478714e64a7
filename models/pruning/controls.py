"""Controls: what a ticket must beat before anyone believes it.

random       as many connections in every layer, drawn at random
new_start    the found masks on another initialisation, warmed up alike (Frankle and Carbin, 2019)
union        one common ticket for all tasks: every connection that any of them found
only_<task>  one common ticket for all tasks: the one of this task
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ncs4cvr.models import sparsity
from ncs4cvr.models.pruning.tickets import Tickets

OTHER_SEED = 7919  # added to a seed where a control needs another one


def controlled(found: Tickets, control: str, seed: int, start: Sequence[Any]) -> Tickets:
    """The tickets that a control trains with instead of those found.

    Args:
      found: what the search found.
      control: see above; "" changes nothing.
      seed: of random tickets.
      start: the weights that `new_start` begins with, of today's vocabularies.

    Raises:
      ValueError: `only_<task>` names a task without a ticket.
    """
    tickets = dict(found.tickets)
    if control == "random":
        rng = np.random.default_rng(seed + OTHER_SEED)
        tickets = {task: sparsity.random_ticket(ticket, rng) for task, ticket in tickets.items()}
    elif control == "union":
        union = [np.any(masks, axis=0) for masks in zip(*tickets.values(), strict=True)]
        tickets = dict.fromkeys(tickets, union)
    elif control.startswith("only_"):
        task = control.removeprefix("only_")
        if task not in tickets:
            raise ValueError(f"control {control!r}: the tickets are for tasks {sorted(tickets)}")
        tickets = dict.fromkeys(tickets, tickets[task])
    elif control == "new_start":
        found = dataclasses.replace(found, start=start, words={})
    return dataclasses.replace(found, tickets=tickets)
