"""Controls change what they say, and nothing else."""

import numpy as np
import pytest

from ncs4cvr.models.pruning.controls import controlled
from ncs4cvr.models.pruning.tickets import Tickets

SHAPES = [(30, 20), (20, 10)]


def _found():
    rng = np.random.default_rng(1)
    tickets = {
        t: [rng.random(s) < keep for s in SHAPES] for t, keep in (("ctr", 0.3), ("cvr", 0.1))
    }
    return Tickets(tickets, [np.zeros(3)], {"tasks": ["ctr", "cvr"]})


def _same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_no_control_changes_nothing():
    got = controlled(_found(), "", 1, [])
    assert all(_same(got.tickets[t], _found().tickets[t]) for t in ("ctr", "cvr"))
    assert _same(got.start, _found().start)


def test_random_tickets_keep_as_many_connections_in_every_layer():
    found, got = _found(), controlled(_found(), "random", 1, [])
    for task in ("ctr", "cvr"):
        for a, b in zip(found.tickets[task], got.tickets[task], strict=True):
            assert a.sum() == b.sum()
            assert (a != b).any()
    assert _same(got.start, found.start)


def test_random_tickets_differ_by_seed_alone():
    a, b, c = (controlled(_found(), "random", seed, []).tickets["ctr"] for seed in (1, 1, 2))
    assert _same(a, b)
    assert not _same(a, c)


def test_the_union_is_one_ticket_for_all_tasks():
    found, got = _found(), controlled(_found(), "union", 1, [])
    for layer in range(2):
        either = found.tickets["ctr"][layer] | found.tickets["cvr"][layer]
        for task in ("ctr", "cvr"):
            np.testing.assert_array_equal(got.tickets[task][layer], either)


def test_only_gives_every_task_the_ticket_of_one():
    got = controlled(_found(), "only_cvr", 1, [])
    assert all(_same(got.tickets[t], _found().tickets["cvr"]) for t in ("ctr", "cvr"))


def test_only_of_an_unknown_task_is_refused():
    with pytest.raises(ValueError, match=r"only_buy.*\['ctr', 'cvr'\]"):
        controlled(_found(), "only_buy", 1, [])


def test_a_new_start_keeps_the_masks():
    got = controlled(_found(), "new_start", 1, [np.ones(3)])
    assert _same(got.tickets["ctr"], _found().tickets["ctr"])
    assert _same(got.start, [np.ones(3)])
