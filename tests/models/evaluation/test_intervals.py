"""The bootstrap over users against known answers."""

from math import erf

import numpy as np
import pytest

from ncs4cvr.models.evaluation import intervals
from ncs4cvr.models.evaluation.intervals import all_draws, interval, measure, replicated, user_draws


def binormal(rng, rows=400, users=100, shift=1.0):
    """Scores of positives lie `shift` standard deviations higher: AUC = Phi(shift / sqrt 2)."""
    labels = (np.arange(rows) % 2).astype(float)
    return labels, rng.normal(size=rows) + shift * labels, rng.integers(0, users, rows)


def test_the_interval_covers_the_true_auc_nineteen_times_in_twenty():
    rng = np.random.default_rng(7)
    true = (1 + erf(1 / 2)) / 2
    draws, covered = np.concatenate(list(user_draws(100, 300))), 0
    for _ in range(200):
        labels, scores, users = binormal(rng)
        low, high = measure("auc", labels, scores, None, draws, users).interval()
        covered += low <= true <= high
    # Binomial(200, .95) has a standard deviation of 3.1.
    assert 190 - 3 * 3.1 <= covered <= 190 + 3 * 3.1


def test_the_interval_of_a_difference_covers_the_true_one():
    rng = np.random.default_rng(8)
    draws, covered = np.concatenate(list(user_draws(100, 300))), 0
    for _ in range(200):
        labels, scores, users = binormal(rng)
        # Equally good, and correlated: what the rows have in common must cancel out.
        noise = rng.normal(size=(2, len(scores)))
        one, other = scores + noise[0] / 2, scores + noise[1] / 2
        low, high = measure("auc", labels, one, other, draws, users).difference_interval()
        covered += low <= 0 <= high
    assert 190 - 3 * 3.1 <= covered <= 190 + 3 * 3.1


def test_a_model_differs_from_itself_by_nothing():
    labels, scores, users = binormal(np.random.default_rng(9))
    found = measure("auc", labels, scores, scores.copy(), all_draws(100), users)
    assert found.difference == 0
    assert found.difference_interval() == [0, 0]


def test_rows_that_a_user_repeats_make_nothing_surer():
    labels, scores, users = binormal(np.random.default_rng(10))
    draws = all_draws(100)
    once = measure("auc", labels, scores, None, draws, users).interval()
    five = [np.tile(each, 5) for each in (labels, scores, users)]
    assert measure("auc", *five[:2], None, draws, five[2]).interval() == pytest.approx(once)


def test_a_replicate_of_a_squared_error_is_that_of_the_drawn_users_rows():
    labels, scores, users = np.array([1.0, 0.5, 0.0]), np.array([0.0, 0.5, 0.5]), [0, 1, 1]
    draws = np.array([[1, 0], [2, 1], [0, 3], [0, 0]])
    # Errors: user 0 has 1 in one row, user 1 has 0 and .25 in two.
    got = replicated("mse", labels, scores, draws, np.array(users))
    assert got[:3] == pytest.approx([1, (2 * 1 + 0.25) / 4, 0.25 / 2])
    assert np.isnan(got[3])


def test_the_ends_are_percentiles_of_the_replicates():
    values = np.arange(1001) / 1000
    assert interval(values) == pytest.approx([0.025, 0.975])
    assert interval(np.append(values, np.nan)) == pytest.approx([0.025, 0.975])


def test_where_most_replicates_lack_a_class_nothing_is_known():
    assert interval(np.array([0.5, np.nan, np.nan])) is None


def test_an_auc_of_one_class_does_not_exist():
    found = measure("auc", np.ones(3), np.arange(3.0), None, all_draws(3), np.arange(3))
    assert found.value is None
    assert found.interval() is None


def test_many_users_are_drawn_less_often_for_memorys_sake(monkeypatch):
    monkeypatch.setattr(intervals, "MEMORY", 200 * 1000)
    assert all_draws(1000).shape == (200, 1000)
    assert all_draws(10).shape == (1000, 10)
    assert all_draws(10_000).shape == (100, 10_000)
