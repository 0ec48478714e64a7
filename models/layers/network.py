"""The model: interests x interactions x sharing x heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf
import tensorflow_recommenders as tfrs

from ncs4cvr.models.layers import losses
from ncs4cvr.models.layers.dense import MaskedMLP
from ncs4cvr.models.layers.experts import MultiGateExperts, ProgressiveExperts
from ncs4cvr.models.layers.sharing import ConnectionSharing, SharedBottom, Sharing, SingleTask
from ncs4cvr.models.layers.towers import (
    AdaptiveTransfer,
    CrossStitch,
    EntireSpace,
    SubNetworkRouting,
)
from ncs4cvr.models.layers.trunk import Trunk
from ncs4cvr.models.together.workers import Workers
from ncs4cvr.schemas.recipe import Recipe

SHARINGS: dict[str, type[Sharing]] = {
    "single_task": SingleTask,
    "shared_bottom": SharedBottom,
    "cross_stitch": CrossStitch,
    "esmm": EntireSpace,
    "mmoe": MultiGateExperts,
    "ple": ProgressiveExperts,
    "aitm": AdaptiveTransfer,
    "snr": SubNetworkRouting,
    "ncs4cvr": ConnectionSharing,
}


class Network(tfrs.models.Model):
    """A multi-task ranking model: one probability per task of the recipe.

    Args:
      recipe: what to build.
      sizes: ids per vocabulary, padding included.
      workers: among whom distribution='sharded' cuts the embedding tables.

    Raises:
      ValueError: the sharing needs a task that is given another's label, and there is none.
    """

    def __init__(self, recipe: Recipe, sizes: Mapping[str, int], workers: Workers | None = None):
        super().__init__()
        self.recipe = recipe
        self.sharing = _sharing(recipe)
        self.parents = parents(recipe, self.sharing.sample_space)
        self.label_share = 0.0  # of losses where a batch has soft labels; set before training
        trunks = len(recipe.tasks) if self.sharing.separate_inputs else 1
        owners = workers if recipe.distribution == "sharded" else None
        self.trunks = [Trunk(recipe, sizes, f"trunk_{i}", owners) for i in range(trunks)]
        self.towers = [
            MaskedMLP(recipe.tower, 0, recipe.dropout, name=f"tower_{t.name}") for t in recipe.tasks
        ]
        self.heads = [tf.keras.layers.Dense(1, name=f"head_{t.name}") for t in recipe.tasks]

    def logits(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> list[tf.Tensor]:
        """One logit [batch] per task."""
        xs = [trunk(inputs, training=training) for trunk in self.trunks]
        if not self.sharing.separate_inputs:
            xs *= len(self.heads)
        return self.task_logits(self.sharing(xs, training=training), training)

    def task_logits(self, hidden: Sequence[tf.Tensor], training: bool = False) -> list[tf.Tensor]:
        """What the tasks' own layers make of one representation a task: [batch] each."""
        layers = zip(self.towers, self.heads, hidden, strict=True)
        return [tf.squeeze(head(tower(h, training=training)), -1) for tower, head, h in layers]

    def probabilities(self, logits: Sequence[tf.Tensor]) -> dict[str, tf.Tensor]:
        """{task: [batch]}; a post-click task's is given the click, whatever its sample space."""
        out = {t.name: tf.sigmoid(z) for t, z in zip(self.recipe.tasks, logits, strict=True)}
        if self.sharing.sample_space == "marginal":
            marginal = list(out.values())
            for t, parent in self.parents.items():
                ratio = tf.math.divide_no_nan(marginal[t], marginal[parent])
                out[self.recipe.tasks[t].name] = tf.minimum(ratio, 1.0)
        return out

    def call(self, inputs: Mapping[str, tf.Tensor], training: bool = False):
        """Transformed features -> {task: probability [batch]}."""
        return self.probabilities(self.logits(inputs, training))

    def row_counts(self, inputs: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Rows of a batch, and rows of each task's own: [1 + tasks]."""
        rows = tf.cast(tf.shape(next(iter(inputs.values())))[0], tf.float32)
        tasks = self.recipe.tasks
        own = [tf.reduce_sum(_column(inputs, t.given)) if t.given else rows for t in tasks]
        return tf.stack([rows, *own])

    def task_losses(
        self, inputs: Mapping[str, tf.Tensor], training: bool, counts: tf.Tensor | None = None
    ) -> list[tf.Tensor]:
        """One weighted loss per task, each averaged over the task's own rows.

        Where the batch has soft labels: a L + (1 - a) S with a = `label_share`, L that loss and S
        the cross-entropy against the soft labels, averaged over all rows.

        Args:
          inputs: transformed features and labels.
          training: whether dropout is on.
          counts: `row_counts` of the whole batch where these rows are a part of it: then these
            losses are parts of the batch's, too.
        """
        counts = self.row_counts(inputs) if counts is None else counts
        logits = self.logits(inputs, training)
        learned = []
        for t, (task, logit) in enumerate(zip(self.recipe.tasks, logits, strict=True)):
            parent = self._reached(logits, self.parents[t]) if t in self.parents else None
            share = self.label_share if losses.soft(task.name) in inputs else 1.0
            parts = []
            if share > 0:
                parts.append(share * self._loss(t, inputs, logit, parent, counts))
            if share < 1:
                soft = losses.bce(self._soft(t, inputs), logit)
                parts.append((1 - share) * losses.mean(soft, counts[0]))
            learned.append(task.weight * tf.add_n(parts))
        return learned

    def _reached(self, logits: Sequence[tf.Tensor], t: int) -> tf.Tensor:
        """The logit of a task's label and of all that lies before it, not given anything."""
        if t not in self.parents or self.sharing.sample_space != "product":
            return logits[t]
        return losses.product_logit(self._reached(logits, self.parents[t]), logits[t])

    def _loss(
        self, t: int, inputs, logit: tf.Tensor, parent: tf.Tensor | None, counts: tf.Tensor
    ) -> tf.Tensor:
        task, of_rows = self.recipe.tasks[t], losses.LOSSES[self.recipe.tasks[t].loss]
        label, given = _column(inputs, task.label), tf.ones_like(logit)
        if task.given:
            given = _column(inputs, task.given)
        if parent is None:
            return losses.mean(given * of_rows(label, logit), counts[1 + t])
        label *= given
        if self.sharing.sample_space == "product":
            rows = of_rows(label, losses.product_logit(parent, logit))
        else:
            rows = of_rows(label, logit) + losses.above(logit, parent)
        return losses.mean(rows, counts[0])

    def _soft(self, t: int, inputs) -> tf.Tensor:
        """A task's soft label, in the sample space of its logit."""
        own = _column(inputs, losses.soft(self.recipe.tasks[t].name))
        if t not in self.parents or self.sharing.sample_space != "marginal":
            return own
        return own * self._soft(self.parents[t], inputs)

    def compute_loss(self, inputs, training: bool = False) -> tf.Tensor:
        """Sum of the tasks' losses."""
        return tf.add_n(self.task_losses(inputs, training))


def _column(inputs: Mapping[str, tf.Tensor], name: str) -> tf.Tensor:
    return tf.reshape(tf.cast(inputs[name], tf.float32), [-1])


def _sharing(recipe: Recipe) -> Sharing:
    kind = SHARINGS[recipe.sharing]
    options = {"experts": recipe.experts} if kind.has_experts else {}
    return kind(len(recipe.tasks), recipe.hidden, recipe.dropout, **options)


def parents(recipe: Recipe, sample_space: str) -> dict[int, int]:
    """Post-click task -> the task whose label it is given, where the sample space joins them.

    Raises:
      ValueError: the sample space is the product, and no task is given another's label.
    """
    if sample_space == "own":
        return {}
    by_label = {task.label: t for t, task in enumerate(recipe.tasks)}
    found = {t: by_label[k.given] for t, k in enumerate(recipe.tasks) if k.given in by_label}
    if not found and sample_space == "product":
        raise ValueError(
            f"sharing {recipe.sharing!r} learns pCTCVR = pCTR * pCVR: it needs a task whose "
            "`given` is another task's label; use another sharing"
        )
    return found
