"""Trained towers at several sparsities: tickets of a real search, weights of joint training.

The dense part alone is what the serving benchmark measures, so the recipe of a run is cut to as
many fields as give the wanted number of inputs, side by side; its examples stay the same.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ncs4cvr.models import sparsity
from ncs4cvr.models.layers import sharing
from ncs4cvr.models.learning import training
from ncs4cvr.models.packed.asset import Layer, Towers
from ncs4cvr.models.packed.layers import masked_layers
from ncs4cvr.models.pruning import lottery, starts
from ncs4cvr.models.pruning.tickets import Tickets
from ncs4cvr.schemas.recipe import Recipe
from quality_parts import cells
from quality_parts.data import Data

REMOVED = (0.5, 0.8, 0.9, 0.95, 0.98)
SEED = 1
BLOCK = 32  # outputs a decision, of tickets in blocks


@dataclass(frozen=True)
class Trained:
    """The towers of a joint model, and what validation says of it."""

    towers: Towers
    metrics: dict[str, float]


@dataclass(frozen=True)
class Size:
    """A network: fields x dim inputs and the layers above them."""

    name: str
    fields: int
    dim: int
    hidden: tuple[int, ...]

    @property
    def inputs(self) -> int:
        """Of the first layer."""
        return self.fields * self.dim


SIZES = (Size("A", 20, 32, (512, 256, 128)), Size("B", 25, 40, (1024, 512, 256)))


def trained(
    size: Size, recipe: Recipe, data: Data, kept: Path, block: int = 1
) -> dict[float, Trained]:
    """{removed share: joint model}, searched and trained at the first call, then kept.

    Kept are those of these examples, this recipe and this code.

    One search prunes to every sparsity of REMOVED in turn, an epoch a round; under the tickets of
    each a joint model is trained for one epoch from the search's start.

    Args:
      size: of the network.
      recipe, data: of the run whose examples are taken.
      kept: folder of what was trained.
      block: neighbouring outputs that are pruned together.
    """
    cut = _cut(size, recipe).replace(ticket_block=block)
    made = {}
    found = None
    of_training = _digest(cut, data)
    for removed in REMOVED:
        of = f"{size.name}-{round(100 * removed)}" + (f"-block{block}" if block > 1 else "")
        path = kept / f"{of}-{of_training}.npz"
        if not path.exists():
            found = found or _searched(cut, data)
            _save(path, _joint(cut, data, found, removed))
        made[removed] = _load(path)
    return made


def _cut(size: Size, recipe: Recipe) -> Recipe:
    """The recipe with as many fields of one id each as the size has, ids first."""
    single = [f for f in recipe.features if f.kind not in ("tags", "sequence")]
    if len(single) < size.fields:
        raise SystemExit(f"serving: {recipe.name} has {len(single)} fields, {size} needs more")
    names = {f.name for f in single}
    chosen = [f for f in single if f.vocabulary in names][: size.fields]
    return recipe.replace(
        features=tuple(chosen),
        sharing="ncs4cvr",
        interaction="concat",
        embedding_dim=size.dim,
        hidden=size.hidden,
        tower=(),
        seed=SEED,
    )


def _digest(recipe: Recipe, data: Data) -> str:
    """Of all that search and training depend on."""
    code = [cells.code_digest(), cells.meaning(Path(__file__))]
    facts = [data.fingerprint, cells.recipe_facts(recipe), *code]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _searched(recipe: Recipe, data: Data) -> dict[float, Tickets]:
    train, valid = data.batches(recipe.log.splits[0].name), data.batches(recipe.log.splits[1].name)
    keeps = [1 - removed for removed in REMOVED]
    rows = train.count()
    rounds, start, _ = lottery.search_rounds(recipe, data.sizes(recipe), train, valid, rows, keeps)
    names = [task.name for task in recipe.tasks]
    return {
        removed: Tickets(dict(zip(names, each.tickets, strict=True)), start, {})
        for removed, each in zip(REMOVED, rounds[1:], strict=True)
    }


def _joint(recipe: Recipe, data: Data, found: dict[float, Tickets], removed: float) -> Trained:
    train, valid = data.batches(recipe.log.splits[0].name), data.batches(recipe.log.splits[1].name)
    rows = train.count()
    model = starts.joint_model(recipe, data.sizes(recipe), train, rows, found[removed])
    batches = train.epoch(0, recipe.batch_size, recipe.seed)
    training.train_epoch(model, batches, rows, f"joint training, {removed:.0%} removed")
    for task in range(len(recipe.tasks)):
        density = sparsity.density(sharing.get_ticket(model.sharing.connections(task)))
        if abs(density - (1 - removed)) > 1e-3:
            raise RuntimeError(f"a ticket of {1 - removed:.0%} keeps {density:.2%}")
    towers = masked_layers(model, ([], list(range(len(model.trunks[0].fields)))))
    return Trained(towers, training.validate(model, valid))


def _save(path: Path, made: Trained) -> None:
    """Kernels and biases of the first task, which all share, and every task's masks."""
    towers = made.towers
    arrays = {"layers": np.array([len(towers), len(towers[0])])}
    arrays |= {f"metric_{name}": np.array(value) for name, value in made.metrics.items()}
    for number, layer in enumerate(towers[0]):
        arrays[f"kernel_{number}"], arrays[f"bias_{number}"] = layer.kernel, layer.bias
        for task, tower in enumerate(towers):
            arrays[f"mask_{task}_{number}"] = tower[number].mask
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    with new.open("wb") as out:
        np.savez_compressed(out, **arrays)
    new.replace(path)


def _load(path: Path) -> Trained:
    with np.load(path, allow_pickle=False) as file:
        a = {name: file[name] for name in file.files}
    tasks, layers = a["layers"]
    towers = [
        [Layer(a[f"kernel_{n}"], a[f"mask_{t}_{n}"], a[f"bias_{n}"]) for n in range(layers)]
        for t in range(tasks)
    ]
    metrics = {n.removeprefix("metric_"): float(v) for n, v in a.items() if n.startswith("metric_")}
    return Trained(towers, metrics)
