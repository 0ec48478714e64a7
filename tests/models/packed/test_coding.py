"""Codes lose nothing, and come near the information limit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ncs4cvr.models.packed import coding


@given(st.sets(st.integers(0, 5000)))
def test_positions_come_back(kept):
    positions = np.array(sorted(kept), dtype=np.int64)
    assert coding.positions(coding.gap_codes(positions)).tolist() == positions.tolist()


@pytest.mark.parametrize(
    ("gap", "codes"), [(0, [0]), (254, [254]), (255, [255, 0]), (510, [255, 255, 0])]
)
def test_a_long_gap_takes_escapes(gap, codes):
    assert coding.gap_codes(np.array([gap])).tolist() == codes


@pytest.mark.parametrize("kind", ["f32", "bf16"])
def test_numbers_come_back_from_their_planes_bit_by_bit(kind):
    odd = np.array([0.0, -0.0, np.nan, np.inf, 1e-45, -3.5]).astype(coding.VALUES[kind])
    planes = coding.planes(odd)
    assert planes.shape == (odd.itemsize, 6)
    assert planes.T.tobytes() == odd.tobytes()


def test_int8_rows_are_off_by_half_a_step_at_most():
    table = np.random.default_rng(0).normal(size=(50, 8)).astype("f4")
    table[7] = 0
    integers, scales = coding.rowwise_int8(table)
    assert np.abs(integers).max() == 127
    assert scales[7] == 0
    error = np.abs(integers * scales[:, None] - table)
    assert (error <= scales[:, None] * 0.5 * (1 + 1e-5)).all()


def test_the_limit_of_a_fair_mask_is_one_bit_a_cell_and_its_values():
    mask = np.arange(1600).reshape(40, 40) % 2 == 0
    assert coding.information_limit([mask], 32) == pytest.approx((1600 + 800 * 32) / 8)


def test_a_second_task_with_the_same_ticket_costs_nothing():
    mask = np.random.default_rng(1).random((30, 30)) < 0.2
    alone = coding.information_limit([mask], 32)
    assert coding.information_limit([mask, mask], 32) == pytest.approx(alone)


@pytest.mark.parametrize("keep", [0.5, 0.2, 0.1, 0.02])
def test_gaps_take_at_most_a_tenth_more_than_their_entropy(keep):
    mask = np.random.default_rng(2).random(100_000) < keep
    entropy = coding.information_limit([mask], 0)
    gaps = coding.squeeze(coding.gap_codes(np.flatnonzero(mask)).tobytes())
    assert entropy < len(gaps) < 1.1 * entropy
