"""TFX Transform calls this: raw columns -> ids and scaled numbers, driven by the feature rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf
import tensorflow_transform as tft

from ncs4cvr.models.analyzers import mean_and_deviation, quantiles
from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.recipe import Recipe

HOUR_MS = 3_600_000


def preprocessing_fn(inputs: Mapping[str, Any], custom_config: Mapping[str, Any]):
    """Features by their names as int64 ids (0 = missing or padding) or floats, labels unchanged.

    Ids of a vocabulary: 0 missing, 1..V the values seen at least `min_count` times in training,
    most frequent first, then `hash_buckets` for all others.
    """
    recipe = Recipe.from_json(custom_config["recipe"])
    features = sorted(recipe.features, key=lambda f: f.name != f.vocabulary)
    outputs: dict[str, tf.Tensor] = {}
    tables: dict[str, Any] = {}
    for f in features:
        outputs[f.name] = _KINDS[f.kind](f, inputs[f.column], tables, recipe)
    for label in recipe.log.labels:
        if label.name in inputs:
            outputs[label.name] = _dense(inputs[label.name], 1)[:, 0]
    return outputs


def vocabularies(recipe: Recipe, transform_graph: tft.TFTransformOutput) -> dict[str, list[bytes]]:
    """The words of every vocabulary that Transform counted; the id of a word is 1 + its place."""
    return {
        f.vocabulary: list(transform_graph.vocabulary_by_name(_file(f)))
        for f in recipe.features
        if f.has_words and f.name == f.vocabulary
    }


def vocabulary_sizes(recipe: Recipe, transform_graph: tft.TFTransformOutput) -> dict[str, int]:
    """Ids per vocabulary, 0 for missing and the hash buckets included.

    Of features that share a vocabulary without words, the one with most ids says how many.
    """
    sizes: dict[str, int] = {}
    for f in recipe.features:
        size = 0
        if f.kind == "number" and f.bins:
            size = 1 + f.zero_apart + f.bins
        elif f.kind == "index" or _is_index_sequence(f):
            size = f.bins + 2
        elif f.kind in _CLOCKS:
            size = _CLOCKS[f.kind] + 1
        elif f.has_words and f.name == f.vocabulary:
            known = transform_graph.vocabulary_size_by_name(_file(f))
            size = 1 + known + f.hash_buckets
        if size:
            sizes[f.vocabulary] = max(size, sizes.get(f.vocabulary, 0))
    return sizes


def _category(f: Feature, x, tables, recipe) -> tf.Tensor:
    return _dense(_ids(f, _words(f, _sparse(x)), tables), 1)[:, 0]


def _index(f: Feature, x, tables, recipe) -> tf.Tensor:
    return _dense(_clipped(f, _sparse(x)), 1)[:, 0]


def _sequence(f: Feature, x, tables, recipe) -> tf.Tensor:
    if _is_index_sequence(f):
        return _dense(_clipped(f, _sparse(x)), f.length)
    return _dense(_ids(f, _words(f, _sparse(x)), tables), f.length)


def _tags(f: Feature, x, tables, recipe) -> tf.Tensor:
    text = _dense(_sparse(x), 1, "")[:, 0]
    words = tf.strings.split(text, f.separator)
    words = tf.ragged.boolean_mask(words, tf.strings.length(words) > 0)
    return _dense(_ids(f, words.to_sparse(), tables), f.length)


def _number(f: Feature, x, tables, recipe) -> tf.Tensor:
    x = _sparse(x)
    x = _with_values(x, tf.cast(x.values, tf.float32))
    if f.dtype == "float":  # NaN is missing in a log, infinity is broken; a request may hold both
        x = tf.sparse.retain(x, tf.math.is_finite(x.values))
    if f.zero_apart:
        return _zero_or_bucket(f, x)
    if f.bins:
        bucket = _bucketed(f, x)
        return _dense(_with_values(bucket, bucket.values + 1), 1)[:, 0]
    if f.log:
        x = _with_values(x, tf.sign(x.values) * tf.math.log1p(tf.abs(x.values)))
    mean, deviation = tf.unstack(mean_and_deviation(x.values))
    scaled = (x.values - mean) / tf.where(deviation > 0, deviation, 1.0)
    return _dense(_with_values(x, scaled), 1)[:, 0]


def _bucketed(f: Feature, x: tf.SparseTensor) -> tf.SparseTensor:
    """The quantile bucket, from 0, of every value."""
    return tft.apply_buckets(x, quantiles(x.values, f.bins), name=f.name)


def _zero_or_bucket(f: Feature, x: tf.SparseTensor) -> tf.Tensor:
    """1 for zero, 1 + its quantile bucket (from 1) for any other value."""
    zero = tf.sparse.retain(x, x.values == 0)
    bucket = _bucketed(f, tf.sparse.retain(x, x.values != 0))
    ones = _with_values(zero, tf.ones_like(zero.values, bucket.dtype))
    # An entry is in one of the two, so the sum is the one that there is.
    return (_dense(ones, 1) + _dense(_with_values(bucket, bucket.values + 2), 1))[:, 0]


def _hour(f: Feature, x, tables, recipe) -> tf.Tensor:
    return _clock(x, recipe, lambda hours: hours % 24)


def _weekday(f: Feature, x, tables, recipe) -> tf.Tensor:
    return _clock(x, recipe, lambda hours: (hours // 24 + 3) % 7)  # 1970-01-01: Thursday


def _clock(x, recipe: Recipe, part) -> tf.Tensor:
    x = _sparse(x)
    shift = int(recipe.log.utc_offset_hours * HOUR_MS)
    return _dense(_with_values(x, part((x.values + shift) // HOUR_MS) + 1), 1)[:, 0]


_KINDS = {
    "category": _category,
    "index": _index,
    "tags": _tags,
    "sequence": _sequence,
    "number": _number,
    "hour": _hour,
    "weekday": _weekday,
}
_CLOCKS = {"hour": 24, "weekday": 7}


def _is_index_sequence(f: Feature) -> bool:
    return f.kind == "sequence" and f.bins > 0


def _clipped(f: Feature, x: tf.SparseTensor) -> tf.SparseTensor:
    """1 + value where the value lies in [0, bins), bins + 1 for all others."""
    inside = (x.values >= 0) & (x.values < f.bins)
    return _with_values(x, tf.where(inside, x.values + 1, f.bins + 1))


def _file(f: Feature) -> str:
    return f"vocabulary_{f.vocabulary}"


def _ids(f: Feature, words: tf.SparseTensor, tables: dict[str, Any]) -> tf.SparseTensor:
    """Looks words up, counting them first where `f` is the vocabulary's own feature."""
    if f.name == f.vocabulary:
        table = tft.vocabulary(words, frequency_threshold=f.min_count, vocab_filename=_file(f))
        tables[f.vocabulary] = table, f.hash_buckets
    table, hash_buckets = tables[f.vocabulary]
    ids = tft.apply_vocabulary(words, table)
    # As with num_oov_buckets=hash_buckets, for which TFT makes every table twice.
    known = tft.get_num_buckets_for_transformed_feature(ids)
    others = known + tf.strings.to_hash_bucket_fast(words.values, hash_buckets)
    return _with_values(ids, 1 + tf.where(ids.values < 0, others, ids.values))


