"""Rows of an embedding table follow what they stand for."""

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models.layers import keys
from ncs4cvr.models.layers.embeddings import FieldEmbedding
from ncs4cvr.schemas.features import Feature

FEATURES = (
    Feature("user", hash_buckets=2),
    Feature("tab", kind="index", bins=2),
    Feature("age", "user", "number", bins=3),
    Feature("video", hash_buckets=1),
    Feature("history_video", "history", "sequence", vocabulary="video"),
)
SIZES = {"tab": 4, "age": 4}  # what has no words: 0 for missing, values and others, or bins


def table(users, videos):
    """A table of one number a row, and the names of its rows."""
    sizes = {"user": 3 + len(users), "video": 2 + len(videos), **SIZES}
    rows = {
        "user": ["", *users, "#0", "#1"],
        "tab": ["", "0", "1", "other"],
        "age": ["", "low", "middle", "high"],
        "video": ["", *videos, "#0"],
    }
    embedding = FieldEmbedding(FEATURES, sizes, 1)
    names = [f"{name}:{key}" for name in embedding.starts for key in rows[name]]
    assert len(names) == embedding.rows
    words = {"user": [u.encode() for u in users], "video": [v.encode() for v in videos]}
    return embedding, names, words


def moved(old, new):
    """{row of the new table: row of the old one whose value it has; None where it is fresh}."""
    (_, before, old_words), (embedding, now, new_words) = table(*old), table(*new)
    moves = keys.moves(embedding, old_words, new_words)
    values = np.arange(len(before))[:, None]
    rows = tf.Variable(np.full((len(now), 1), -1))
    moves.carry(values, rows)
    came = rows.numpy()[:, 0]
    return {name: before[k] if k >= 0 else None for name, k in zip(now, came)}, moves


def test_every_row_that_has_a_past_goes_to_its_own_key():
    found, _ = moved((["ann", "bob", "eve"], ["x"]), (["eve", "tom", "ann"], ["y", "x"]))
    assert {name for name, came in found.items() if came is None} == {"user:tom", "video:y"}
    assert all(came == name for name, came in found.items() if came is not None)


def test_a_model_without_ids_has_nothing_to_move():
    embedding = FieldEmbedding((Feature("price", "video", "number", "float"),), {}, 1)
    moves = keys.moves(embedding, {}, {})
    assert (len(moves.source), len(moves.target), moves.kept, moves.new) == (0, 0, 0, 0)


@pytest.mark.parametrize("buckets", [1, 3])
def test_a_table_of_other_features_is_refused(buckets):
    """Two buckets for user then, one or three now: 1 + 2 + 2 + 4 + 4 + 1 + 1 + 1 rows then."""
    _, before, old_words = table(["ann", "bob"], ["x"])
    features = (Feature("user", hash_buckets=buckets), *FEATURES[1:])
    sizes = {"user": 1 + 2 + buckets, "video": 3, **SIZES}
    embedding = FieldEmbedding(features, sizes, 1)
    moves = keys.moves(embedding, old_words, old_words)
    rows = tf.Variable(np.zeros((embedding.rows, 1)))
    with pytest.raises(ValueError, match=f"has 16 rows, .* make {14 + buckets}: .*hash_buckets"):
        moves.carry(np.ones((len(before), 1)), rows)
    assert not rows.numpy().any()


def test_kept_and_new_words_are_counted():
    _, moves = moved((["ann", "bob", "eve"], ["x"]), (["eve", "tom", "ann"], ["y", "x"]))
    assert (moves.kept, moves.new) == (3, 2)


def test_a_vocabulary_may_begin_or_end_empty():
    found, _ = moved(([], ["x"]), (["ann"], []))
    assert [name for name, came in found.items() if came is None] == ["user:ann"]


@pytest.mark.parametrize("words", [{}, {"tag": []}, {"tag": [b"a", "ö".encode()], "city": [b"x"]}])
def test_words_come_back_from_their_arrays(words):
    assert keys.unpacked(keys.packed(words)) == words
