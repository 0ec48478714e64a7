"""The curated schema of the default recipe, and how schemas are read."""

import pytest
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from ncs4cvr.pipeline.recipe_files import find_schema
from ncs4cvr.pipeline.recipes.kuairand import RECIPE
from ncs4cvr.schemas import data_schema
from ncs4cvr.schemas.features import Feature


@pytest.fixture(scope="module")
def schema(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nowhere")
    return data_schema.read(str(find_schema("kuairand.pbtxt", folder)))


def columns(recipe):
    labels = [label.name for label in recipe.log.labels]
    return {"user_id", "video_id", "time_ms", "day", *labels, *(f.column for f in recipe.features)}


def test_the_curated_schema_knows_every_column_of_the_default_recipe(schema):
    assert columns(RECIPE) <= {f.name for f in schema.feature}


def test_a_column_has_the_type_that_its_feature_says(schema):
    types = {f.name: data_schema.TYPES[f.type] for f in schema.feature}
    for feature in RECIPE.features:
        if feature.kind not in ("hour", "weekday"):
            assert types[feature.column] == feature.dtype, feature.name


def test_only_the_recipes_columns_are_asked_for(schema):
    fewer = RECIPE.replace(features=RECIPE.features[:3])
    part = data_schema.restricted(schema, fewer)
    assert {f.name for f in part.feature} == columns(fewer)
    assert part.string_domain == schema.string_domain


def test_a_file_that_is_no_schema_is_named(tmp_path):
    path = tmp_path / "x.pbtxt"
    path.write_text("feature { nam: 1 }")
    with pytest.raises(ValueError, match=r"x\.pbtxt is no schema"):
        data_schema.read(str(path))


def test_drift_is_held_to_the_schemas_word_else_to_the_recipes():
    schema = schema_pb2.Schema()
    fans = schema.feature.add(name="fans")
    fans.drift_comparator.jensen_shannon_divergence.threshold = 0.6
    features = (
        Feature("fans", kind="number"),
        Feature("city", dtype="string"),
        Feature("age", kind="number"),
        Feature("hour", kind="hour", column="time_ms"),
    )
    found = dict(data_schema.drift_comparators(schema, features, 0.2))
    assert sorted(found) == ["age", "city", "fans"]
    assert found["fans"].jensen_shannon_divergence.threshold == 0.6
    assert found["age"].jensen_shannon_divergence.threshold == 0.2
    assert found["city"].infinity_norm.threshold == 0.2


def test_no_threshold_compares_nothing():
    assert data_schema.drift_comparators(schema_pb2.Schema(), (Feature("city"),), 0.0) == []


# -- what the distances of the curated schema catch ------------------------------------------


def spread(name, low, high, rows=1000):
    """Statistics of a number that lies evenly between two values."""
    feature = statistics_pb2.FeatureNameStatistics(type=statistics_pb2.FeatureNameStatistics.INT)
    feature.path.step.append(name)
    stats = feature.num_stats
    stats.common_stats.num_non_missing = rows
    stats.common_stats.min_num_values = stats.common_stats.max_num_values = 1
    stats.min, stats.max = low, high
    histogram = stats.histograms.add(type=statistics_pb2.Histogram.STANDARD)
    step = (high - low) / 10
    for n in range(10):
        histogram.buckets.add(
            low_value=low + n * step, high_value=low + (n + 1) * step, sample_count=rows / 10
        )
    return statistics_pb2.DatasetFeatureStatisticsList(
        datasets=[statistics_pb2.DatasetFeatureStatistics(num_examples=rows, features=[feature])]
    )


def distance_complaints(schema, now, before):
    feature = next(f for f in schema.feature if f.name == "duration_ms")
    held = schema_pb2.Schema()
    held.feature.add().CopyFrom(feature)
    held.feature[0].drift_comparator.CopyFrom(feature.skew_comparator)
    return set(tfdv.validate_statistics(now, held, previous_statistics=before).anomaly_info)


def test_a_like_day_passes(schema):
    day = spread("duration_ms", 0, 300_000)
    assert distance_complaints(schema, spread("duration_ms", 0, 310_000), day) == set()


def test_seconds_instead_of_milliseconds_do_not_pass(schema):
    day = spread("duration_ms", 0, 300_000)
    assert distance_complaints(schema, spread("duration_ms", 0, 300), day) == {"duration_ms"}


def test_a_column_stuck_at_one_value_does_not_pass(schema):
    day = spread("duration_ms", 0, 300_000)
    assert distance_complaints(schema, spread("duration_ms", 60_000, 60_001), day) == {
        "duration_ms"
    }
