"""What the tickets keep, together and each alone, and how the search came to them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ncs4cvr.pipeline.run.run_record import Step


def facts(steps: Mapping[str, Step]) -> dict[str, Any] | None:
    """The tickets of this run, None where there are none.

    `tasks`; `source`, the component that they came from; `layers` and `total`, see `shares`;
    `rounds`: of every task the share `kept` and the validation `metric` and `value`; `chosen`: task
    -> its round.
    """
    source = next((n for n in ("TicketSearch", "ImportTickets") if n in steps), None)
    if source is None:
        return None
    # By name: the pipeline itself imports no model code.
    tickets = importlib.import_module("ncs4cvr.models.pruning.tickets")
    found = tickets.Tickets.load(steps[source].outputs["tickets"][0].uri)
    told = found.facts
    layers = [
        {"shape": shape, **shares({task: masks[i] for task, masks in found.tickets.items()})}
        for i, shape in enumerate(told["shapes"])
    ]
    whole = {
        task: np.concatenate([mask.ravel() for mask in masks])
        for task, masks in found.tickets.items()
    }
    return {
        "source": source,
        "tasks": told["tasks"],
        "layers": layers,
        "total": shares(whole),
        "rounds": [_round(told["tasks"], one) for one in told["rounds"]],
        "chosen": told["chosen"],
    }


def shares(masks: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """How many connections some masks of one shape keep, as shares of all.

    connections; `kept` by each task; `alone`: by this task and no other; `several`: by more than
    one; `all`: by every task; `overlap` = all / kept by any (1 where nothing is kept).

    >>> found = shares({"ctr": np.array([1, 1, 0, 0]), "cvr": np.array([1, 0, 1, 0])})
    >>> found["kept"]["ctr"], found["alone"]["cvr"], found["several"], round(found["overlap"], 2)
    (0.5, 0.25, 0.25, 0.33)
    """
    stacked = np.stack([np.ravel(mask) for mask in masks.values()]).astype(bool)
    tasks_of = stacked.sum(axis=0)
    union = np.count_nonzero(tasks_of)
    everywhere = np.count_nonzero(tasks_of == len(stacked))
    return {
        "connections": stacked.shape[1],
        "kept": dict(zip(masks, stacked.mean(axis=1).tolist(), strict=True)),
        "alone": dict(zip(masks, (stacked & (tasks_of == 1)).mean(axis=1).tolist(), strict=True)),
        "several": float(np.mean(tasks_of > 1)),
        "all": everywhere / stacked.shape[1],
        "overlap": everywhere / union if union else 1.0,
    }


def _round(tasks: Sequence[str], one: Mapping[str, Any]) -> dict[str, Any]:
    told = {}
    for task in tasks:
        metric = next(name for name in one["metrics"] if name.rsplit("_", 1)[0] == task)
        told[task] = {"kept": one["kept"][task], "metric": metric, "value": one["metrics"][metric]}
    return told
