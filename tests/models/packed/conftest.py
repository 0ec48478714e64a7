"""Two tasks' towers of a few hundred connections, with tickets that overlap."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from ncs4cvr.models.packed.asset import Layer

SIZES = (12, 7, 5)


@pytest.fixture
def towers() -> Callable[..., list[list[Layer]]]:
    """Makes them: kept share, rows that a request has once, sizes, tasks, kernels in common,
    outputs that are kept together."""

    def make(keep=0.3, split=0, sizes=SIZES, tasks=2, common=True, block=1):
        rng = np.random.default_rng(5)
        shapes = list(itertools.pairwise(sizes))

        def weights():
            return [
                (rng.normal(size=s).astype("f4"), rng.normal(size=s[1]).astype("f4"))
                for s in shapes
            ]

        def ticket(shape):
            return np.repeat(rng.random((shape[0], shape[1] // block)) < keep, block, axis=1)

        shared = weights()
        made = []
        for _ in range(tasks):
            mine = shared if common else weights()
            made.append(
                [Layer(k, ticket(k.shape), b, 0 if at else split) for at, (k, b) in enumerate(mine)]
            )
        return made

    return make


@pytest.fixture
def forward() -> Callable:
    """What a tower computes, in NumPy."""

    def compute(tower, x):
        for layer in tower:
            x = np.maximum(x @ (layer.kernel * layer.mask) + layer.bias, 0)
        return x

    return compute
