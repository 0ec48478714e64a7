"""Raw columns become ids and scaled numbers as the feature rows say."""

from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from ncs4cvr.models.learning.batches import Batches
from ncs4cvr.models.preprocessing import vocabularies, vocabulary_sizes
from ncs4cvr.schemas.features import Feature
from tiny_world import transform_graph

ROW = {"tab": [0]}  # the one column that may not be missing


@pytest.fixture(scope="module")
def transformed(world, encode):
    """Rows -> {feature: array}, through the analysed Transform."""
    layer = world.graph.transform_features_layer()
    spec = world.graph.raw_feature_spec()
    signature = [tf.TensorSpec([None], tf.string)]

    @tf.function(input_signature=signature, autograph=False)
    def traced(examples):
        return layer(tf.io.parse_example(examples, spec))

    def transform(rows):
        examples = [encode({**ROW, **row}) for row in rows]
        return {k: v.numpy() for k, v in traced(tf.constant(examples)).items()}

    return transform


def _counts(world, column):
    return Counter(value for row in world.rows for value in row[column])


def _known(world, column, min_count):
    return [v for v, n in _counts(world, column).items() if n >= min_count]


def test_values_seen_often_enough_get_ids_by_falling_frequency(world, transformed):
    counts = _counts(world, "video")
    known = _known(world, "video", min_count=4)
    assert 0 < len(known) < len(counts), "the data must have rare and frequent videos"
    ids = transformed([{"video": [v]} for v in known])["video"]
    assert sorted(ids) == list(range(1, len(known) + 1))
    by_id = [counts[v] for _, v in sorted(zip(ids, known, strict=True))]
    assert by_id == sorted(by_id, reverse=True)


def test_rare_and_unseen_values_fall_into_the_hash_buckets(world, transformed):
    known = len(_known(world, "video", min_count=4))
    rare = [v for v, n in _counts(world, "video").items() if n < 4]
    ids = transformed([{"video": [v]} for v in [*rare, *range(1000, 1100)]])["video"]
    assert set(ids) == {known + 1, known + 2, known + 3}
    assert world.sizes["video"] == 1 + known + 3


def test_a_missing_value_is_id_zero(transformed):
    row = transformed([{}])
    for name in ("user", "video", "age", "spent", "hour", "weekday"):
        assert row[name].tolist() == [0], name
    for name in ("genres", "history_video", "history_action"):
        assert row[name].tolist() == [[0, 0, 0]], name


PRICES = ({}, {"bins": 4}, {"bins": 4, "zero_apart": True}, {"log": True})


@pytest.fixture(scope="module")
def priced(world, recipe, tmp_path_factory):
    """Lists of prices -> what becomes of them in every way; some rows that it saw hold none."""
    features = [
        Feature(f"price_{n}", "video", "number", "float", column="price", **how)
        for n, how in enumerate(PRICES)
    ]
    rows = [dict(row) for row in world.rows]
    for row, none in zip(rows, [np.nan, np.inf, -np.inf, np.nan], strict=False):
        row["price"] = [none]
    folder = tmp_path_factory.mktemp("priced")
    changed = recipe.replace(features=tuple(features), slices=())
    layer = transform_graph(rows, folder, changed).transform_features_layer()

    def transform(prices):
        column = tf.ragged.constant(prices, tf.float32, ragged_rank=1).to_sparse()
        return {name: values.numpy() for name, values in layer({"price": column}).items()}

    return transform


@pytest.mark.parametrize("price", [np.nan, np.inf, -np.inf])
def test_a_float_that_is_no_number_is_missing(priced, price):
    """As in a log, where NaN is missing and an infinite one broken."""
    for name, got in priced([[price], [20.0]]).items():
        missing, known = priced([[], [20.0]])[name]
        assert missing == 0 != known
        assert got.tolist() == [missing, known], name


@pytest.mark.parametrize("name", ["price", "spent_log"])
def test_a_missing_plain_number_is_the_mean(transformed, name):
    assert transformed([{}])[name].tolist() == [0.0]


