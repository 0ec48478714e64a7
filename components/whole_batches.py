"""TFX's Evaluator calls this: TFMA's extractors, spared of what took most of the Evaluator's time.

TFMA makes a dictionary of every row and hands each to every metric alone. Its metrics know an
example with several labels and predictions, too, and count them one by one: so a whole batch is
handed over as one such example, with the same results.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.extractors.unbatch_extractor import UNBATCH_EXTRACTOR_STAGE_NAME
from tensorflow_model_analysis.proto import config_pb2
from tensorflow_model_analysis.utils.util import split_extracts

MEASURED = (tfma.LABELS_KEY, tfma.PREDICTIONS_KEY, tfma.EXAMPLE_WEIGHTS_KEY)


def custom_extractors(
    eval_shared_model: Any, eval_config: config_pb2.EvalConfig, tensor_adapter_config: Any
) -> list[tfma.extractors.Extractor]:
    """TFMA's own extractors, after `needed` and with `whole` in place of its unbatching.

    Only for metrics over all rows: features, by which rows could be sliced, are dropped.
    """
    first = tfma.extractors.Extractor("ExtractNeeded", beam.Map(needed, columns(eval_config)))
    return [first] + [
        each._replace(ptransform=beam.FlatMap(whole))
        if each.stage_name == UNBATCH_EXTRACTOR_STAGE_NAME
        else each
        for each in tfma.default_extractors(
            eval_shared_model=eval_shared_model,
            eval_config=eval_config,
            tensor_adapter_config=tensor_adapter_config,
        )
    ]


def columns(eval_config: config_pb2.EvalConfig) -> frozenset[str]:
    """The columns that hold labels and weights."""
    keys = (
        (*m.label_keys.values(), *m.example_weight_keys.values()) for m in eval_config.model_specs
    )
    return frozenset(itertools.chain(*keys))


def needed(extracts: Mapping[str, Any], kept: Collection[str]) -> dict[str, Any]:
    """A batch with the columns that are kept, and its examples as the input of that name."""
    batch = extracts[tfma.ARROW_RECORD_BATCH_KEY]
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    raw = columns[tfma.ARROW_INPUT_COLUMN]
    wanted = [name for name in columns if name in kept or name == tfma.ARROW_INPUT_COLUMN]
    return {
        tfma.ARROW_RECORD_BATCH_KEY: pa.RecordBatch.from_arrays(
            [columns[name] for name in wanted], names=wanted
        ),
        # Where it finds no input of the signature's name, TFMA tries another call first, which
        # fails with all examples written out in its message: that took as long as all metrics.
        tfma.FEATURES_KEY: {"examples": np.asarray(raw.flatten())},
    }


def whole(batch: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """A batch's labels, predictions and weights as one example; row by row where a row lacks one.

    Args:
      batch: TFMA's extracts; each value has rows first, and may lie in dictionaries by model and
        output.
    """
    measured = {key: batch[key] for key in MEASURED if key in batch}
    rows = len(batch[tfma.INPUT_KEY])
    if all(_has_one_a_row(values, rows) for values in _leaves(measured)):
        yield measured
    else:
        yield from split_extracts(measured)


def _leaves(values: Any) -> Iterator[Any]:
    if isinstance(values, Mapping):
        for inner in values.values():
            yield from _leaves(inner)
    else:
        yield values


def _has_one_a_row(values: Any, rows: int) -> bool:
    """TFMA pairs what it flattened: each array must have as many values as there are rows."""
    return isinstance(values, np.ndarray) and values.dtype != object and values.size == rows
