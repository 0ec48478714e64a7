"""AUC and calibration counted a batch at a time, by arithmetic and against the exact AUC."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from tensorflow_model_analysis.metrics import metric_types

from ncs4cvr.components.batch_metrics import BINS, LARGEST, BatchedAUC, BatchedCalibration


def combiner(metric):
    (found,) = metric("quality").computations(
        model_names=["candidate"], output_names=["cvr"], example_weighted=True
    )
    return found.combiner


def batch(labels, predictions, weights):
    inputs = metric_types.StandardMetricInputs()
    inputs["labels"] = {"candidate": {"cvr": np.array(labels, np.float32)}}
    inputs["predictions"] = {"candidate": {"cvr": np.array(predictions, np.float32)}}
    inputs["example_weights"] = {"candidate": {"cvr": np.array(weights, np.float32)}}
    return inputs


def value(metric, *batches):
    combine = combiner(metric)
    parts = [combine.add_input(combine.create_accumulator(), batch(*each)) for each in batches]
    (found,) = combine.extract_output(combine.merge_accumulators(parts)).values()
    return found


def test_the_auc_counts_pairs_by_weight_and_ties_by_half():
    # Positives: .9 (2) and .5 (1); negatives: .7 (1) and .5 (3); of 12 pairs by weight 8 are won
    # by .9, the tie at .5 counts 3 / 2, and .5 against .7 is lost.
    rows = [1, 1, 0, 0], [0.9, 0.5, 0.7, 0.5], [2, 1, 1, 3]
    assert value(BatchedAUC, rows) == pytest.approx(9.5 / 12)


def test_calibration_is_weighted_predictions_over_weighted_labels():
    rows = [1, 0, 1], [0.5, 0.25, 0.75], [2, 4, 0]
    assert value(BatchedCalibration, rows) == pytest.approx((2 * 0.5 + 4 * 0.25) / 2)


def test_a_fractional_label_is_so_much_of_a_positive_and_of_a_negative():
    whole = [1, 0, 0], [0.8, 0.8, 0.2], [0.25, 0.75, 1]
    assert value(BatchedAUC, ([0.25, 0], [0.8, 0.2], [1, 1])) == value(BatchedAUC, whole)


@pytest.mark.parametrize("metric", [BatchedAUC, BatchedCalibration])
def test_parts_add_up_to_the_whole(metric):
    rows = np.random.default_rng(1).random((3, 100)).round(2)
    parts = [tuple(rows[:, part]) for part in (slice(0, 7), slice(7, 7), slice(7, 100))]
    assert value(metric, *parts) == pytest.approx(value(metric, tuple(rows)))


def test_the_auc_is_the_exact_one_where_no_two_rows_share_a_bin():
    rng = np.random.default_rng(2)
    logits = (2 * (rng.permutation(BINS)[:500] + 0.5) / BINS - 1) * LARGEST
    logits = logits[np.abs(logits) < 10]  # as exactly as float32 tells predictions near 1
    predictions = 1 / (1 + np.exp(-logits))
    labels = rng.integers(0, 2, len(logits))
    exact = roc_auc_score(labels, predictions)
    assert value(BatchedAUC, (labels, predictions, np.ones(len(logits)))) == pytest.approx(exact)


def test_small_predictions_are_told_apart():
    """A conversion in 50,000 rows: all predictions are far below .0001."""
    predictions = np.geomspace(1e-6, 5e-5, 400)
    labels = np.arange(400) % 2 + (np.arange(400) > 300) > 0
    exact = roc_auc_score(labels, predictions)
    found = value(BatchedAUC, (labels, predictions, np.ones(400)))
    assert found == pytest.approx(exact, abs=1e-3)
    assert abs(exact - 0.5) > 0.1


def test_predictions_of_exactly_0_and_1_have_a_bin():
    assert value(BatchedAUC, ([0, 1], [0.0, 1.0], [1, 1])) == 1


@pytest.mark.parametrize(
    ("metric", "rows"),
    [
        (BatchedAUC, ([1, 0], [0.5, 0.5], [1, 0])),
        (BatchedAUC, ([], [], [])),
        (BatchedCalibration, ([0, 0], [0.5, 0.5], [1, 1])),
    ],
    ids=["no negative has weight", "no rows", "no positive"],
)
def test_what_does_not_exist_is_nan(metric, rows):
    assert np.isnan(value(metric, rows))


def test_predictions_that_are_not_numbers_are_refused_with_the_output():
    rows = [1, 0, 0], [0.5, np.nan, np.inf], [1, 1, 1]
    with pytest.raises(ValueError, match="2 of 3 predictions of cvr are NaN or infinite"):
        value(BatchedAUC, rows)


def test_labels_that_are_no_probabilities_are_refused_by_the_auc():
    with pytest.raises(ValueError, match=r"cvr: labels must be from 0 to 1.*from 0 to 2"):
        value(BatchedAUC, ([0, 2], [0.5, 0.5], [1, 1]))


@pytest.mark.parametrize("metric", [BatchedAUC, BatchedCalibration])
def test_a_row_with_two_labels_is_refused(metric):
    with pytest.raises(ValueError, match="2 labels of cvr for 1 predictions"):
        value(metric, ([0, 1], [0.5], [1]))
