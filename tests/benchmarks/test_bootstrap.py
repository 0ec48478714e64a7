"""The bootstrap against direct resampling and known answers."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score


@pytest.fixture
def bootstrap():
    from quality_parts import bootstrap

    return bootstrap


def test_every_replicate_draws_as_many_users_as_there_are(bootstrap):
    drawn = np.concatenate(list(bootstrap.user_draws(50, 130)))
    assert drawn.shape == (130, 50)
    assert (drawn.sum(axis=1) == 50).all()


def test_draws_are_the_same_every_time(bootstrap):
    first, again = (np.concatenate(list(bootstrap.user_draws(30, 20))) for _ in range(2))
    assert (first == again).all()
    assert (bootstrap.seed_draws(5, 20) == bootstrap.seed_draws(5, 20)).all()


def test_a_replicate_is_the_auc_of_the_drawn_users_rows(bootstrap):
    rng = np.random.default_rng(1)
    users, labels = rng.integers(0, 25, 200), rng.integers(0, 2, 200)
    scores = {"a": rng.random(200), "b": rng.random(200).round(1)}
    got = bootstrap.replicated_aucs(labels, scores, users, 25, replicates=10)
    drawn = np.concatenate(list(bootstrap.user_draws(25, 10)))
    for name, values in scores.items():
        for k, times in enumerate(drawn):
            rows = np.concatenate([np.flatnonzero(users == u) for u in np.repeat(range(25), times)])
            assert got[name][k] == pytest.approx(roc_auc_score(labels[rows], values[rows]))


def test_equal_models_differ_by_nothing(bootstrap):
    aucs = np.random.default_rng(2).random((3, 40))
    found = bootstrap.difference(aucs.mean(1), aucs.mean(1), aucs, aucs)
    assert (found["difference"], found["low"], found["high"]) == (0, 0, 0)


def test_the_interval_covers_seeds_and_users(bootstrap):
    rng = np.random.default_rng(3)
    # Users vary each seed's difference with sd .001, seeds with sd .002 around .01.
    by_seed = rng.normal(0.01, 0.002, 40)
    noise = rng.normal(0, 0.001, 4000)
    theirs = np.full((40, 4000), 0.7)
    ours = theirs + by_seed[:, None] + noise
    found = bootstrap.difference(by_seed + 0.7, theirs.mean(1), ours, theirs)
    width = (found["high"] - found["low"]) / 2 / 1.96
    assert width == pytest.approx((0.002**2 / 40 + 0.001**2) ** 0.5, rel=0.15)
    assert found["seeds_above"] == 40
