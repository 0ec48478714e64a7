"""Dense parameters and FLOPs of models, and widths that meet a budget."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from ncs4cvr.models.layers.trunk import Trunk
from ncs4cvr.models.learning.ranker import Ranker
from ncs4cvr.schemas.recipe import Recipe

PRODUCTS = ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
STEP = 4  # widths are multiples of it


def inputs_of(recipe: Recipe, sizes: Mapping[str, int], batch: Mapping[str, tf.Tensor]) -> int:
    """How many inputs the dense layers have."""
    return int(Trunk(recipe, sizes, "measured")(batch).shape[-1])


def count(variables: Sequence[tf.Variable]) -> int:
    """Numbers in all variables."""
    return sum(int(np.prod(v.shape)) for v in variables)


def parts(model: Ranker) -> dict[str, int]:
    """Trainable parameters: those below the dense layers (embeddings) and the dense ones."""
    embedding = count([v for trunk in model.trunks for v in trunk.trainable_variables])
    return {"embedding": embedding, "dense": count(model.trainable_variables) - embedding}


def live(model: Ranker) -> dict[str, int]:
    """Connections that at least one ticket keeps, and those kept summed over tasks."""
    masks = [
        [mask.numpy() > 0 for _, mask in model.sharing.connections(t)]
        for t in range(len(model.recipe.tasks))
    ]
    union = sum(int(np.any(layer, axis=0).sum()) for layer in zip(*masks))
    kept = sum(int(mask.sum()) for task in masks for mask in task)
    every = sum(mask.size for task in masks for mask in task)
    return {"union": union, "kept": kept, "all": every}


def flops(model: Ranker, batch: Mapping[str, tf.Tensor]) -> int:
    """FLOPs of one example's forward pass: 2 m n k for every [m, k] by [k, n] in the graph.

    Only matrix products count, those of the interaction included; lookups, sums and activations do
    not. All tasks are computed.

    Args:
      model: a built ranker.
      batch: any batch of it.
    """
    spec = {n: tf.TensorSpec([1, *x.shape[1:]], x.dtype) for n, x in batch.items()}
    graph = tf.function(lambda x: model(x), autograph=False).get_concrete_function(spec).graph
    total = 0
    for op in graph.get_operations():
        if op.type in PRODUCTS:
            left = op.inputs[0].shape
            turned = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
            total += 2 * op.outputs[0].shape.num_elements() * left[-2 if turned else -1]
    return total


def dense_parameters(recipe: Recipe, inputs: int) -> int:
    """Dense parameters of the recipe's model, built on as many inputs, embeddings left out."""
    return _dense_parameters(
        recipe.replace(seed=1, learning_rate=1e-3, dropout=0.0, control="", hidden=recipe.hidden),
        inputs,
    )


@functools.lru_cache(maxsize=4096)
def _dense_parameters(recipe: Recipe, inputs: int) -> int:
    ids = {f.vocabulary: 2 for f in recipe.features}
    model = Ranker(recipe, ids)
    model.task_logits(model.sharing([tf.zeros([1, inputs])] * len(recipe.tasks)))
    return count([*model.sharing.trainable_variables, *_own(model)])


def _own(model: Ranker) -> list[tf.Variable]:
    return [v for layer in (*model.towers, *model.heads) for v in layer.trainable_variables]


def scaled(recipe: Recipe, shape: Sequence[int], budget: int, inputs: int) -> tuple[int, ...]:
    """Hidden sizes in the proportions of `shape` whose model comes nearest to the budget.

    The search halves an interval of widths; parameters grow with the width. Sizes are multiples of
    STEP, and of the recipe's `ticket_block`.

    Args:
      recipe: the model; its `hidden` does not matter.
      shape: proportions, e.g. (4, 2, 1).
      budget: dense parameters wanted.
      inputs: of the dense layers.
    """

    step = max(STEP, recipe.ticket_block)

    def hidden(width: int) -> tuple[int, ...]:
        return tuple(max(step, round(width * s / shape[0] / step) * step) for s in shape)

    def parameters(width: int) -> int:
        return dense_parameters(recipe.replace(hidden=hidden(width)), inputs)

    low, high = step, 2 * step
    while parameters(high) < budget:
        low, high = high, 2 * high
    while high - low > step:
        middle = (low + high) // 2 // step * step
        low, high = (middle, high) if parameters(middle) < budget else (low, middle)
    return hidden(min((low, high), key=lambda w: abs(parameters(w) - budget)))
