"""Which way to compute is chosen, and what the times are taken of."""

import numpy as np
import pytest

from ncs4cvr.models.packed import asset, clock, plans, store
from ncs4cvr.models.packed.store import Packing


def _measured(ms, batches, switch_ms=0.0, two_threads=None):
    tables = [ms] if two_threads is None else [ms, two_threads]
    threads = list(range(1, len(tables) + 1))
    switch = [switch_ms] * len(tables)
    return {"threads": threads, "batches": batches, "ms": tables, "switch_ms": switch}


def test_the_way_follows_the_batch():
    measured = _measured([[1, 2, 2], [2, 1.9, 1], [4, 1.1, 1]], [1, 16, 64])
    assert plans.chosen(measured) == {0: 0, 4: 2}


def test_three_ways_are_taken_where_two_are_slow():
    measured = _measured([[1, 2, 2], [2, 1, 2], [2, 2, 1]], [1, 4, 16], switch_ms=0.01)
    assert plans.chosen(measured) == {0: 0, 2: 1, 8: 2}


def test_the_timed_ways_are_those_that_are_computed(towers, tmp_path, monkeypatch):
    """A table for a number of threads, with a row a batch and a column a way; all positive."""
    monkeypatch.setattr(clock, "REQUESTS", {1: 2, 8: 1})
    store.packed(towers(split=5), [], Packing(compute="dense"), str(tmp_path), {})
    path = str(tmp_path / asset.NAME)
    compute = clock.measured(path, [[5, 7], [5, 7]], True, rounds=4, threads=(1, 2))
    assert (compute["threads"], compute["batches"]) == ([1, 2], [1, 8])
    assert np.array(compute["ms"]).shape == (2, 2, 3)
    assert (np.array(compute["ms"]) > 0).all()
    assert np.array(compute["switch_ms"]).shape == (2,)
    assert min(compute["switch_ms"]) >= 0


def test_tasks_with_inputs_of_their_own_are_timed_with_them(towers, tmp_path, monkeypatch):
    monkeypatch.setattr(clock, "REQUESTS", {2: 1})
    store.packed(towers(common=False), [], Packing(compute="dense"), str(tmp_path), {})
    path = str(tmp_path / asset.NAME)
    compute = clock.measured(path, [[12], [12]], False, rounds=1, threads=(1,))
    assert np.array(compute["ms"]).shape == (1, 1, 3)


def test_the_choice_is_noted_with_what_it_was_made_of(towers, tmp_path):
    store.packed(towers(split=5), [], Packing(), str(tmp_path), {"tasks": ["a", "b"]})
    notes = asset.read((tmp_path / asset.NAME).read_bytes()).notes
    compute = notes["compute"]
    assert notes["tasks"] == ["a", "b"]
    shape = (len(clock.THREADS), len(clock.REQUESTS), 3)
    assert np.array(compute["ms"]).shape == shape
    assert compute["sparse_layers_from_batch"] == [
        list(each) for each in sorted(plans.chosen(compute).items())
    ]


@pytest.fixture
def earlier(tmp_path, monkeypatch):
    """Timings of towers(split=5), and from then on no clock."""

    def none(*_, **__):
        raise FileNotFoundError("no clock here")

    def time(made):
        store.packed(made, [], Packing(), str(tmp_path), {})
        monkeypatch.setattr(plans.subprocess, "run", none)
        return asset.read((tmp_path / asset.NAME).read_bytes()).notes["compute"]

    return time


def test_timings_of_an_earlier_model_are_taken_for_its_tickets(towers, tmp_path, earlier):
    known = earlier(towers(split=5))
    made = towers(split=5)
    for layer in made[0]:
        layer.kernel[:] *= 2
    store.packed(made, [], Packing(known=known), str(tmp_path), {"tasks": ["a", "b"]})
    assert asset.read((tmp_path / asset.NAME).read_bytes()).notes["compute"] == known


@pytest.mark.parametrize(
    ("other", "how"),
    [
        ({"keep": 0.2}, {}),
        ({"split": 4}, {}),
        ({"common": False}, {}),
        ({}, {"weights": "bf16"}),
    ],
)
def test_other_tickets_or_weights_are_timed_anew(towers, tmp_path, earlier, other, how):
    known = earlier(towers(split=5))
    with pytest.raises(FileNotFoundError, match="no clock here"):
        store.packed(
            towers(**{"split": 5, **other}), [], Packing(known=known, **how), str(tmp_path), {}
        )


def test_another_processor_is_timed_anew(towers, tmp_path, earlier, monkeypatch):
    known = earlier(towers(split=5))
    monkeypatch.setattr(plans, "_processor", lambda: "another")
    with pytest.raises(FileNotFoundError, match="no clock here"):
        store.packed(towers(split=5), [], Packing(known=known), str(tmp_path), {})


def test_a_clock_that_fails_says_why(tmp_path, towers):
    layout = asset.pack(towers(), [], "f32", "f32", {})[1]
    with pytest.raises(RuntimeError, match=r"compute=dense does without(.|\n)*FileNotFoundError"):
        plans.timings(str(tmp_path / "none"), layout, [[12]], True)


def test_one_layer_has_two_ways():
    assert plans.chosen(_measured([[1, 2], [2, 1], [2, 1]], [1, 4, 16], 0.01)) == {0: 0, 2: 1}


def test_one_way_is_taken_where_it_is_hardly_slower_than_the_best():
    """Way 1 costs ln(1.005) / 2 = .0025 more than a switch to 2 would save: less than .01."""
    measured = _measured([[1.5, 1.0, 2.0], [1.5, 1.005, 1.0]], [1, 16])
    assert plans.chosen(measured) == {0: 1}


def test_a_switch_must_save_more_than_it_costs():
    """Way 1 alone takes 1.2 times as long as way 0 at batch 1 and 2 / 3 of its time at 16.

    It costs (ln 1.2 + 10 ln(1.2 / 1.03)) / 2 = .855. Both ways with a switch of .1 ms cost
    (ln 1.1 + 10 ln(1.1 / 1.03) + ln 1.05 + 10 ln(1.05 / 1.03)) / 2 = .497, of .2 ms 1.279.
    """
    ms = [[1.0, 1.2], [3.0, 2.0]]
    assert plans.chosen(_measured(ms, [1, 16], switch_ms=0.1)) == {0: 0, 4: 1}
    assert plans.chosen(_measured(ms, [1, 16], switch_ms=0.2)) == {0: 1}


def test_a_way_between_must_not_lose_to_all_sparse_or_all_dense():
    """Way 1 is the fastest on average, and at batch 16 a tenth slower than all sparse."""
    ms = [[2.0, 0.7, 1.0], [2.0, 1.1, 1.0]]
    assert plans.chosen(_measured(ms, [1, 16], switch_ms=0.5)) == {0: 2}


def test_all_numbers_of_threads_count():
    """All dense wins with one thread and loses as much with two, at one of the batches more."""
    one, two = [[1.0, 1.1], [1.0, 1.0]], [[1.1, 1.0], [1.1, 1.0]]
    assert plans.chosen(_measured(one, [1, 16], 1.0)) == {0: 0}
    assert plans.chosen(_measured(one, [1, 16], 1.0, two)) == {0: 1}