def test_history_and_candidate_share_ids_also_of_unseen_videos(transformed):
    videos = [*range(1, 15), *range(1000, 1030)]
    row = transformed([{"video": [v], "history_video": [v]} for v in videos])
    np.testing.assert_array_equal(row["history_video"][:, 0], row["video"])


def test_a_history_is_cut_and_padded_to_its_length(transformed):
    rows = transformed([{"history_video": [3]}, {"history_video": [1, 2, 3, 4, 5]}])
    one = transformed([{"video": [v]} for v in (1, 2, 3)])["video"].tolist()
    assert rows["history_video"].tolist() == [[one[2], 0, 0], one]


def test_sizes_bound_every_id(world, recipe, transformed):
    rows = transformed(world.rows + [{"user": [10**9 + i], "tab": [99]} for i in range(50)])
    for f in recipe.features:
        if f.name not in ("price", "spent_log"):
            assert rows[f.name].min() >= 0, f.name
            assert rows[f.name].max() < world.sizes[f.vocabulary], f.name


def test_features_that_share_bins_have_as_many_ids_as_the_largest(recipe):
    shared = (
        Feature("a", "user", "number", bins=20),
        Feature("b", "user", "number", bins=10, vocabulary="a"),
        Feature("c", kind="index", bins=50),
        Feature("d", kind="index", bins=5, vocabulary="c"),
    )
    assert vocabulary_sizes(recipe.replace(features=shared), None) == {"a": 21, "c": 52}


def test_tags_are_split_at_the_separator_and_empty_ones_dropped(transformed):
    single = transformed([{"genres": ["a"]}, {"genres": ["b"]}])["genres"]
    a, b = single[0, 0], single[1, 0]
    assert a > 0
    assert b > 0
    assert a != b
    rows = transformed([{"genres": ["a,b"]}, {"genres": [",b,"]}, {"genres": [""]}])["genres"]
    assert rows.tolist() == [[a, b, 0], [b, 0, 0], [0, 0, 0]]


def test_an_index_is_itself_plus_one_and_all_others_share_the_last_id(transformed):
    tabs = transformed([{"tab": [v]} for v in (0, 1, 3, 4, 99, -1)])["tab"]
    assert tabs.tolist() == [1, 2, 4, 5, 5, 5]


def test_an_index_sequence_tells_no_action_from_padding(transformed):
    row = transformed([{"history_action": [0, 1]}])
    assert row["history_action"].tolist() == [[1, 2, 0]]


def test_bins_are_numbered_from_one_and_hold_equal_shares(world, transformed):
    rows = [row for row in world.rows if row["age"]]
    bins = transformed([{"age": row["age"]} for row in rows])["age"]
    shares = np.bincount(bins, minlength=5)[1:] / len(rows)
    assert set(bins) == {1, 2, 3, 4}
    np.testing.assert_allclose(shares, 0.25, atol=0.06)


def test_bins_grow_with_the_number(transformed):
    bins = transformed([{"age": [v]} for v in (-(10**6), 25, 45, 60, 10**6)])["age"]
    assert bins.tolist() == sorted(bins)
    assert (bins[0], bins[-1]) == (1, 4)


def test_zero_apart_is_id_one_and_all_quantiles_are_of_the_others(world, transformed):
    amounts = [row["spent"][0] for row in world.rows if row["spent"] and row["spent"][0]]
    assert len(amounts) < len(world.rows) / 2, "most must be zero"
    ids = transformed([{"spent": [v]} for v in (0, *amounts)])["spent"]
    assert ids[0] == 1
    assert set(ids[1:]) == {2, 3, 4, 5}
    shares = np.bincount(ids[1:])[2:] / len(amounts)
    np.testing.assert_allclose(shares, 0.25, atol=0.03)
    assert world.sizes["spent"] == 6  # missing, zero, four bins


def test_amounts_around_zero_lie_in_the_bins_in_order(transformed):
    ids = transformed([{"spent": [v]} for v in (-5, 0, 1, 150, 10**9)])["spent"]
    assert (ids[0], ids[1], ids[2], ids[-1]) == (2, 1, 2, 5)
    assert ids[2] < ids[3] < ids[4]