def _words(f: Feature, x: tf.SparseTensor) -> tf.SparseTensor:
    """Ids as words, the empty word dropped: it means missing."""
    if f.dtype == "int":
        return _with_values(x, tf.strings.as_string(x.values))
    return tf.sparse.retain(x, tf.strings.length(x.values) > 0)


def _sparse(x) -> tf.SparseTensor:
    """Every entry of a dense column counts as present, 0 included."""
    if isinstance(x, tf.SparseTensor):
        return x
    x = tf.reshape(x, [tf.shape(x)[0], -1])
    shape = tf.shape(x, tf.int64)
    return tf.SparseTensor(tf.where(tf.fill(shape, True)), tf.reshape(x, [-1]), shape)


def _with_values(x: tf.SparseTensor, values: tf.Tensor) -> tf.SparseTensor:
    return tf.SparseTensor(x.indices, values, x.dense_shape)


def _dense(x, length: int, default=0) -> tf.Tensor:
    """[batch, length], cut or padded."""
    if isinstance(x, tf.SparseTensor):
        batch = x.dense_shape[0]
        kept = tf.sparse.slice(x, [0, 0], tf.stack([batch, length]))
        kept = tf.SparseTensor(kept.indices, kept.values, tf.stack([batch, length]))
        x = tf.sparse.to_dense(
            kept, default_value=tf.cast(default, x.dtype) if default != "" else ""
        )
    return tf.ensure_shape(tf.reshape(x, [-1, length]), [None, length])
