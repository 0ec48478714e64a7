"""Mask arithmetic: densities, nesting, thresholds and overlap."""

import itertools
import math

import numpy as np
import pytest

from ncs4cvr.models import sparsity

SHAPES = [(37, 19), (19, 11), (11, 3)]


def _kernels(seed, scales=(1.0, 1.0, 1.0)):
    rng = np.random.default_rng(seed)
    return [scale * rng.normal(size=shape) for scale, shape in zip(scales, SHAPES, strict=True)]


def _rounds(keep, rounds):
    """Tickets of successive prunings, the kernels trained anew (here: drawn) in between."""
    ticket = sparsity.full_ticket(SHAPES)
    tickets = [ticket]
    for k in range(1, rounds + 1):
        ticket = sparsity.prune_smallest(_kernels(k), ticket, keep ** (k / rounds))
        tickets.append(ticket)
    return tickets


@pytest.mark.parametrize(("keep", "rounds"), [(0.2, 4), (0.05, 7), (0.9, 1), (1.0, 3)])
def test_density_after_each_round_is_exact(keep, rounds):
    size = sum(int(np.prod(shape)) for shape in SHAPES)
    for k, ticket in enumerate(_rounds(keep, rounds)):
        kept = sum(int(mask.sum()) for mask in ticket)
        assert kept == round(size * keep ** (k / rounds))
        assert abs(sparsity.density(ticket) - keep ** (k / rounds)) <= 1 / size


def test_tickets_of_successive_rounds_are_nested():
    tickets = _rounds(0.1, 5)
    for before, after in itertools.pairwise(tickets):
        assert all((a <= b).all() for a, b in zip(after, before, strict=True))


def test_the_threshold_is_global_and_not_per_layer():
    kernels = _kernels(1, scales=(1.0, 1.0, 100.0))
    last = kernels[2].size / sum(kernel.size for kernel in kernels)
    ticket = sparsity.prune_smallest(kernels, sparsity.full_ticket(SHAPES), last)
    assert [mask.mean() > 0.5 for mask in ticket] == [False, False, True]


def test_the_largest_magnitudes_survive_whatever_their_sign():
    ticket = sparsity.prune_smallest(
        [np.array([[3.0, -5.0], [0.5, -0.1]]), np.array([[-4.0], [2.0]])],
        sparsity.full_ticket([(2, 2), (2, 1)]),
        0.5,
    )
    assert [mask.tolist() for mask in ticket] == [
        [[True, True], [False, False]],
        [[True], [False]],
    ]


def test_a_pruned_connection_stays_out_however_large_its_weight():
    ticket = [np.array([[False, True], [True, True]])]
    smaller = sparsity.prune_smallest([np.array([[9.0, 1.0], [2.0, 3.0]])], ticket, 0.5)
    assert smaller[0].tolist() == [[False, False], [True, True]]


def test_ties_go_to_the_earlier_connection_so_that_the_number_is_exact():
    ticket = sparsity.prune_smallest(
        [np.ones((2, 2)), np.ones((2, 2))], sparsity.full_ticket([(2, 2), (2, 2)]), 0.625
    )
    assert sparsity.flatten(ticket).tolist() == [True] * 5 + [False] * 3


def test_surviving_zeros_go_before_dead_connections_come_back():
    ticket = [np.array([[False, True, True]])]
    assert (
        sparsity.prune_smallest([np.zeros((1, 3))], ticket, 2 / 3)[0].tolist() == ticket[0].tolist()
    )


def test_keeping_more_than_survives_is_refused():
    ticket = [np.array([[True, False, False, False]])]
    with pytest.raises(ValueError, match="cannot keep 2 connections of the 1 that survive"):
        sparsity.prune_smallest([np.ones((1, 4))], ticket, 0.5)


def test_pruning_leaves_its_arguments_alone():
    kernels, ticket = _kernels(1), sparsity.full_ticket(SHAPES)
    sparsity.prune_smallest(kernels, ticket, 0.3)
    assert all(mask.all() for mask in ticket)
    assert all((a == b).all() for a, b in zip(kernels, _kernels(1), strict=True))


def test_a_random_ticket_keeps_as_many_connections_in_every_layer():
    ticket = sparsity.prune_smallest(_kernels(1), sparsity.full_ticket(SHAPES), 0.3)
    control = sparsity.random_ticket(ticket, np.random.default_rng(0))
    assert [mask.sum() for mask in control] == [mask.sum() for mask in ticket]
    assert [mask.shape for mask in control] == SHAPES
    assert any((a != b).any() for a, b in zip(control, ticket, strict=True))


def test_overlap_is_intersection_over_union():
    a = [np.array([True, True, False]), np.array([False])]
    b = [np.array([True, False, True]), np.array([False])]
    assert sparsity.overlap([a, b]) == 1 / 3
    assert sparsity.overlap([a, a]) == 1
    assert sparsity.overlap([a, [~mask for mask in a]]) == 0


def test_overlap_of_nothing_with_nothing_is_whole():
    nothing = [np.zeros((2, 2), bool)]
    assert sparsity.overlap([nothing, nothing]) == 1


def test_independent_random_tickets_of_a_fifth_overlap_by_a_ninth():
    ticket = [np.arange(250_000).reshape(500, 500) < 50_000]
    rng = np.random.default_rng(5)
    pair = [sparsity.random_ticket(ticket, rng) for _ in range(2)]
    # .2 * .2 of all connections in both, .2 + .2 - .04 in either
    assert sparsity.overlap(pair) == pytest.approx(0.04 / 0.36, abs=0.003)


