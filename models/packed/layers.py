"""The masked layers of a trained ranker, as packing takes them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ncs4cvr.models.learning.ranker import Ranker
from ncs4cvr.models.packed.asset import Layer


def masked_layers(model: Ranker, split: tuple[list[int], list[int]]) -> list[list[Layer]]:
    """[task][layer] of the sharing's masked layers; [] where it has none.

    Args:
      model: a ranker.
      split: numbers of the fields that a request has once, and of the others: the inputs of the
        first layer come in the order of the interaction's halves.
    """
    once, others = split
    kernels: dict[Any, np.ndarray] = {}  # each once, as tasks may share it
    towers = []
    for task in range(len(model.heads)):
        connections = model.sharing.connections(task)
        if not connections:
            return []
        trunk = model.trunks[task % len(model.trunks)]
        order, first = slice(None), 0
        if once:
            parts = trunk.interaction.order(once, others, trunk.embedding.dim)
            order, first = np.concatenate(parts), len(parts[0])
        tower: list[Layer] = []
        biases = model.sharing.mlp_of(task).biases
        for (kernel, mask), bias in zip(connections, biases, strict=True):
            rows = slice(None) if tower else order
            for v in (kernel, bias):
                if v.ref() not in kernels:
                    kernels[v.ref()] = v.numpy()[rows if v is kernel else slice(None)]
            kept = mask.numpy()[rows] > 0
            split_at = 0 if tower else first
            tower.append(Layer(kernels[kernel.ref()], kept, kernels[bias.ref()], split_at))
        towers.append(tower)
    return towers
