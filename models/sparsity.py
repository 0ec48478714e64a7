"""Mask arithmetic of lottery tickets: pure functions on arrays, no Keras.

A ticket is one boolean mask per dense kernel, in the order of the layers. Where a connection may be
pruned and by how much are separate questions; this module answers how:
the globally smallest surviving magnitudes go (multi-task LTH: LT4REC / NCS4CVR, arXiv 2008.09872),
one by one or in blocks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ncs4cvr.schemas.recipe import BLOCKS

Ticket = list[np.ndarray]


def full_ticket(shapes: Sequence[tuple[int, ...]]) -> Ticket:
    """The ticket that keeps every connection."""
    return [np.ones(shape, bool) for shape in shapes]


def prune_smallest(kernels: Sequence[np.ndarray], ticket: Ticket, keep: float) -> Ticket:
    """Keeps `round(keep * size)` connections of all layers together: the largest |kernel|.

    Only survivors of `ticket` are candidates, so tickets of successive rounds are nested. Ties go
    to the earlier connection, so that the number kept is exact.

    Args:
      kernels: one array per layer.
      ticket: one boolean mask per layer.
      keep: share of ALL connections (not of the survivors) to keep, in [0, 1].

    Raises:
      ValueError: `keep` asks for more connections than survive.
    """
    alive = flatten(ticket)
    wanted = round(keep * alive.size)
    if wanted > alive.sum():
        raise ValueError(f"cannot keep {wanted} connections of the {alive.sum()} that survive")
    magnitude = np.where(alive, np.abs(flatten(kernels)), -1.0)
    kept = np.zeros(alive.size, bool)
    if wanted:
        cut = np.partition(magnitude, alive.size - wanted)[alive.size - wanted]
        kept = magnitude > cut
        ties = np.flatnonzero(magnitude == cut)
        kept[ties[: wanted - kept.sum()]] = True
    return unflatten(kept, [mask.shape for mask in ticket])


def prune_each_layer(kernels: Sequence[np.ndarray], ticket: Ticket, keep: float) -> Ticket:
    """As `prune_smallest`, every layer for itself: each keeps the same share of its connections.

    Raises:
      ValueError: `keep` asks for more connections than survive in a layer.
    """
    layers = zip(kernels, ticket, strict=True)
    return [prune_smallest([kernel], [mask], keep)[0] for kernel, mask in layers]


POWER = 6  # of the mean that makes a block's strength
PRUNERS = {"global": prune_smallest, "layer": prune_each_layer}


def prune_blocks(
    kernels: Sequence[np.ndarray],
    ticket: Ticket,
    keep: float,
    scope: str = "global",
    block: int = 1,
) -> Ticket:
    """Prunes blocks of `block` neighbouring outputs of one input, which stay or go together.

    Every layer keeps as many connections as it would if they were pruned one by one, rounded up to
    whole blocks, so that as many survive as the next round may ask for, and at least one block.
    (Strengths of blocks of different layers cannot be compared: an
    average hardly leaves what its layer began with, so a threshold for all takes whole layers.)
    Within a layer the strongest stay; strength = (mean |w|^`POWER`)^(1/`POWER`), which a few large
    weights decide, as they do where connections are pruned one by one.

    Args:
      kernels, ticket, keep: see `prune_smallest`; the ticket is of whole blocks.
      scope: of the threshold for single connections, a key of PRUNERS.
      block: divides the outputs of every layer; 1 prunes one by one.

    Raises:
      ValueError: `keep` asks for more connections than survive.
    """
    single = PRUNERS[scope](kernels, ticket, keep)
    if block == 1:
        return single
    pruned = []
    for kernel, mask, kept in zip(kernels, ticket, single, strict=True):
        strength = np.mean(np.abs(_in_blocks(kernel, block)) ** POWER, axis=2)
        share = max(-(-kept.sum() // block), 1) / strength.size
        pruned += prune_smallest([strength], [mask[:, ::block]], share)
    return [np.repeat(mask, block, axis=1) for mask in pruned]


def block_of(masks: Sequence[np.ndarray]) -> int:
    """The largest of BLOCKS of which every mask is made, or 1."""
    for block in reversed(BLOCKS):
        if all(mask.shape[1] % block == 0 for mask in masks):
            cut = (_in_blocks(mask, block) for mask in masks)
            if all((each == each[:, :, :1]).all() for each in cut):
                return block
    return 1


def _in_blocks(array: np.ndarray, block: int) -> np.ndarray:
    """[inputs, outputs] -> [inputs, blocks, block]."""
    return array.reshape(len(array), -1, block)


def moved(old: Sequence[Ticket], new: Sequence[Ticket]) -> float:
    """The largest share, over the tasks, of a new ticket's connections that the old one lacks.

    The mask distance of early-bird tickets (You et al., ICLR 2020), relative to what is kept, so
    that one bound fits every sparsity: |new & ~old| / |new|.
    """
    pairs = [(flatten(a), flatten(b)) for a, b in zip(old, new, strict=True)]
    return max(float((b & ~a).sum() / max(b.sum(), 1)) for a, b in pairs)


def random_ticket(ticket: Ticket, rng: np.random.Generator) -> Ticket:
    """A random ticket with the same number of connections in every layer: the control.

    Of whole blocks if the ticket is.
    """
    block = block_of(ticket)
    blocks = [mask[:, ::block] for mask in ticket]
    drawn = [rng.permutation(mask.ravel()).reshape(mask.shape) for mask in blocks]
    return [np.repeat(mask, block, axis=1) for mask in drawn]


def density(ticket: Ticket) -> float:
    """Share of connections kept."""
    return float(flatten(ticket).mean())


def overlap(tickets: Sequence[Ticket]) -> float:
    """Mask overlap ratio |intersection| / |union| (Sparse Sharing, arXiv 1911.05034)."""
    flat = np.stack([flatten(ticket) for ticket in tickets])
    union = flat.any(0).sum()
    return float(flat.all(0).sum() / union) if union else 1.0


def flatten(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """All layers' entries as one vector."""
    return np.concatenate([np.ravel(array) for array in arrays])


def unflatten(vector: np.ndarray, shapes: Sequence[tuple[int, ...]]) -> Ticket:
    """The inverse of `flatten`."""
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    parts = np.split(vector, ends[:-1])
    return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
