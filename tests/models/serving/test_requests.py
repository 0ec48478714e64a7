"""What a server may ask beyond the signatures, and what the check before a push asks."""

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.components import serving_check
from ncs4cvr.components.serving_replay import Model, feed_columns, feed_request
from ncs4cvr.models.pruning import starts
from ncs4cvr.models.serving import export as exporting
from ncs4cvr.models.serving import recording
from ncs4cvr.schemas.log import MISSING

#: Columns of tiny_world that a ranking request has once, the history left out.
ONCE = ("age", "time_ms", "spent")


@pytest.fixture(scope="module")
def model(trained):
    return Model(trained.saved, MISSING)


@pytest.fixture(scope="module")
def rows(world, encode):
    return tuple(encode(row) for row in world.valid_rows[:20])


@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize("column", ONCE)
def test_a_ranking_request_of_none_or_several_users_is_refused(model, rows, column, count):
    """Servers compare types with a signature, but not shapes."""
    asked = {**feed_request(model, rows), column: feed_columns(model, rows)[column][:count]}
    asked = {name: tf.constant(values) for name, values in asked.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"\[{count}\].*\[1\]"):
        model.ask("rank", asked)


@pytest.mark.parametrize("count", [0, 1, 21])
@pytest.mark.parametrize("column", ["history_video", "history_action", "age", "video"])
def test_columns_of_different_length_are_refused(model, rows, column, count):
    """One row must not stand for all, as products and sums would have it."""
    asked = dict(feed_columns(model, rows))
    asked[column] = np.resize(asked[column], (count, *asked[column].shape[1:]))
    asked = {name: tf.constant(values) for name, values in asked.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match="as many rows in every column"):
        model.ask("predict", asked)


@pytest.mark.parametrize("once", [1, 0])
def test_one_request_does_not_stand_for_the_rows_of_predict(model, rows, once):
    request = set(ONCE) | {"history_video", "history_action"}
    asked = {
        name: tf.constant(values[:once] if name in request else values)
        for name, values in feed_columns(model, rows).items()
    }
    with pytest.raises(tf.errors.InvalidArgumentError, match="as many rows in every column"):
        model.ask("predict", asked)


def test_candidates_of_different_length_are_refused(model, rows):
    asked = dict(feed_request(model, rows))
    asked["video"] = asked["video"][:1]
    asked = {name: tf.constant(values) for name, values in asked.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match="as many rows in every column"):
        model.ask("rank", asked)


@pytest.mark.slow
def test_bf16_passes_the_check_before_a_push(world, trained, encode, tmp_path):
    """A request's share of the first layer is rounded by itself, which `predict` does not do."""
    changed = trained.model.recipe.replace(weights="bf16", compute="dense")
    model = starts.build(changed, world.sizes, next(iter(world.valid.in_order())))
    for mine, theirs in zip(model.weights, trained.model.weights, strict=True):
        mine.assign(theirs)
    exporting.export(model, world.graph, f"{tmp_path}/model")
    examples = [encode(row) for row in world.valid_rows]
    recording.record(model, world.graph, examples, f"{tmp_path}/recorded.npz")
    measured = serving_check.replayed(
        f"{tmp_path}/model", f"{tmp_path}/recorded.npz", str(tmp_path), exact=False
    )
    bounds = dict.fromkeys(("max_p99_ms", "max_load_s", "max_model_mb", "max_serving_mb"), 0)
    bounds["serving_auc_tolerance"] = 0.01  # 150 rows
    report = serving_check.judged({**measured, "bf16": True}, bounds)
    assert report["failures"] == []
    apart = [call["difference"] for call in measured["calls"] if call["signature"] == "rank"]
    assert max(apart) > serving_check.EXACT
