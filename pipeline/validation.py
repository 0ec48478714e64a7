"""What DistributionValidator compares, from the recipe and its schema."""

from __future__ import annotations

from typing import TypeAlias

from tensorflow_metadata.proto.v0 import path_pb2, schema_pb2
from tfx.proto import distribution_validator_pb2

from ncs4cvr.schemas import data_schema
from ncs4cvr.schemas.recipe import Recipe

Config: TypeAlias = distribution_validator_pb2.DistributionValidatorConfig


def drift_config(recipe: Recipe) -> Config:
    """Against the run before: the same split of both."""
    return _config(
        data_schema.drift_comparators(_schema(recipe), recipe.features, recipe.drift_threshold)
    )


def skew_config(recipe: Recipe) -> Config:
    """Within a run: later splits against the first."""
    return _config(data_schema.skew_comparators(_schema(recipe)))


def skew_pairs(recipe: Recipe) -> list[tuple[str, str]]:
    """(later split, training split)."""
    first, *later = (split.name for split in recipe.log.splits)
    return [(name, first) for name in later]


def _schema(recipe: Recipe) -> schema_pb2.Schema:
    if not recipe.data_schema:
        return schema_pb2.Schema()
    return data_schema.restricted(data_schema.read(recipe.data_schema), recipe)


def _config(comparators: data_schema.Comparators) -> Config:
    config = Config()
    for column, comparator in comparators:
        config.default_slice_config.feature.add(
            path=path_pb2.Path(step=[column]), distribution_comparator=comparator
        )
    return config
