"""A trained ranker comes back from disk, whatever is changed about its export."""

import numpy as np
import pytest

from ncs4cvr.models.days import trained
from ncs4cvr.models.pruning import starts


@pytest.fixture
def examples(world, encode):
    return [encode(row) for row in world.valid_rows[:3]]


def test_it_comes_back_with_its_masks(world, recipe, trained_ranker, examples, tmp_path):
    trained.save(trained_ranker, "somewhere/Transform/transform_graph/7", str(tmp_path))
    changed = trained.recipe_of(str(tmp_path)).replace(embeddings="int8")
    again = trained.load(str(tmp_path), changed, world.graph, examples)
    assert again.recipe.embeddings == "int8"
    assert len(again.weights) == len(trained_ranker.weights)
    for mine, theirs in zip(again.weights, trained_ranker.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert trained.transform_graph_of(str(tmp_path)) == "Transform/transform_graph/7"


def test_weights_of_another_model_are_refused(world, trained_ranker, examples, tmp_path):
    trained.save(trained_ranker, "Transform/transform_graph/7", str(tmp_path))
    other = trained_ranker.recipe.replace(hidden=(9, 4))
    with pytest.raises(ValueError, match=r"holds weights of shapes .*, expected .* run` again"):
        trained.load(str(tmp_path), other, world.graph, examples)


@pytest.mark.parametrize("graph", ["../../etc/7", "/etc/x/7", "Transform/transform_graph/7/.."])
def test_a_transform_graph_outside_the_run_is_refused(tmp_path, graph):
    (tmp_path / trained.GRAPH).write_text(graph)
    with pytest.raises(ValueError, match="expected <component>/<output>/<number>"):
        trained.transform_graph_of(str(tmp_path))


@pytest.fixture
def trained_ranker(world, recipe):
    model = starts.build(recipe, world.sizes, next(iter(world.valid.in_order())))
    model.sharing.connections(0)[0][1].assign(np.eye(*model.sharing.mlp.kernels[0].shape))
    return model
