"""The tickets of all tasks on disk: packed masks, the common start, and how they were found."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from ncs4cvr.models import sparsity
from ncs4cvr.models.layers import keys
from ncs4cvr.models.learning import npz
from ncs4cvr.models.pruning.search import Round
from ncs4cvr.models.sparsity import Ticket
from ncs4cvr.schemas.checks import from_plain
from ncs4cvr.schemas.recipe import Recipe

ARRAYS, FACTS = "tickets.npz", "tickets.json"
MODEL = "model"  # among the facts that tickets were made from: the search's recipe


@dataclass(frozen=True)
class Tickets:
    """What a search found.

    Attributes:
      tickets: task -> one boolean mask per layer.
      start: the weights theta_w that every round was rewound to, in the ranker's order.
      facts: the JSON beside them: metric of every round, chosen rounds, sparsity, overlap, origin.
      first: task -> what pruning to the ticket's density at once gave, after the first round.
      words: of the vocabularies that `start` has its embedding rows for; see models/layers/keys.py.
    """

    tickets: Mapping[str, Ticket]
    start: Sequence[np.ndarray]
    facts: Mapping[str, Any]
    first: Mapping[str, Ticket] = field(default_factory=dict)
    words: keys.Words = field(default_factory=dict)

    @property
    def searched_by(self) -> Recipe | None:
        """The search's recipe; None where the tickets are older than this note of it."""
        noted = self.facts.get("made_from", {}).get(MODEL)
        return from_plain(Recipe, noted) if noted else None

    def save(self, folder: str) -> None:
        """Writes `tickets.npz` (bits, not bytes) and `tickets.json`; a bucket will do."""
        arrays = {}
        for kind, tickets in (("mask", self.tickets), ("first", self.first)):
            for task, ticket in tickets.items():
                for layer, mask in enumerate(ticket):
                    arrays[f"{kind}_{task}_{layer}"] = np.packbits(mask)
        arrays |= keys.packed(self.words)
        start = ((f"start_{i:03d}", value) for i, value in enumerate(self.start))
        tf.io.gfile.makedirs(folder)
        npz.write(f"{folder}/{ARRAYS}", itertools.chain(start, arrays.items()), compressed=True)
        with tf.io.gfile.GFile(f"{folder}/{FACTS}", "w") as out:
            out.write(json.dumps(self.facts, indent=1))

    @staticmethod
    def load(folder: str) -> Tickets:
        """Reads what `save` wrote; `start` only when it is asked for, as it holds the embeddings.

        Raises:
          ValueError: the folder holds no tickets, or broken ones.
        """
        if not all(tf.io.gfile.exists(f"{folder}/{name}") for name in (FACTS, ARRAYS)):
            raise ValueError(
                f"{folder} holds no tickets ({FACTS} and {ARRAYS}); name the folder of a "
                "TicketSearch output"
            )
        try:
            with tf.io.gfile.GFile(f"{folder}/{FACTS}") as text:
                facts = json.loads(text.read())
            stored = npz.Stored(f"{folder}/{ARRAYS}")
            stored.check()
            tickets, first = (
                {
                    task: _masks(stored, f"{kind}_{task}", facts["shapes"])
                    for task in facts["tasks"]
                    if f"{kind}_{task}_0" in stored.names or kind == "mask"
                }
                for kind in ("mask", "first")
            )
            words = keys.unpacked(dict(npz.Stored(stored.path, keys.PREFIX).items()))
            start = npz.Stored(stored.path, "start_")
        except Exception as error:
            raise ValueError(
                f"the tickets in {folder} are broken: {error}; search again"
            ) from error
        return Tickets(tickets, start, facts, first, words)


def _masks(stored: npz.Stored, name: str, shapes: Sequence[Sequence[int]]) -> Ticket:
    return [
        np.unpackbits(stored.array(f"{name}_{layer}"), count=int(np.prod(shape)))
        .reshape(shape)
        .astype(bool)
        for layer, shape in enumerate(shapes)
    ]


