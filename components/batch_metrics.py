"""AUC and calibration for TFMA, which count a whole batch at a time.

TFMA's AUC and Calibration loop over rows in Python, also where a batch is handed over whole
(whole_batches.py); that took half of the Evaluator's time. TFMA's AUC also takes predictions below
.0001 for one and the same, which are most of a rare conversion's. They have names of their own
since TFMA takes its own class of a name whatever `module` a MetricConfig gives.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
from tensorflow_model_analysis.metrics import metric_types, metric_util

BINS = 10_000  # of logits; pairs of one bin count as ties
LARGEST = 20.0  # a logit: of predictions of 2e-9, and as near to 1


class BatchedAUC(metric_types.Metric):
    """The area under the ROC curve, with logits put in `BINS` bins from -LARGEST to LARGEST.

    AUC = sum_b P_b (N_1 + ... + N_{b-1} + N_b / 2) / (P N)

    P_b and N_b are the weighted positives and negatives of bin b, P and N their sums; NaN where one
    of these is 0. A label between 0 and 1 is so much of a positive.

    Args:
      name: of the metric.
      code_version: of this code, for TFX's cache.
    """

    def __init__(self, name: str = "auc", code_version: str = ""):
        made = functools.partial(_computations, _binned, _area)
        super().__init__(metric_util.merge_per_key_computations(made), name=name)


class BatchedCalibration(metric_types.Metric):
    """Weighted sum of predictions / weighted sum of labels; NaN where the latter is 0.

    For the arguments see BatchedAUC.
    """

    def __init__(self, name: str = "calibration", code_version: str = ""):
        made = functools.partial(_computations, _weighed, _ratio)
        super().__init__(metric_util.merge_per_key_computations(made), name=name)


def _binned(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted negatives and positives of every bin, [2, BINS]."""
    if ((labels < 0) | (labels > 1)).any():
        raise ValueError(
            f"labels must be from 0 to 1 for an AUC; they are from {labels.min():g} to "
            f"{labels.max():g}"
        )
    with np.errstate(divide="ignore"):  # of exactly 0 and 1
        p = np.clip(predictions, 0, 1)
        logits = np.clip(np.log(p) - np.log1p(-p), -LARGEST, LARGEST)
    bins = np.minimum(((logits / LARGEST + 1) * (BINS / 2)).astype(np.int64), BINS - 1)
    parts = weights * (1 - labels), weights * labels
    return np.stack([np.bincount(bins, part, BINS) for part in parts])


def _area(total: np.ndarray) -> float:
    negatives, positives = total
    pairs = positives.sum() * negatives.sum()
    won = positives @ (np.cumsum(negatives) - negatives / 2)
    return float(won / pairs) if pairs else float("nan")


def _weighed(labels: np.ndarray, predictions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted sums of predictions and labels, [2]."""
    return np.array([weights @ predictions, weights @ labels])


def _ratio(total: np.ndarray) -> float:
    predicted, observed = total
    return float(predicted / observed) if observed else float("nan")


def _computations(
    counted: Callable[..., np.ndarray],
    value: Callable[[np.ndarray], float],
    name: str,
    eval_config: Any,
    model_name: str,
    output_name: str,
    example_weighted: bool,
) -> metric_types.MetricComputations:
    key = metric_types.MetricKey(name, model_name, output_name, example_weighted=example_weighted)
    return [
        metric_types.MetricComputation([key], None, _OfBatches(key, eval_config, counted, value))
    ]


class _OfBatches(beam.CombineFn):
    """Adds up what is counted in batches, and makes a metric of the total."""

    def __init__(
        self,
        key: metric_types.MetricKey,
        eval_config: Any,
        counted: Callable[..., np.ndarray],
        value: Callable[[np.ndarray], float],
    ):
        self._key, self._eval_config = key, eval_config
        self._counted, self._value = counted, value

    def create_accumulator(self) -> np.ndarray:
        return self._counted(*np.zeros((3, 0)))

    def add_input(
        self, accumulator: np.ndarray, element: metric_types.StandardMetricInputs
    ) -> np.ndarray:
        for labels, predictions, weights in self._columns(element):
            try:
                accumulator = accumulator + self._counted(labels, predictions, weights)
            except ValueError as error:
                raise ValueError(f"{self._key.output_name}: {error}") from error
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[np.ndarray]) -> np.ndarray:
        return np.sum(list(accumulators), axis=0)

    def extract_output(self, accumulator: np.ndarray) -> dict[metric_types.MetricKey, float]:
        return {self._key: self._value(accumulator)}

    def _columns(
        self, element: metric_types.StandardMetricInputs
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Labels, predictions and weights, [rows] each, all of them finite."""
        for found in metric_util.to_label_prediction_example_weight(
            element,
            eval_config=self._eval_config,
            model_name=self._key.model_name,
            output_name=self._key.output_name,
            example_weighted=self._key.example_weighted,
            flatten=False,
        ):
            labels, predictions, weights = (np.ravel(each).astype(np.float64) for each in found)
            if len(labels) != len(predictions):
                raise ValueError(
                    f"{len(labels)} labels of {self._key.output_name} for {len(predictions)} "
                    "predictions; a label's column must hold one value a row"
                )
            if wrong := int((~np.isfinite(predictions)).sum()):
                raise ValueError(
                    f"{wrong} of {len(predictions)} predictions of {self._key.output_name} are NaN "
                    "or infinite; lower learning_rate, or look for NaN and huge values in unbinned "
                    "number features"
                )
            yield labels, predictions, np.broadcast_to(weights, labels.shape)
