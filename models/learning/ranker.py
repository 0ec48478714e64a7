"""How the model learns: joint steps, or a task's in turn, alone or with others."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from ncs4cvr.models.layers.network import Network
from ncs4cvr.models.layers.sharing import Connections
from ncs4cvr.models.learning.optimizer import LazyAdam
from ncs4cvr.models.learning.steps import several
from ncs4cvr.models.together import exchange, parts
from ncs4cvr.models.together.shards import ShardedTable
from ncs4cvr.models.together.workers import Workers, alone
from ncs4cvr.schemas.recipe import Recipe


class Ranker(Network):
    """A network with its training steps.

    Args:
      recipe, sizes: see Network.
      workers: who train it together, in the scope of whose strategy it is made; this process alone
        if not given.
    """

    def __init__(self, recipe: Recipe, sizes: Mapping[str, int], workers: Workers | None = None):
        super().__init__(recipe, sizes, workers)
        self.workers = (workers or alone()).count
        # Traced once a model, not once an epoch.
        traced = functools.partial(tf.function, reduce_retracing=True, autograph=False)
        self.compiled_step = traced(self.train_step)
        self.compiled_steps = traced(functools.partial(several, self))
        self.compiled_call = traced(lambda inputs: self(inputs))
        self.compiled_answers = traced(self.answers)

    def needs(
        self, inputs: Mapping[str, tf.Tensor], step: int | tf.Tensor = 0
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """What all workers must know of this worker's batch.

        Args:
          inputs: the batch.
          step: of the batch in a call.

        Returns:
          `row_counts`, and of every embedding table `exchange.occurring`.
        """
        counts = self.row_counts(inputs)
        if self.distribute_strategy.num_replicas_in_sync == 1:
            return counts, []
        ids = [(trunk.ids(inputs), trunk.embedding.layout) for trunk in self.trunks]
        return counts, [exchange.occurring(*each, step) for each in ids]

    def plan(self, counts: tf.Tensor, rows: Sequence[tf.Tensor]) -> parts.Agreed:
        """What all workers know of the batches of a call before they learn from the first.

        Args:
          counts: of `needs` of all the batches: [steps, ...].
          rows: likewise, of one batch after the other.
        """
        strategy = self.distribute_strategy
        if strategy.num_replicas_in_sync == 1:
            return parts.Agreed(counts, {}, {})
        embeddings = [trunk.embedding for trunk in self.trunks]
        layouts = [each.layout for each in embeddings]
        counts, told = exchange.agreed(strategy, counts, rows, layouts, self.workers)
        tables = {
            each.table.ref(): parts.Codes(*codes, each.table, each.layout)
            for each, codes in zip(embeddings, told, strict=True)
        }
        tasks = range(len(self.recipe.tasks))
        kept = _union([c for t in tasks for c in self.sharing.connections(t)])
        kernels = {kernel.ref(): parts.of_ticket(mask) for kernel, mask in kept}
        return parts.Agreed(counts, tables, kernels)

    def agree(self, inputs: Mapping[str, tf.Tensor]) -> parts.Step:
        """What all workers know of this batch alone."""
        counts, rows = self.needs(inputs)
        return self.plan(counts[None], rows).step(0)

    @property
    def sharded(self) -> list[ShardedTable]:
        """The embedding tables that are cut among the workers."""
        tables = [trunk.embedding.table for trunk in self.trunks]
        return [table for table in tables if isinstance(table, ShardedTable)]

    @property
    def optimizer_state(self) -> list[tf.Variable]:
        """What the optimizer has learned, and its rate; of tables that are cut, this worker's."""
        own = [moment.own for table in self.sharded for moment in table.moments]
        return [*self.optimizer.variables, *own]

    def answers(self, inputs: Mapping[str, tf.Tensor]) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """`call` where tables are cut among workers: all must call it as often.

        Returns:
          The answers to this worker's rows; and how many rows all workers had.
        """
        step, strategy = self.agree(inputs), self.distribute_strategy

        def answer(fetched):
            with self._showing(fetched, step):
                return self(inputs)

        answers = strategy.run(answer, (exchange.fetched(strategy, self.sharded, step),))
        local = strategy.experimental_local_results
        return {name: local(values)[0] for name, values in answers.items()}, step.counts[0]

    @contextlib.contextmanager
    def _showing(self, fetched: Sequence[tf.Tensor], step: parts.Step):
        """Within, look-ups in tables that are cut among workers find what was fetched."""
        with contextlib.ExitStack() as stack:
            for table, rows in zip(self.sharded, fetched, strict=True):
                places_of = step.owned(table).rows.places_of
                lookup = lambda ids, rows=rows, of=places_of: tf.gather(rows, of(ids))  # noqa: E731
                stack.enter_context(table.showing(lookup))
            yield

    def train_step(self, inputs, step: parts.Step | None = None):
        """One joint step of all tasks, or one step a task in turn (`alternating`).

        Args:
          inputs: this worker's rows of the batch.
          step: what all workers know of the batch; they tell each other if not given.

        Returns:
          `loss`, {task}_loss.
        """
        step = step or self.agree(inputs)
        tasks = range(len(self.recipe.tasks))
        if self.recipe.schedule == "joint":
            losses_ = self._step(inputs, tasks, step)
        else:
            losses_ = [loss for t in tasks for loss in self._step(inputs, [t], step)]
        names = [f"{t.name}_loss" for t in self.recipe.tasks]
        return {"loss": tf.add_n(losses_), **dict(zip(names, losses_, strict=True))}

    def _step(self, inputs, tasks: Sequence[int], step: parts.Step) -> list[tf.Tensor]:
        """The tasks' losses."""
        strategy, variables = self.distribute_strategy, self.trainable_variables
        with self._only_tickets_move(tasks):
            on_device = functools.partial(self._gradients, tasks=tasks, step=step)
            fetched = exchange.fetched(strategy, self.sharded, step)
            gradients, losses_ = strategy.run(on_device, (inputs, fetched))
            own = [(g, v) for g, v in zip(gradients, variables, strict=True) if g is not None]
            kinds = [step.parts.get(v.ref()) for _, v in own] + [None] * len(losses_)
            summed = exchange.summed(strategy, [*(g for g, _ in own), *losses_], kinds)
            moved = functools.partial(self._apply, [v for _, v in own])
            strategy.run(moved, summed[: len(own)])
        return [strategy.experimental_local_results(each)[0] for each in summed[len(own) :]]

    def _penalty(self) -> list[tf.Tensor]:
        """What the sharing itself costs (SNR's open connections), this device's part of it."""
        devices = self.distribute_strategy.num_replicas_in_sync
        return [self.recipe.snr_penalty / devices * loss for loss in self.sharing.losses]

    def _gradients(self, inputs, fetched, tasks: Sequence[int], step: parts.Step):
        """This device's part of the gradients, None of what has none; and of the losses."""
        rows = exchange.own_rows(inputs, self.workers)
        with tf.GradientTape() as tape, self._showing(fetched, step):
            tape.watch(fetched)
            every = self.task_losses(rows, True, step.counts)
            chosen = [every[t] for t in tasks]
            total = tf.add_n(chosen + self._penalty())
        refs = [table.ref() for table in self.sharded]
        instead = dict(zip(refs, fetched, strict=True))
        moved = [instead.get(v.ref(), v) for v in self.trainable_variables]
        return tape.gradient(total, moved), chosen

    def _apply(self, variables: Sequence[Any], *gradients) -> None:
        whole = []
        for gradient, variable in zip(gradients, variables, strict=True):
            if isinstance(variable, ShardedTable):
                moments = (moment.own for moment in variable.moments)
                self.optimizer.move_rows(gradient, variable.own, *moments)
            else:
                whole.append((gradient, variable))
        self.optimizer.apply_gradients(whole, skip_gradients_aggregation=True)

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

    def __init__(self, connections: Connections):
        self.kept = _union(connections)

    def __enter__(self):
        self.before = [tf.identity(kernel) for kernel, _ in self.kept]

    def __exit__(self, *error):
        for (kernel, mask), before in zip(self.kept, self.before, strict=True):
            kernel.assign(tf.where(mask > 0, kernel, before))


def _union(connections: Connections) -> list[tuple[tf.Variable, tf.Tensor]]:
    """Every kernel once, with the union of its masks."""
    kernels: dict = {}
    for kernel, mask in connections:
        _, before = kernels.get(kernel.ref(), (kernel, None))
        kernels[kernel.ref()] = (kernel, mask if before is None else tf.maximum(before, mask))
    return list(kernels.values())


def compiled(recipe: Recipe, sizes: Mapping[str, int], workers: Workers | None = None) -> Ranker:
    """A ranker with its optimizer, ready to fit."""
    model = Ranker(recipe, sizes, workers)
    model.compile(optimizer=LazyAdam(recipe.learning_rate))
    return model
