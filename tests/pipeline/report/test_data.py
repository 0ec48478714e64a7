"""What the report says of statistics, from statistics made by hand."""

import pytest
from tensorflow_metadata.proto.v0 import statistics_pb2
from tfx.types import standard_artifacts

from ncs4cvr.pipeline.report import data, distributions


def test_of_earlier_statistics_those_of_the_same_splits_are_read(tmp_path):
    artifact = standard_artifacts.ExampleStatistics()
    artifact.uri, artifact.split_names = str(tmp_path), '["train", "old"]'
    for split, rows in (("train", 7), ("old", 9)):
        made = statistics_pb2.DatasetFeatureStatisticsList()
        made.datasets.add(num_examples=rows)
        (tmp_path / f"Split-{split}").mkdir()
        (tmp_path / f"Split-{split}/FeatureStats.pb").write_bytes(made.SerializeToString())
    columns, sizes = data._statistics(artifact, ["train", "new"])
    assert sizes == {"train": 7}
    assert set(columns) == {"train"}


@pytest.mark.parametrize("value", [3.0, 0.1])
def test_a_constant_has_a_shape(value):
    column = statistics_pb2.FeatureNameStatistics(name="x", type="FLOAT")
    histogram = column.num_stats.histograms.add(type=statistics_pb2.Histogram.STANDARD)
    histogram.buckets.add(low_value=value, high_value=value, sample_count=5)
    assert sum(distributions.shapes(column, None)["now"]) == 1.0
