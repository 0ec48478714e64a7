"""Curated data schemas (TFMD, *.pbtxt): reading them, and what they ask for in words."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.recipe import Recipe

Comparators = list[tuple[str, schema_pb2.FeatureComparator]]

TYPES = {schema_pb2.INT: "int", schema_pb2.FLOAT: "float", schema_pb2.BYTES: "string"}


def read(path: str) -> schema_pb2.Schema:
    """The schema in a file; raises ValueError for anything else."""
    schema = schema_pb2.Schema()
    with open(path, encoding="utf-8") as stream:
        try:
            return text_format.Parse(stream.read(), schema)
        except (text_format.ParseError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is no schema in protobuf text: {error}") from error


def restricted(schema: schema_pb2.Schema, recipe: Recipe) -> schema_pb2.Schema:
    """The part of a schema that is about the columns which examples of this recipe have."""
    log = recipe.log
    columns = {log.user, log.video, log.time, "day"}
    columns |= {label.name for label in log.labels} | {f.column for f in recipe.features}
    part = schema_pb2.Schema()
    part.CopyFrom(schema)
    del part.feature[:]
    part.feature.extend(f for f in schema.feature if f.name in columns)
    return part


def drift_comparators(
    schema: schema_pb2.Schema, features: Sequence[Feature], threshold: float
) -> Comparators:
    """How far each column may move between two runs: the schema's word, else `threshold`.

    Strings are compared by L-infinity (the largest change of one value's share), numbers by
    Jensen-Shannon divergence of their histograms. Clocks move by nature, and sequences repeat the
    columns that they are made of; both have to be asked for in the schema. threshold = 0: nothing
    is compared.
    """
    if not threshold:
        return []
    curated = {f.name: f.drift_comparator for f in schema.feature if f.HasField("drift_comparator")}
    for feature in features:
        if feature.kind not in ("hour", "weekday", "sequence") and feature.column not in curated:
            comparator = schema_pb2.FeatureComparator()
            if feature.dtype == "string":
                comparator.infinity_norm.threshold = threshold
            else:
                comparator.jensen_shannon_divergence.threshold = threshold
            curated[feature.column] = comparator
    return sorted(curated.items())


def skew_comparators(schema: schema_pb2.Schema) -> Comparators:
    """How far each column of later days may lie from training's, where the schema says so."""
    return [(f.name, f.skew_comparator) for f in schema.feature if f.HasField("skew_comparator")]


def describe(feature: schema_pb2.Feature, schema: schema_pb2.Schema) -> str:
    """What a schema asks of a column, in words.

    >>> tab = schema_pb2.Feature(name="tab", type=schema_pb2.INT)
    >>> tab.int_domain.min, tab.int_domain.max = 0, 14
    >>> tab.presence.min_fraction = 1
    >>> describe(tab, schema_pb2.Schema(feature=[tab]))
    'int from 0 to 14 in 100% of the rows'
    """
    words = [TYPES[feature.type]]
    domain = feature.WhichOneof("domain_info")
    if domain == "bool_domain":
        words.append("0 or 1")
    elif domain in ("string_domain", "domain"):
        shared = {each.name: each for each in schema.string_domain}
        words_of = shared[feature.domain] if domain == "domain" else feature.string_domain
        words.append("one of " + ", ".join(words_of.value))
    elif domain in ("int_domain", "float_domain"):
        limits = getattr(feature, domain)
        words += [f"from {limits.min:g}"] if limits.HasField("min") else []
        words += [f"to {limits.max:g}"] if limits.HasField("max") else []
    if feature.presence.min_fraction:
        words.append(f"in {100 * feature.presence.min_fraction:g}% of the rows")
    if feature.value_count.max:
        low, high = feature.value_count.min, feature.value_count.max
        if (low, high) != (1, 1):
            words.append(f"with {low} to {high} values")
    return " ".join(words)
