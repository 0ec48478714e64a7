import functools

import numpy as np
import pytest

from ncs4cvr.models.analyzers import CELLS, Counting, boundaries, codes_of, moments, values_of


def quantiles(buckets, cells=CELLS):
    return Counting(functools.partial(boundaries, buckets=buckets), cells)


def combined(combine, parts, groups=1):
    """Parts handed to `groups` workers in turn, their accumulators merged."""
    workers = [combine.create_accumulator() for _ in range(groups)]
    for n, part in enumerate(parts):
        workers[n % groups] = combine.add_input(workers[n % groups], (part,))
    done = [combine.compact(worker) for worker in workers]
    return combine.extract_output(combine.merge_accumulators(done))


def cut(values, seed):
    """The values in another order, in pieces of other sizes, some of them empty."""
    dice = np.random.default_rng(seed)
    shuffled = dice.permutation(values)
    return np.split(shuffled, np.sort(dice.integers(0, len(values), 17)))


@pytest.fixture(scope="module")
def values():
    dice = np.random.default_rng(1)
    return np.concatenate([dice.lognormal(0, 9, 20_000), dice.normal(0, 1e-3, 20_000)]).astype("f4")


@pytest.mark.parametrize("cells", [64, 1000, 1 << 16])
def test_boundaries_do_not_depend_on_order_or_cut(values, cells):
    combine = quantiles(20, cells)
    expected = combined(combine, [values])
    for seed in range(5):
        found = combined(combine, cut(values, seed), groups=1 + seed)
        assert found.tobytes() == expected.tobytes()


def test_few_distinct_values_have_exact_quantiles():
    ranks = np.arange(100, dtype="f4")
    assert combined(quantiles(4), cut(np.repeat(ranks, 7), 0)).tolist() == [25, 50, 75]


def test_with_too_many_distinct_values_a_boundary_keeps_the_leading_bits_that_fit():
    # From 2^k to 2^(k + 1) lie 2^k whole numbers, or 2^b with b bits behind the first. For all k
    # below 16 these are 511 + 7 * 512 cells with b = 9, which fit, but 1023 + 6 * 1024 with b = 10.
    numbers = np.arange(1, 1 << 16, dtype="f4")
    exact, rough = (combined(quantiles(20, cells), [numbers]) for cells in (1 << 16, 4096))
    assert exact.tolist() == [1 + part * 65_535 // 20 for part in range(1, 20)]
    step = 2.0 ** (np.floor(np.log2(exact)) - 9)
    assert rough.tolist() == (exact // step * step).tolist()


def test_with_too_many_distinct_values_infinity_stays_what_it_is():
    numbers = np.concatenate([np.full(50, -np.inf), np.arange(50), np.full(50, np.inf)])
    rough = combined(quantiles(3, 16), [numbers.astype("f4")])
    assert rough.tolist() == [0, np.inf]
    assert combined(quantiles(30, 16), [numbers.astype("f4")])[0] == -np.inf


def test_a_column_without_values_has_boundaries_all_the_same():
    nothing = np.array([], "f4")
    assert combined(quantiles(4), [nothing, np.array([np.nan], "f4")]).tolist() == [0, 0, 0]
    assert combined(Counting(moments), [nothing]).tolist() == [0, 0]


def test_codes_have_the_order_of_the_values():
    ordered = np.array([-np.inf, -3e38, -1, -1e-45, 0, 1e-45, 1, 3e38, np.inf], "f4")
    assert (np.diff(codes_of(ordered).astype(np.int64)) > 0).all()
    assert values_of(codes_of(ordered)).tobytes() == ordered.tobytes()


def test_few_distinct_values_have_the_mean_and_deviation_of_all_their_rows(values):
    some = np.repeat(values[:1000], 3)
    exact = some.astype(np.float64)
    found = combined(Counting(moments), cut(some, 0))
    assert found == pytest.approx([exact.mean(), exact.std()], rel=1e-6)


def test_moments_do_not_depend_on_order_or_cut(values):
    expected = combined(Counting(moments), [values])
    for seed in range(5):
        assert (
            combined(Counting(moments), cut(values, seed), 1 + seed).tobytes() == expected.tobytes()
        )


def test_what_is_not_finite_is_left_out_of_moments():
    numbers = np.array([1, np.nan, 3, np.inf, -np.inf], "f4")
    assert combined(Counting(moments), [numbers]).tolist() == [2, 1]
