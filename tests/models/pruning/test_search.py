"""The loop of train, prune and rewind; the choice of a round; the schedules."""

import numpy as np
import pytest

from ncs4cvr.models.pruning.search import EarlyBird, Round, best_round, keep_schedule, search


def _ticket(kept, size=100):
    return [np.arange(size) < kept]


def _run(keeps, tasks=2):
    """A search whose steps write down what they are given."""
    told = []

    def rewind(tickets):
        told.append(("rewind", [int(t[0].sum()) for t in tickets]))

    def train(k, tickets):
        told.append(("train", k))
        return {"ctr_auc": 0.5 + k / 10}, 7 + k

    def prune(task, ticket, keep):
        told.append(("prune", task, keep))
        return _ticket(round(100 * keep))

    rounds = search([_ticket(100)] * tasks, keeps, rewind=rewind, train=train, prune=prune)
    return rounds, told


def test_every_training_starts_with_a_rewind_to_its_own_tickets():
    _, told = _run([0.5, 0.25], tasks=2)
    assert told == [
        ("rewind", [100, 100]),
        ("train", 0),
        ("prune", 0, 0.5),
        ("prune", 1, 0.5),
        ("rewind", [50, 50]),
        ("train", 1),
        ("prune", 0, 0.25),
        ("prune", 1, 0.25),
        ("rewind", [25, 25]),
        ("train", 2),
    ]


def test_a_round_holds_the_tickets_it_was_trained_with():
    rounds, _ = _run([0.5, 0.25])
    assert [int(r.tickets[0][0].sum()) for r in rounds] == [100, 50, 25]
    assert [r.metrics["ctr_auc"] for r in rounds] == [0.5, 0.6, 0.7]
    assert [r.steps for r in rounds] == [7, 8, 9]


def test_no_rounds_train_the_full_network_once():
    rounds, told = _run([])
    assert len(rounds) == 1
    assert not any(what[0] == "prune" for what in told)


def _rounds(metric, values):
    return [Round([], {metric: value}) for value in values]


def test_the_best_round_has_the_highest_auc():
    assert best_round(_rounds("ctr_auc", [0.6, 0.8, 0.7]), "ctr_auc") == 1


def test_the_best_round_has_the_lowest_mse():
    assert best_round(_rounds("watch_mse", [0.3, 0.1, 0.2]), "watch_mse") == 1


@pytest.mark.parametrize(
    ("metric", "values"), [("ctr_auc", [0.71, 0.709, 0.708]), ("watch_mse", [0.1, 0.101, 0.102])]
)
def test_a_sparser_round_wins_where_it_is_worse_by_no_more_than_the_tie(metric, values):
    assert best_round(_rounds(metric, values), metric, tie=0.0005) == 0
    assert best_round(_rounds(metric, values), metric, tie=0.0015) == 1
    assert best_round(_rounds(metric, values), metric, tie=0.0025) == 2


@pytest.mark.parametrize("metric", ["ctr_auc", "watch_mse"])
def test_ties_go_to_the_sparser_round(metric):
    assert best_round(_rounds(metric, [0.5, 0.5, 0.5]), metric) == 2


def test_a_difference_within_the_tie_goes_to_the_sparser_round():
    rounds = _rounds("ctr_auc", [0.752, 0.750, 0.751, 0.740])
    assert best_round(rounds, "ctr_auc", tie=0.0015) == 2
    assert best_round(rounds, "ctr_auc", tie=0.0005) == 0


def test_the_geometric_schedule_keeps_the_papers_shares(recipe):
    shares = keep_schedule(recipe.replace(keep=0.2, rounds=4))
    # .2^(1/4), .2^(2/4), .2^(3/4), .2 (LT4REC's file names)
    np.testing.assert_allclose(shares, [0.6687, 0.4472, 0.2991, 0.2], atol=5e-5)


def test_the_geometric_schedule_takes_the_same_share_of_survivors_each_round(recipe):
    shares = [1.0, *keep_schedule(recipe.replace(keep=0.05, rounds=6))]
    ratios = np.array(shares[1:]) / shares[:-1]
    np.testing.assert_allclose(ratios, ratios[0])


def test_the_polynomial_schedule_follows_zhu_and_gupta(recipe):
    shares = keep_schedule(recipe.replace(keep=0.2, rounds=4, pruning="polynomial"))
    # removed = .8 (1 - (1 - k/n)^3)
    expected = [1 - 0.8 * (1 - (1 - k / 4) ** 3) for k in (1, 2, 3, 4)]
    np.testing.assert_allclose(shares, expected, atol=1e-6)
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize("pruning", ["geometric", "polynomial"])
@pytest.mark.parametrize(("keep", "rounds"), [(1.0, 3), (0.2, 0), (0.001, 2)])
def test_schedules_bear_their_extremes(recipe, pruning, keep, rounds):
    shares = keep_schedule(recipe.replace(keep=keep, rounds=rounds, pruning=pruning))
    assert len(shares) == rounds
    assert all(0 < share <= 1 for share in shares)
    assert shares[-1:] == pytest.approx([keep][:rounds], abs=1e-6)


def _drawings(*moves):
    """Draws tickets of 80 connections, moved along by so many, one after the other."""
    left = iter(moves)
    return lambda: [[np.roll(_ticket(80)[0], next(left))]]


def _ends_at(bird, steps=1000):
    return next((step for step in range(1, steps) if bird(step)), None)


def test_an_early_bird_ends_once_its_drawings_settle():
    # Moved along by 20, a ticket of 80 in 100 lacks a quarter of the other's connections.
    bird = EarlyBird(0.1, _drawings(0, 20, 40, 40, 40, 40, 40))
    assert _ends_at(bird) == 6 * EarlyBird.EVERY


def test_an_early_bird_waits_while_any_remembered_drawing_differs():
    bird = EarlyBird(0.1, _drawings(0, 20, 0, 20, 0, 20, 20, 20, 20))
    assert _ends_at(bird) == 9 * EarlyBird.EVERY


def test_an_early_bird_needs_as_many_drawings_as_it_remembers():
    bird = EarlyBird(0.1, _drawings(*[0] * 9))
    assert _ends_at(bird) == (EarlyBird.MEMORY + 1) * EarlyBird.EVERY


def test_a_wider_bound_lets_it_end_earlier():
    assert _ends_at(EarlyBird(0.2, _drawings(0, 20, 0, 20, 0, 20)), steps=60) is None
    assert _ends_at(EarlyBird(0.3, _drawings(0, 20, 0, 20, 0, 20))) == 4 * EarlyBird.EVERY
