"""Statistics of columns, as StatisticsGen would write them."""

from tensorflow_metadata.proto.v0 import statistics_pb2


def number(name, values, rows):
    feature = statistics_pb2.FeatureNameStatistics(type=statistics_pb2.FeatureNameStatistics.INT)
    feature.path.step.append(name)
    stats = feature.num_stats
    common(stats.common_stats, len(values), rows)
    stats.min, stats.max, stats.mean = min(values), max(values), sum(values) / len(values)
    return feature


def words(name, counts, rows):
    feature = statistics_pb2.FeatureNameStatistics(type=statistics_pb2.FeatureNameStatistics.STRING)
    feature.path.step.append(name)
    stats = feature.string_stats
    common(stats.common_stats, sum(counts.values()), rows)
    stats.unique = len(counts)
    for word, count in counts.items():
        stats.rank_histogram.buckets.add(label=word, sample_count=count)
    return feature


def common(stats, present, rows):
    stats.num_non_missing, stats.num_missing = present, rows - present
    stats.min_num_values = stats.max_num_values = 1
    stats.avg_num_values, stats.tot_num_values = 1, present


def statistics_of(*features, rows):
    data = statistics_pb2.DatasetFeatureStatistics(num_examples=rows, features=features)
    return statistics_pb2.DatasetFeatureStatisticsList(datasets=[data])
