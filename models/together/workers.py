"""Which processes and devices train together: one, all of a machine's, or several machines'."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ncs4cvr.schemas.recipe import Recipe


@dataclass(frozen=True)
class Workers:
    """The processes that train one model, and which of them this is.

    Attributes:
      strategy: TensorFlow's; its scope makes the model's variables.
      index, count: of this process; 0 is the chief, who alone writes.
    """

    strategy: tf.distribute.Strategy
    index: int = 0
    count: int = 1

    @property
    def chief(self) -> bool:
        """Whether this process writes checkpoints, the model and all else."""
        return self.index == 0

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """The rows [n_w, ...] of all workers, one worker's after the other's; all must call it."""
        if self.count == 1:
            return rows
        return self._gathered(tf.constant(rows)).numpy()

    def total(self, number: int) -> int:
        """The sum of a number over the workers; all must call it."""
        return int(self.gather(np.array([number], np.int64)).sum())

    def meet(self) -> None:
        """Waits until all workers are here."""
        self.total(0)

    def part(self, done: Callable[[], bool]) -> None:
        """The end: who is done waits for the chief, so that nobody misses what it still reads.

        Args:
          done: whether the chief has written all that it had to.

        Raises:
          tf.errors.OpError: the chief is gone, and was not done.
        """
        try:
            self.meet()
        except tf.errors.OpError:
            if not done():
                raise

    @tf.function(autograph=False, reduce_retracing=True)
    def _gathered(self, rows: tf.Tensor) -> tf.Tensor:
        def one(rows: tf.Tensor) -> tf.Tensor:
            device = tf.distribute.get_replica_context()
            # One device a worker brings its rows, the others none.
            here = device.replica_id_in_sync_group % (device.num_replicas_in_sync // self.count)
            return device.all_gather(rows[: tf.where(here == 0, tf.shape(rows)[0], 0)], axis=0)

        return self.strategy.experimental_local_results(self.strategy.run(one, (rows,)))[0]


def alone() -> Workers:
    """This process on one device."""
    return Workers(tf.distribute.get_strategy())


def assemble(recipe: Recipe, environment: Mapping[str, str]) -> Workers:
    """The recipe's `distribution`; with several workers this waits until all are there.

    Args:
      recipe: says how; its batch is divided among all devices of all workers.
      environment: TF_CONFIG, for several workers.

    Raises:
      ValueError: TF_CONFIG is missing, contradicts itself or the recipe; the batch cannot be
        divided; a worker with a shard of its own has several devices.
    """
    if recipe.distribution == "one":
        return alone()
    if recipe.distribution == "mirrored":
        devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
        _check_batch(recipe, len(devices), f"{len(devices)} devices")
        return Workers(tf.distribute.MirroredStrategy([d.name for d in devices]))
    index, count = place(environment.get("TF_CONFIG", ""), recipe.workers)
    _check_batch(recipe, count, f"{count} workers")
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    _check_batch(recipe, devices := strategy.num_replicas_in_sync, f"{devices} devices")
    if recipe.distribution == "sharded" and devices > count:
        raise ValueError(
            f"distribution='sharded' wants workers with one device each, and {count} have "
            f"{devices}: start a worker for each, with CUDA_VISIBLE_DEVICES of its own, or use "
            "distribution='workers'"
        )
    return Workers(strategy, index, count)


def _check_batch(recipe: Recipe, parts: int, named: str) -> None:
    if recipe.batch_size % parts:
        near = -(-recipe.batch_size // parts) * parts
        raise ValueError(
            f"batch_size={recipe.batch_size} cannot be divided among {named}: it is the batch of "
            f"all together; use a multiple of {parts}, such as batch_size={near}"
        )


def place(config: str, wanted: int = 1) -> tuple[int, int]:
    """(index, count) of this process among the workers that TF_CONFIG lists; the chief is 0.

    As TensorFlow reads it, the chief is the job "chief", or where there is none worker 0.

    >>> place('{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 1}}')
    (1, 2)

    Args:
      config: TF_CONFIG's text.
      wanted: the recipe's `workers`; 1 leaves it to TF_CONFIG.

    Raises:
      ValueError: it says nothing, no JSON, no chief, or a task that the cluster does not have.
    """
    example = (
        'expected e.g. {"cluster": {"worker": ["host-a:2222", "host-b:2222"]}, '
        '"task": {"type": "worker", "index": 0}}'
    )
    if not config:
        raise ValueError(
            f"several workers train, and TF_CONFIG is not set: {example}, the same cluster in "
            "every worker, each with an index of its own"
        )
    try:
        told = json.loads(config)
        cluster = {job: list(hosts) for job, hosts in told["cluster"].items()}
        job, index = str(told["task"]["type"]), int(told["task"]["index"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"TF_CONFIG cannot be read ({error!r}): {example}; got {config}") from None
    unknown = sorted(set(cluster) - {"chief", "worker"})
    if unknown:
        raise ValueError(
            f"TF_CONFIG lists the jobs {unknown}; only 'chief' and 'worker' train here: leave the "
            "others out"
        )
    members = [*cluster.get("chief", []), *cluster.get("worker", [])]
    if not members or len(cluster.get("chief", [])) > 1:
        raise ValueError(
            "TF_CONFIG must list one chief, or workers of whom the first is the chief; "
            f"got {config}"
        )
    if len(set(members)) < len(members):
        raise ValueError(f"TF_CONFIG lists an address twice: {members}; every worker needs its own")
    if not 0 <= index < len(cluster.get(job, [])):
        raise ValueError(
            f"TF_CONFIG says that this is {job} {index}, which its cluster does not list: "
            f"{cluster}; set task.type and task.index to this process's place in it"
        )
    if wanted not in (1, len(members)):
        raise ValueError(
            f"the recipe has workers={wanted}, TF_CONFIG lists {len(members)}: leave `workers` out "
            "where TF_CONFIG is set, or unset TF_CONFIG to start them on this machine"
        )
    return index + (len(cluster.get("chief", [])) if job == "worker" else 0), len(members)
