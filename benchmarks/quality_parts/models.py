"""The models of the benchmark, and which settings each may try.

All sizes come from one budget: the dense parameters of ncs4cvr's base network in the recipe. A
shape says how the layers relate ((4, 2, 1): each half the one below); its widths are scaled until
the model's dense parameters meet the budget. Own towers and numbers of experts are given as such.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ncs4cvr.schemas.recipe import Recipe

TOLERANCE = 0.1  # of the budget

SHAPES = ((4, 2, 1), (2, 1), (2, 2, 1), (4, 1), (8, 4, 2, 1))
TRAINING = {"learning_rate": (5e-4, 1e-3, 2e-3), "dropout": (0.0, 0.1, 0.2, 0.3)}
TOWERS = ((), (32,), (64,), (64, 32))


@dataclass(frozen=True)
class Model:
    """A row of the table.

    Attributes:
      name: as it stands in the tables.
      fixed: fields of the recipe that make it this model.
      tried: field -> the values that a trial draws from; the first is the default. `shape` stands
        for `hidden`. For LightGBM: its parameters.
      settings_of: the model whose chosen settings it takes; it is not tuned itself.
      says: what it is, for the page.
    """

    name: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    tried: Mapping[str, tuple] = field(default_factory=dict)
    settings_of: str = ""
    says: str = ""


def _tried(**more: tuple) -> dict[str, tuple]:
    return {"shape": SHAPES, **TRAINING, **more}


# Of the ticket search only the sparsity: rounds, scope and warm-up stay as the recipe has them.
SEARCH = {"keep": (0.2, 0.1, 0.05, 0.02)}

MODELS = (
    Model(
        "ncs4cvr",
        {"sharing": "ncs4cvr"},
        _tried(**SEARCH),
        says="one network, a ticket a task (LT4REC, arXiv 2008.09872)",
    ),
    Model(
        "single_task",
        {"sharing": "single_task"},
        _tried(),
        says="a network and embeddings a task",
    ),
    Model(
        "shared_bottom",
        {"sharing": "shared_bottom"},
        _tried(tower=TOWERS),
        says="one network for all, a tower a task where that validates best",
    ),
    Model(
        "cross_stitch",
        {"sharing": "cross_stitch"},
        _tried(),
        says="a network a task, activations mixed after each layer (CVPR 2016)",
    ),
    Model(
        "esmm",
        {"sharing": "esmm"},
        _tried(),
        says="a tower a task, conversions learned over all impressions (SIGIR 2018)",
    ),
    Model(
        "mmoe",
        {"sharing": "mmoe"},
        _tried(experts=(4, 2, 8), tower=TOWERS),
        says="experts mixed by a gate a task (KDD 2018)",
    ),
    Model(
        "ple",
        {"sharing": "ple"},
        _tried(experts=(2, 1), tower=TOWERS) | {"shape": ((2, 1), (1,), (4, 2, 1), (1, 1))},
        says="own and common experts in levels (RecSys 2020)",
    ),
    Model(
        "aitm",
        {"sharing": "aitm"},
        _tried(),
        says="each task attends to the one before it (KDD 2021)",
    ),
    Model(
        "snr",
        {"sharing": "snr"},
        _tried(experts=(4, 2), tower=TOWERS, snr_penalty=(1e-5, 1e-4, 1e-3)),
        says="sub-networks, learned connections between them (AAAI 2019)",
    ),
    Model(
        "lightgbm",
        tried={
            "learning_rate": (0.05, 0.03, 0.1),
            "num_leaves": (31, 15, 63),
            "min_child_samples": (50, 20, 100, 200),
            "colsample_bytree": (0.6, 0.4, 0.8, 1.0),
            "subsample": (0.8, 0.6, 1.0),
            "reg_lambda": (1.0, 0.0, 10.0),
            "cat_smooth": (10.0, 50.0, 200.0),
            "min_data_per_group": (100, 300),
            "max_ids": (1000, 10**9),  # ids of more values are left out
        },
        says="gradient boosting, one model a task",
    ),
)

HYBRID = Model(
    "hybrid",
    {"sharing": "ncs4cvr"},
    _tried(**SEARCH, tower=((32,), (64,), (64, 32))),
    says="ncs4cvr below a small tower a task",
)


def _control(name: str, control: str, says: str) -> Model:
    return Model(name, {"sharing": "ncs4cvr", "control": control}, {}, "ncs4cvr", says)


def _search(name: str, early_bird: float, says: str) -> Model:
    return Model(name, {"sharing": "ncs4cvr", "early_bird": early_bird}, {}, "ncs4cvr", says)


def variants(recipe: Recipe) -> tuple[Model, ...]:
    """The controls of ncs4cvr and its hybrid."""
    return (
        HYBRID,
        _control("random", "random", "as many connections in every layer, drawn at random"),
        _control("new_start", "new_start", "the found tickets on another initialisation"),
        _control("union", "union", "one ticket for all tasks: what any of them found"),
        *(
            _control(f"only_{t.name}", f"only_{t.name}", f"one ticket for all tasks: {t.name}'s")
            for t in recipe.tasks
        ),
    )


SOFT = "soft"


def _soft(name: str, settings_of: str, fixed: Mapping[str, Any], says: str) -> Model:
    return Model(name, {**fixed, "soft_labels": "rounds"}, {}, settings_of, says)


#: What learns the soft labels of ncs4cvr's search: it, a control, and a model without tickets.
TAUGHT = (
    _soft(SOFT, "ncs4cvr", {"sharing": "ncs4cvr"}, "ncs4cvr with soft_labels=rounds"),
    _soft(
        "soft_random",
        "ncs4cvr",
        {"sharing": "ncs4cvr", "control": "random"},
        "random with soft_labels=rounds",
    ),
    _soft(
        "soft_mmoe", "mmoe", {"sharing": "mmoe"}, "mmoe with the soft labels of ncs4cvr's search"
    ),
)

EARLY_BIRD = 0.1  # where the recipe has none


def searches(recipe: Recipe) -> tuple[Model, ...]:
    """ncs4cvr under either way to search: what does the search cost, and what is it worth?"""
    bound = recipe.early_bird or EARLY_BIRD
    return (
        _search("full_search", 0.0, "every round of the search to its end"),
        _search("early_bird", bound, "rounds of the search end when their tickets settle"),
    )


def all_models(recipe: Recipe) -> dict[str, Model]:
    """Every model by its name."""
    return {m.name: m for m in (*MODELS, *variants(recipe), *TAUGHT, *searches(recipe))}