def test_unflatten_is_the_inverse_of_flatten():
    kernels = _kernels(4)
    again = sparsity.unflatten(sparsity.flatten(kernels), SHAPES)
    assert [a.shape for a in again] == SHAPES
    assert all((a == b).all() for a, b in zip(again, kernels, strict=True))


def test_pruning_each_layer_keeps_the_same_share_of_every_layer():
    full = sparsity.full_ticket(SHAPES)
    ticket = sparsity.prune_each_layer(_kernels(1, scales=(1.0, 10.0, 100.0)), full, 0.25)
    for mask in ticket:
        assert mask.sum() == round(0.25 * mask.size)


def test_one_layer_is_pruned_alike_by_both_scopes():
    kernel, full = _kernels(1)[:1], sparsity.full_ticket(SHAPES[:1])
    a = sparsity.prune_smallest(kernel, full, 0.3)
    b = sparsity.prune_each_layer(kernel, full, 0.3)
    np.testing.assert_array_equal(a[0], b[0])


def test_moved_is_the_largest_share_of_new_connections():
    old = [[np.array([1, 1, 1, 1, 0, 0, 0, 0], bool)], [np.array([1, 1, 0, 0], bool)]]
    new = [[np.array([1, 1, 1, 0, 1, 0, 0, 0], bool)], [np.array([1, 0, 1, 0], bool)]]
    assert sparsity.moved(old, new) == 0.5  # a quarter for the first task, half for the second
    assert sparsity.moved(old, old) == 0.0


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_blocks_stay_or_go_together_and_layers_keep_as_much_as_single_ones_would(scope):
    rng = np.random.default_rng(7)
    kernels = [rng.normal(size=(20, 64)), 3 * rng.normal(size=(64, 32))]
    ticket = sparsity.full_ticket([k.shape for k in kernels])
    for keep in (0.5, 0.2, 0.05):
        single = sparsity.PRUNERS[scope](kernels, ticket, keep)
        smaller = sparsity.prune_blocks(kernels, ticket, keep, scope, block=32)
        assert all((a <= b).all() for a, b in zip(smaller, ticket, strict=True))
        ticket = smaller
        cut = [mask.reshape(len(mask), -1, 32) for mask in ticket]
        assert all((each == each[:, :, :1]).all() for each in cut)
        blocks = [int(each[:, :, 0].sum()) for each in cut]
        assert blocks == [max(math.ceil(mask.sum() / 32), 1) for mask in single]


@pytest.mark.parametrize("scope", ["global", "layer"])
@pytest.mark.parametrize(("keep", "rounds", "block"), [(0.99, 10, 64), (0.5, 20, 16), (0.2, 4, 32)])
def test_rounds_of_blocks_never_ask_for_more_than_survives(scope, keep, rounds, block):
    rng = np.random.default_rng(3)
    kernels = [rng.normal(size=(100, 64)), rng.normal(size=(64, 64))]
    ticket = sparsity.full_ticket([k.shape for k in kernels])
    for k in range(1, rounds + 1):
        ticket = sparsity.prune_blocks(kernels, ticket, keep ** (k / rounds), scope, block)
    assert keep <= sparsity.density(ticket) <= keep + 2 * block / (164 * 64)


def test_a_few_large_weights_make_a_block_strong():
    """Sixth powers: 2^6 / 16 = 4 a connection, against 1.1^6 = 1.8."""
    loud, even = np.zeros(16), np.full(16, 1.1)
    loud[3] = 2.0
    kernel = np.concatenate([even, loud])[None]
    ticket = sparsity.prune_blocks([kernel], sparsity.full_ticket([(1, 32)]), 0.5, block=16)
    assert ticket[0][0].tolist() == [False] * 16 + [True] * 16


def test_a_layer_keeps_a_block_where_it_would_keep_little():
    kernels = [np.full((4, 32), 0.1), np.full((32, 32), 1.0)]
    full = sparsity.full_ticket([k.shape for k in kernels])
    ticket = sparsity.prune_blocks(kernels, full, 0.5, block=32)
    assert ticket[0].sum() == 32


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_blocks_of_one_are_single_connections(scope):
    kernels, full = _kernels(3, scales=(1.0, 2.0, 3.0)), sparsity.full_ticket(SHAPES)
    blocks = sparsity.prune_blocks(kernels, full, 0.3, scope)
    for a, b in zip(blocks, sparsity.PRUNERS[scope](kernels, full, 0.3), strict=True):
        np.testing.assert_array_equal(a, b)


def _of_blocks(block):
    return np.repeat(np.random.default_rng(2).random((9, 128 // block)) < 0.3, block, axis=1)


@pytest.mark.parametrize("block", [64, 32, 16])
def test_blocks_are_found_in_a_ticket(block):
    assert sparsity.block_of([_of_blocks(block)]) == block
    assert sparsity.block_of([_of_blocks(64), _of_blocks(block)]) == block


def test_a_ticket_of_single_connections_has_no_blocks():
    mask = _of_blocks(64)
    mask[4, 70] ^= True
    assert sparsity.block_of([mask]) == 1
    assert sparsity.block_of([_of_blocks(64)[:, :40]]) == 1


def test_a_random_ticket_of_a_ticket_in_blocks_is_in_blocks():
    mask = _of_blocks(32)
    (drawn,) = sparsity.random_ticket([mask], np.random.default_rng(1))
    assert sparsity.block_of([drawn]) == 32
    assert drawn.sum() == mask.sum()
    assert (drawn != mask).any()
