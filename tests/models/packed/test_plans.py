"""Which way to compute is chosen, and what the times are taken of."""

import numpy as np
import pytest

from ncs4cvr.models.packed import asset, clock, plans, store
from ncs4cvr.models.packed.store import Packing


def test_the_way_follows_the_batch():
    measured = {"batches": [1, 16, 64], "ms": [[1, 2, 2], [2, 1.9, 1], [4, 1.1, 1]]}
    measured["switch_ms"] = 0.0
    assert plans.chosen(measured) == {0: 0, 4: 2}


def test_three_ways_are_taken_where_two_are_slow():
    measured = {"batches": [1, 4, 16], "ms": [[1, 2, 2], [2, 1, 2], [2, 2, 1]]}
    measured["switch_ms"] = 0.01
    assert plans.chosen(measured) == {0: 0, 2: 1, 8: 2}


def test_the_timed_ways_are_those_that_are_computed(towers, tmp_path, monkeypatch):
    """A row a batch and a column a way, all of them positive."""
    monkeypatch.setattr(clock, "REQUESTS", {1: 2, 8: 1})
    store.packed(towers(split=5), [], Packing(compute="dense"), str(tmp_path), {})
    compute = clock.measured(str(tmp_path / asset.NAME), [[5, 7], [5, 7]], True, rounds=4)
    assert compute["batches"] == [1, 8]
    assert np.array(compute["ms"]).shape == (2, 3)
    assert (np.array(compute["ms"]) > 0).all()
    assert compute["switch_ms"] >= 0


def test_tasks_with_inputs_of_their_own_are_timed_with_them(towers, tmp_path, monkeypatch):
    monkeypatch.setattr(clock, "REQUESTS", {2: 1})
    store.packed(towers(common=False), [], Packing(compute="dense"), str(tmp_path), {})
    compute = clock.measured(str(tmp_path / asset.NAME), [[12], [12]], False, rounds=1)
    assert np.array(compute["ms"]).shape == (1, 3)


def test_the_choice_is_noted_with_what_it_was_made_of(towers, tmp_path):
    store.packed(towers(split=5), [], Packing(), str(tmp_path), {"tasks": ["a", "b"]})
    notes = asset.read((tmp_path / asset.NAME).read_bytes()).notes
    compute = notes["compute"]
    assert notes["tasks"] == ["a", "b"]
    assert np.array(compute["ms"]).shape == (len(clock.REQUESTS), 3)
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


def test_one_way_is_taken_where_it_is_hardly_slower_than_the_best():
    measured = {"batches": [1, 16], "ms": [[1.0, 1.02, 2.0], [1.5, 1.0, 0.99]]}
    assert plans.chosen({**measured, "switch_ms": 0.0}) == {0: 1}


def test_a_switch_must_save_more_than_it_costs():
    """The second way alone takes 1.2 and 1 times as long as the fastest: 1.095 on average.

    With a switch of .05 ms both are 1.05 and 1.025 times, 1.037 on average; of .2 ms 1.149.
    """
    measured = {"batches": [1, 16], "ms": [[1.0, 1.2], [3.0, 2.0]]}
    assert plans.chosen({**measured, "switch_ms": 0.05}) == {0: 0, 4: 1}
    assert plans.chosen({**measured, "switch_ms": 0.2}) == {0: 1}


def test_one_batch_does_not_decide():
    """Way 1 is 1.2 times slower at batch 4 alone; a switch would cost as much at the others."""
    measured = {"batches": [1, 4, 16, 64], "ms": [[1.0, 1.0], [1.0, 1.2], [1.5, 1.4], [4.0, 2.8]]}
    assert plans.chosen({**measured, "switch_ms": 0.1}) == {0: 1}
