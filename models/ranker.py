"""The model: interests x interactions x sharing x heads."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence

import tensorflow as tf
import tensorflow_recommenders as tfrs

from ncs4cvr.models import exchange, losses
from ncs4cvr.models.dense import MaskedMLP
from ncs4cvr.models.experts import MultiGateExperts, ProgressiveExperts
from ncs4cvr.models.optimizer import LazyAdam
from ncs4cvr.models.sharing import ConnectionSharing, SharedBottom, Sharing, SingleTask
from ncs4cvr.models.steps import several
from ncs4cvr.models.towers import AdaptiveTransfer, CrossStitch, EntireSpace, SubNetworkRouting
from ncs4cvr.models.trunk import Trunk
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


class Ranker(tfrs.models.Model):
    """A multi-task ranking model: one probability per task of the recipe.

    Args:
      recipe: what to build.
      sizes: ids per vocabulary, padding included.
      workers: processes that train it together, under the strategy in whose scope it is made.

    Raises:
      ValueError: the sharing needs a task that is given another's label, and there is none.
    """

    def __init__(self, recipe: Recipe, sizes: Mapping[str, int], workers: int = 1):
        super().__init__()
        self.recipe, self.workers = recipe, workers
        self.sharing = _sharing(recipe)
        self.parents = parents(recipe, self.sharing.sample_space)
        trunks = len(recipe.tasks) if self.sharing.separate_inputs else 1
        self.trunks = [Trunk(recipe, sizes, f"trunk_{i}") for i in range(trunks)]
        self.towers = [
            MaskedMLP(recipe.tower, 0, recipe.dropout, name=f"tower_{t.name}") for t in recipe.tasks
        ]
        self.heads = [tf.keras.layers.Dense(1, name=f"head_{t.name}") for t in recipe.tasks]
        # Traced once a model, not once an epoch.
        traced = functools.partial(tf.function, reduce_retracing=True, autograph=False)
        self.compiled_step = traced(self.train_step)
        self.compiled_steps = traced(functools.partial(several, self))
        self.compiled_call = traced(lambda inputs: self(inputs))

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
            parent = logits[self.parents[t]] if t in self.parents else None
            learned.append(task.weight * self._loss(t, inputs, logit, parent, counts))
        return learned

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

    def compute_loss(self, inputs, training: bool = False) -> tf.Tensor:
        """Sum of the tasks' losses."""
        return tf.add_n(self.task_losses(inputs, training))

    def _penalty(self) -> list[tf.Tensor]:
        """What the sharing itself costs (SNR's open connections), this device's part of it."""
        devices = self.distribute_strategy.num_replicas_in_sync
        return [self.recipe.snr_penalty / devices * loss for loss in self.sharing.losses]

    def everywhere(self, counts: tf.Tensor) -> tf.Tensor:
        """The sum over all workers of what each counted in its rows."""
        strategy = self.distribute_strategy
        if self.workers == 1:
            return counts
        total = exchange.summed(strategy, strategy.run(lambda mine: [self._part(mine)], (counts,)))
        return strategy.experimental_local_results(total[0])[0]

    def _part(self, counts: tf.Tensor) -> tf.Tensor:
        """What a device brings of its worker's counts, since all devices of a worker do."""
        return counts * (self.workers / self.distribute_strategy.num_replicas_in_sync)

    def train_step(
        self, inputs, counts: tf.Tensor | None = None, following: tf.Tensor | None = None
    ):
        """One joint step of all tasks, or one step a task in turn (`alternating`).

        Args:
          inputs: this worker's rows of the batch.
          counts: `row_counts` of the whole batch, of all workers; counted if not given.
          following: `row_counts` of this worker's next batch.

        Returns:
          `loss`, {task}_loss, and `following` summed over all workers: what they tell each other in
          the step anyway has room for it.
        """
        if counts is None:
            counts = self.everywhere(self.row_counts(inputs))
        tasks = range(len(self.recipe.tasks))
        if self.recipe.schedule == "joint":
            *losses_, following = self._step(inputs, tasks, counts, following)
        else:
            steps = [self._step(inputs, [t], counts, following) for t in tasks]
            losses_, following = [loss for loss, _ in steps], steps[-1][1]
        names = [f"{t.name}_loss" for t in self.recipe.tasks]
        told = {"loss": tf.add_n(losses_), "following": following}
        return {**told, **dict(zip(names, losses_, strict=True))}

    def _step(
        self, inputs, tasks: Sequence[int], counts: tf.Tensor, following: tf.Tensor | None = None
    ) -> list[tf.Tensor]:
        """The tasks' losses and the sum of `following`."""
        following = tf.zeros_like(counts) if following is None else following
        strategy, variables = self.distribute_strategy, self.trainable_variables
        with self._only_tickets_move(tasks):
            on_device = functools.partial(self._gradients, tasks=tasks)
            gradients, told = strategy.run(on_device, (inputs, counts, following))
            own = [g for g in gradients if g is not None]
            moved = [v for g, v in zip(gradients, variables, strict=True) if g is not None]
            summed = exchange.summed(strategy, [*own, *told])
            strategy.run(functools.partial(self._apply, moved), summed[: len(own)])
        return [strategy.experimental_local_results(each)[0] for each in summed[len(own) :]]

    def _gradients(self, inputs, counts: tf.Tensor, following: tf.Tensor, tasks: Sequence[int]):
        """This device's part of the gradients, None of what has none; of losses and `following`."""
        rows = exchange.own_rows(inputs, self.workers)
        with tf.GradientTape() as tape:
            every = self.task_losses(rows, True, counts)
            chosen = [every[t] for t in tasks]
            total = tf.add_n(chosen + self._penalty())
        return tape.gradient(total, self.trainable_variables), [*chosen, self._part(following)]

    def _apply(self, variables: Sequence[tf.Variable], *gradients) -> None:
        pairs = zip(gradients, variables, strict=True)
        self.optimizer.apply_gradients(pairs, skip_gradients_aggregation=True)

    def _only_tickets_move(self, tasks: Sequence[int]):
        # In joint steps the gradient outside the union of the tickets is 0 at every step, so that
        # moments that begin at 0 stay there and Adam moves nothing: holding would cost 2 % of a
        # step for no effect.
        if self.recipe.schedule == "joint":
            return contextlib.nullcontext()
        return _Frozen([c for t in tasks for c in self.sharing.connections(t)])


class _Frozen:
    """Holds every connection outside all given masks at its value, whatever the optimizer does.

    The gradient is masked by the chain rule, but leftover momentum of another task's step is not.
    """

    def __init__(self, connections):
        self.kernels: dict = {}
        for kernel, mask in connections:
            held = self.kernels.setdefault(kernel.ref(), [kernel, None])
            held[1] = mask if held[1] is None else tf.maximum(held[1], mask)

    def __enter__(self):
        self.before = [tf.identity(kernel) for kernel, _ in self.kernels.values()]

    def __exit__(self, *error):
        for (kernel, mask), before in zip(self.kernels.values(), self.before, strict=True):
            kernel.assign(tf.where(mask > 0, kernel, before))


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


def compiled(recipe: Recipe, sizes: Mapping[str, int], workers: int = 1) -> Ranker:
    """A ranker with its optimizer, ready to fit."""
    model = Ranker(recipe, sizes, workers)
    model.compile(optimizer=LazyAdam(recipe.learning_rate))
    return model