def describe(
    tasks: Sequence[str],
    rounds: Sequence[Round],
    chosen: Sequence[int],
    made_from: Mapping[str, Any],
) -> dict[str, Any]:
    """The facts of a search: every round's metric and density, what was chosen, overlap."""
    final = [rounds[k].tickets[t] for t, k in enumerate(chosen)]
    return {
        "tasks": list(tasks),
        "shapes": [list(mask.shape) for mask in final[0]],
        "rounds": [
            {
                "metrics": dict(r.metrics),
                "steps": r.steps,
                "kept": {n: sparsity.density(t) for n, t in zip(tasks, r.tickets, strict=True)},
            }
            for r in rounds
        ],
        "chosen": dict(zip(tasks, chosen, strict=True)),
        "kept": {
            name: {
                "total": sparsity.density(ticket),
                "layers": [float(mask.mean()) for mask in ticket],
            }
            for name, ticket in zip(tasks, final, strict=True)
        },
        "overlap": sparsity.overlap(final),
        "overlap_layers": [sparsity.overlap([[m] for m in masks]) for masks in zip(*final)],
        "made_from": dict(made_from),
    }


def show(folder: str, png: str | None = None) -> str:
    """The tickets as text; draws them too if a PNG file is named."""
    facts = Tickets.load(folder).facts
    tasks = facts["tasks"]
    lines = [f"tickets in {folder}", "", "round  " + "  ".join(f"{t:>16}" for t in tasks)]
    for k, r in enumerate(facts["rounds"]):
        cells = []
        for t in tasks:
            metric = next(v for m, v in r["metrics"].items() if m.rsplit("_", 1)[0] == t)
            mark = "*" if facts["chosen"][t] == k else " "
            cells.append(f"{r['kept'][t]:>7.1%} {metric:.4f}{mark}")
        lines.append(f"{k:>5}  " + "  ".join(f"{c:>16}" for c in cells))
    header = "layer   shape         " + "  ".join(f"{t:>8}" for t in tasks) + "   overlap"
    lines += ["       (share kept, validation metric; * chosen)", "", header]
    for i, shape in enumerate(facts["shapes"]):
        kept = "  ".join(f"{facts['kept'][t]['layers'][i]:>8.1%}" for t in tasks)
        name = "x".join(map(str, shape))
        lines.append(f"{i:>5}   {name:<14}{kept}   {facts['overlap_layers'][i]:.3f}")
    total = "  ".join(f"{facts['kept'][t]['total']:>8.1%}" for t in tasks)
    lines.append(f"  all   {'':<14}{total}   {facts['overlap']:.3f}")
    if png:
        _draw(facts, png)
        lines += ["", f"drawn in {png}"]
    return "\n".join(lines)


def _draw(facts: Mapping[str, Any], png: str) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    tasks, rounds = facts["tasks"], facts["rounds"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for task in tasks:
        metric = next(m for m in rounds[0]["metrics"] if m.rsplit("_", 1)[0] == task)
        removed = [100 * (1 - r["kept"][task]) for r in rounds]
        value = [r["metrics"][metric] for r in rounds]
        (line,) = left.plot(removed, value, marker="o", label=metric)
        k = facts["chosen"][task]
        left.plot(removed[k], value[k], "*", markersize=16, color=line.get_color())
    left.set(xlabel="connections removed, %", ylabel="validation", title="Rounds (star: chosen)")
    left.legend()
    width = 0.8 / (len(tasks) + 1)
    for i, (name, values) in enumerate(
        [*((t, facts["kept"][t]["layers"]) for t in tasks), ("overlap", facts["overlap_layers"])]
    ):
        right.bar([x + i * width for x in range(len(values))], values, width, label=name)
    right.set(title="Kept share and overlap by layer", xlabel="layer", ylim=(0, 1))
    right.set_xticks(range(len(facts["shapes"])))
    right.legend()
    figure.savefig(png, dpi=120)
    plt.close(figure)
