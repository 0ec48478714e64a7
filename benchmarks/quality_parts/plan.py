"""Which cells a benchmark needs: models x seeds, their searches, trials and the curve."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ncs4cvr.models.days.warm import SEARCH
from ncs4cvr.models.layers.network import parents
from ncs4cvr.schemas.recipe import Recipe
from quality_parts import sizes
from quality_parts.cells import Cell
from quality_parts.models import TOLERANCE, Model, all_models

TRIAL_SEED = 101  # no seed of the table
CURVE = (0.5, 0.8, 0.9, 0.95, 0.98)  # removed shares
CURVES = ("ncs4cvr", "random", "new_start", "soft", "soft_random")


@dataclass(frozen=True)
class Plan:
    """Makes cells for one data set.

    Attributes:
      recipe: the data set's.
      data: fingerprint of its examples.
      folder: of its cells.
      inputs: of the dense layers.
      chosen: model -> fields of the recipe (LightGBM: parameters) that tuning chose.
    """

    recipe: Recipe
    data: str
    folder: Path
    inputs: int
    chosen: Mapping[str, Mapping[str, Any]]

    @property
    def budget(self) -> int:
        """Dense parameters of ncs4cvr's base network, as the recipe has it."""
        base = self.recipe.replace(sharing="ncs4cvr", tower=(), control="")
        return sizes.dense_parameters(base, self.inputs)

    def fits(self, model: Model) -> str:
        """Why the recipe's tasks cannot be learned by a model; "" where they can."""
        if model.name == "esmm":
            try:
                parents(self.recipe.replace(sharing="esmm"), "product")
            except ValueError as error:
                return str(error)
        return ""

    def cell(self, model: Model, seed: int, settings: Mapping[str, Any] | None = None) -> Cell:
        """A model with one seed under given settings, or those that are chosen."""
        if settings is None:
            settings = self.settings(model)
        if model.name == "lightgbm":
            options = tuple(sorted(settings.items()))
            recipe = without_search(self.recipe.replace(seed=seed))
            return Cell("boost", model.name, recipe, self.data, self.folder, options)
        values = {"soft_labels": "off", **settings, **model.fixed, "seed": seed}
        recipe = self._base(model).replace(**values)
        search = None
        if recipe.sharing == "ncs4cvr":
            search = self._search(recipe)
        elif recipe.soft_labels == "rounds":
            search = self.cell(all_models(self.recipe)["ncs4cvr"], seed).search
        return Cell("train", model.name, recipe, self.data, self.folder, (), search)

    def settings(self, model: Model) -> dict[str, Any]:
        """What tuning chose for a model, else its defaults."""
        tuned = all_models(self.recipe)[model.settings_of or model.name]
        if tuned.name in self.chosen:
            values = dict(self.chosen[tuned.name])
            return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return self.trial(tuned, 0)

    def trial(self, model: Model, number: int) -> dict[str, Any]:
        """The settings of a trial: 0 is the default, others are drawn from the model's values."""
        rng = np.random.default_rng([number, zlib.crc32(model.name.encode())])
        drawn = {
            name: values[int(rng.integers(len(values))) if number else 0]
            for name, values in model.tried.items()
        }
        if model.name == "lightgbm":
            return drawn
        if not number:  # what the recipe itself says goes before the defaults
            drawn |= {n: getattr(self.recipe, n) for n in ("learning_rate", "dropout")}
            if model.fixed["sharing"] == "ncs4cvr":
                search = ("keep", "rounds", "warmup_steps", "prune_scope")
                drawn |= {n: getattr(self.recipe, n) for n in search}
        shape = drawn.pop("shape")
        own = model.fixed["sharing"] == "ncs4cvr" and "tower" not in drawn
        if not number and (own or len(shape) == len(self.recipe.hidden)):
            shape = self.recipe.hidden
        recipe = self._base(model).replace(**{**drawn, **model.fixed})
        hidden = sizes.scaled(recipe, shape, self.budget, self.inputs)
        got = sizes.dense_parameters(recipe.replace(hidden=hidden), self.inputs)
        if abs(got / self.budget - 1) > TOLERANCE:
            raise ValueError(
                f"{model.name} with shape {shape} and {drawn} comes to {got:,} dense parameters, "
                f"the budget is {self.budget:,} +- {TOLERANCE:.0%}: take these values out of "
                "what is tried, or give the recipe larger `hidden`"
            )
        return {**drawn, "hidden": hidden}

    def trials(self, model: Model, count: int) -> Iterator[Cell]:
        """The cells of a model's trials."""
        for number in range(count):
            yield self.cell(model, TRIAL_SEED, self.trial(model, number))

    def at_sparsity(self, removed: float, seed: int, model: Model) -> Cell:
        """ncs4cvr, or what takes its settings, under tickets of exactly this sparsity.

        All kept shares of a seed come from one schedule, as many rounds as it takes.
        """
        recipe = self.cell(model, seed).recipe
        # Every round removes what the recipe's rounds do, and any tie goes to the last.
        a_round = np.log(recipe.keep) / recipe.rounds
        rounds = max(1, round(np.log(1 - removed) / a_round))
        recipe = recipe.replace(keep=1 - removed, rounds=rounds, ticket_tie=1.0)
        name = f"{model.name}@{removed:.0%}"
        return Cell("train", name, recipe, self.data, self.folder, (), self._search(recipe))

    def _base(self, model: Model) -> Recipe:
        """The recipe of which a model's cells are made; a search is for those with tickets."""
        tickets = model.fixed["sharing"] == "ncs4cvr"
        return self.recipe if tickets else without_search(self.recipe)

    def _search(self, recipe: Recipe) -> Cell:
        """The search that a model takes tickets or soft labels of: all that it depends on."""
        recipe = recipe.replace(control="", max_epochs=1, patience=0, soft_labels="rounds")
        return Cell("search", "tickets", recipe, self.data, self.folder)


def without_search(recipe: Recipe) -> Recipe:
    """The recipe of a model without tickets: how a search would go is left at the defaults.

    So its results stay when a recipe's search changes.
    """
    defaults = {f.name: f.default for f in dataclasses.fields(Recipe) if f.name in SEARCH}
    return recipe.replace(**defaults)


def with_searches(cells: Sequence[Cell]) -> list[list[Cell]]:
    """Groups that can be made one after the other: searches first, each cell once."""
    unique = list({c.path: c for c in cells}.values())
    searches = list({c.search.path: c.search for c in unique if c.search}.values())
    return [group for group in (searches, unique) if group]


def read_chosen(path: Path, dataset: str) -> dict[str, dict[str, Any]]:
    """{model: settings} that an earlier tuning chose for a data set; {} without one."""
    if not path.exists():
        return {}
    every = json.loads(path.read_text(encoding="utf-8"))
    return {model: facts["settings"] for model, facts in every.get(dataset, {}).items()}


def choose(plan: Plan, models: Sequence[Model], count: int) -> dict[str, Any]:
    """The best trial of every model by the recipe's watched validation metric.

    Returns:
      {model: {"settings": ..., "validation": ..., "trial": ..., "trials": ...}}
    """
    chosen = {}
    for model in models:
        results = []
        for number, cell in enumerate(plan.trials(model, count)):
            result = cell.stored(any_code=True)
            if result is not None:
                results.append((result["watched"], -number))
        if results:
            value, number = max(results)
            chosen[model.name] = {
                "settings": plan.trial(model, -number),
                "validation": round(value, 5),
                "trial": -number,
                "trials": len(results),
            }
    return chosen
