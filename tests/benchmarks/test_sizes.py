"""Parameters and FLOPs against arithmetic."""

import numpy as np
import pytest

from ncs4cvr.models.layers.sharing import set_ticket
from ncs4cvr.models.learning.ranker import compiled
from ncs4cvr.pipeline.recipes.kuairand import RECIPE
from ncs4cvr.schemas.features import Feature

D, H1, H2 = 4, 6, 3
INPUTS = 2 * D  # two fields side by side


def small(sharing: str):
    """A ranker of two category features, and a batch."""
    features = (Feature("user_id"), Feature("video_id"))
    recipe = RECIPE.replace(
        features=features, sharing=sharing, interaction="concat", embedding_dim=D, hidden=(H1, H2)
    )
    model = compiled(recipe, {"user_id": 5, "video_id": 7})
    batch = {name: np.zeros(3, np.int64) for name in ("user_id", "video_id")}
    model(batch)
    return model, batch


@pytest.mark.parametrize(("sharing", "networks"), [("shared_bottom", 1), ("ncs4cvr", 2)])
def test_flops_are_two_for_every_connection_of_every_pass(sharing, networks):
    from quality_parts import sizes

    model, batch = small(sharing)
    hidden, heads = INPUTS * H1 + H1 * H2, 2 * H2
    assert sizes.flops(model, batch) == 2 * (networks * hidden + heads)


def test_parameters_are_embeddings_and_dense_layers():
    from quality_parts import sizes

    model, _ = small("ncs4cvr")
    dense = INPUTS * H1 + H1 + H1 * H2 + H2 + 2 * (H2 + 1)
    assert sizes.parts(model) == {"embedding": (5 + 7) * D, "dense": dense}


def test_live_connections_are_those_that_any_ticket_keeps():
    from quality_parts import sizes

    model, _ = small("ncs4cvr")
    shapes = [(INPUTS, H1), (H1, H2)]
    ones, twos = ([np.zeros(s, bool) for s in shapes] for _ in range(2))
    ones[0][0, :3] = True  # three, of which one is common
    twos[0][0, 2:5] = True
    for task, ticket in enumerate((ones, twos)):
        set_ticket(model.sharing.connections(task), ticket)
    every = 2 * (INPUTS * H1 + H1 * H2)
    assert sizes.live(model) == {"union": 5, "kept": 6, "all": every}