def test_a_logarithm_keeps_the_sign_and_is_scaled_to_its_own_z_score(world, transformed):
    def log(values):
        return np.sign(values) * np.log1p(np.abs(values))

    seen = log(np.array([v for row in world.rows for v in row["spent"]], float))
    values = (-100, 0, 100, 10**6)
    got = transformed([{"spent": [v]} for v in values])["spent_log"]
    expected = (log(np.array(values, float)) - seen.mean()) / seen.std()
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_a_plain_number_becomes_its_z_score(world, transformed):
    seen = np.array([v for row in world.rows for v in row["price"]])
    got = transformed([{"price": [v]} for v in (0.0, 20.0, 31.0)])["price"]
    np.testing.assert_allclose(got, (np.array([0, 20, 31]) - seen.mean()) / seen.std(), atol=1e-4)


@pytest.mark.parametrize(
    "utc",
    [
        datetime(2022, 4, 25, 3, 59, 59, tzinfo=timezone.utc),  # Monday noon in Beijing
        datetime(2022, 5, 8, 15, 59, 59, tzinfo=timezone.utc),  # the last second of a Sunday there
        datetime(2022, 5, 8, 16, 0, 0, tzinfo=timezone.utc),  # the first of its Monday
        datetime(1969, 12, 31, 23, 0, 0, tzinfo=timezone.utc),  # before the epoch
    ],
)
def test_hour_and_weekday_are_local(transformed, utc):
    local = utc + timedelta(hours=8)
    row = transformed([{"time_ms": [int(utc.timestamp()) * 1000]}])
    assert row["hour"].tolist() == [1 + local.hour]
    assert row["weekday"].tolist() == [1 + local.weekday()]


def test_negative_ints_are_values_like_others(world, transformed):
    known = len(_known(world, "user", min_count=3))
    ids = transformed([{"user": [v]} for v in (-1, -(2**62))])["user"]
    assert set(ids) <= {known + 1, known + 2}


def test_zero_is_a_value_and_not_missing(transformed):
    assert transformed([{"user": [0]}])["user"][0] > 0


def test_labels_pass_unchanged(world, transformed):
    rows = transformed(world.rows[:20])
    for name in ("click", "conversion", "completion"):
        expected = [row[name][0] for row in world.rows[:20]]
        np.testing.assert_allclose(rows[name], expected, rtol=1e-6)


def test_serving_needs_no_labels(world, encode):
    columns = [f for f in world.rows[0] if f not in ("click", "conversion", "completion")]
    spec = {c: world.graph.raw_feature_spec()[c] for c in columns}
    parsed = tf.io.parse_example([encode(world.rows[0])], spec)
    assert "click" not in world.graph.transform_features_layer()(parsed)


def test_every_table_of_words_is_made_once(world):
    """Tables take a loader longer than all layers do, and memory for every user and video."""
    path = Path(world.graph.transform_savedmodel_dir, "saved_model.pb")
    graph = saved_model_pb2.SavedModel.FromString(path.read_bytes()).meta_graphs[0]
    ops = Counter(node.op for f in graph.graph_def.library.function for node in f.node_def)
    assert ops["HashTableV2"] == ops["LookupTableFindV2"] > 0


def test_kept_vocabularies_send_new_words_to_the_hash_buckets(days):
    graph, rows = days[0].world.graph, days[1].world.rows
    known = vocabularies(days[1].recipe, graph)["user"]
    seen = Batches(f"{days[1].world.folder}/train.gz", graph).in_order(len(rows))
    ids = next(iter(seen))["user"].numpy()
    new = np.array([str(row["user"][0]).encode() not in known for row in rows])
    assert new.any()
    assert not new.all()
    buckets = range(1 + len(known), 1 + len(known) + 2)  # hash_buckets of the feature
    assert set(ids[new]) <= set(buckets)
    assert set(ids[~new]) <= set(range(1, 1 + len(known)))
