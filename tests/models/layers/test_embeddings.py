"""One table for all vocabularies: who shares rows, and what padding is worth."""

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models.layers.embeddings import FieldEmbedding
from ncs4cvr.schemas.features import Feature

SIZES = {"user": 3, "video": 4, "genres": 5, "tab": 3}
FEATURES = (
    Feature("user"),
    Feature("video"),
    Feature("last_video", vocabulary="video"),
    Feature("tab", kind="index", bins=1),
    Feature("genres", kind="tags", dtype="string", length=3),
    Feature("price", kind="number", dtype="float"),
    Feature("history_video", kind="sequence", vocabulary="video", length=2),
)


@pytest.fixture
def layer():
    layer = FieldEmbedding(FEATURES, SIZES, dim=2)
    layer(_inputs())
    rows = tf.range(layer.rows, dtype=tf.float32)
    layer.table.assign(tf.stack([rows, 100 + rows], axis=1))  # row r is (r, 100 + r)
    return layer


def _inputs(**changes):
    inputs = {
        "user": [2],
        "video": [1],
        "last_video": [1],
        "tab": [0],
        "genres": [[1, 3, 0]],
        "history_video": [[1, 0]],
    }
    inputs = {k: tf.constant(v, tf.int64) for k, v in {**inputs, **changes}.items()}
    return {**inputs, "price": tf.constant([0.5])}


def test_the_table_holds_every_vocabulary_once(layer):
    assert layer.rows == sum(SIZES.values())
    assert layer.table.shape == (15, 2)


def test_vocabularies_lie_behind_each_other_so_that_equal_ids_differ(layer):
    out = layer(_inputs(user=[0], video=[0], tab=[0]))
    assert len({float(out[0, field, 0]) for field in (0, 1, 3)}) == 3


def test_every_id_has_a_row_of_its_own(layer):
    seen = set()
    for name, field in (("user", 0), ("video", 1), ("tab", 3)):
        for i in range(SIZES[name]):
            seen.add(float(layer(_inputs(**{name: [i]}))[0, field, 0]))
    assert len(seen) == 3 + 4 + 3


def test_features_of_one_vocabulary_share_rows(layer):
    out = layer(_inputs(video=[3], last_video=[3]))
    np.testing.assert_array_equal(out[0, 1], out[0, 2])
    vectors, _ = layer.sequence(FEATURES[-1], tf.constant([[3, 0]], tf.int64))
    np.testing.assert_array_equal(vectors[0, 0], out[0, 1])


def test_tags_are_the_mean_of_what_is_there(layer):
    one = [layer(_inputs(genres=[[i, 0, 0]]))[0, 4].numpy() for i in (1, 3)]
    both = layer(_inputs(genres=[[1, 3, 0]]))[0, 4]
    np.testing.assert_allclose(both, np.mean(one, axis=0))


def test_no_tags_are_zero(layer):
    assert layer(_inputs(genres=[[0, 0, 0]]))[0, 4].numpy().tolist() == [0, 0]


def test_padding_in_a_sequence_is_marked(layer):
    _, present = layer.sequence(FEATURES[-1], tf.constant([[2, 0]], tf.int64))
    assert present.numpy().tolist() == [[1, 0]]


def test_a_plain_number_scales_its_own_vector(layer):
    out = layer({**_inputs(), "price": tf.constant([3.0])})
    np.testing.assert_allclose(out[0, -1], 3 * layer.scales[0])


def test_there_is_one_field_a_feature_that_is_no_sequence(layer):
    assert layer(_inputs()).shape == (1, 6, 2)


def test_no_two_vectors_start_alike(layer):
    fresh = FieldEmbedding(FEATURES, SIZES, dim=2)
    fresh(_inputs())
    numbers = [*fresh.table.numpy().ravel(), *fresh.scales.numpy().ravel()]
    assert len(set(numbers)) == len(numbers)


def test_numbers_alone_make_a_model():
    features = (Feature("price", kind="number", dtype="float"), Feature("g", kind="number"))
    layer = FieldEmbedding(features, {}, dim=2)
    out = layer({"price": tf.constant([1.0]), "g": tf.constant([2.0])})
    assert out.shape == (1, 2, 2)
