"""What a model is worth on a test day, against another one of the same rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from poison_parts.margins import last
from sklearn.metrics import roc_auc_score

from ncs4cvr.models.evaluation.intervals import all_draws, interval, measure

Scores = dict[str, np.ndarray]
TASKS = {"ctr": "click", "cvr": "conversion"}


def scores(artifacts: Path, recipe: Any) -> Scores:
    """Of a run's newest model and its test split: user, key, labels, ctr and cvr, [rows] each.

    key: a hash of user, video and time, in whose order the rows are.
    """
    import pandas as pd
    import tensorflow as tf

    examples = last(artifacts / "VideoLogExampleGen/examples")
    files = sorted(str(p) for p in examples.glob("Split-test/*"))
    model = last(artifacts / "Trainer/model") / "Format-Serving"
    signature = tf.saved_model.load(str(model)).signatures["serving_default"]
    names = (recipe.log.user, recipe.log.video, recipe.log.time, "click", "conversion")
    spec = {name: tf.io.FixedLenFeature([], tf.int64) for name in names}
    parts: dict[str, list[np.ndarray]] = {name: [] for name in (*names, *TASKS)}
    for batch in tf.data.TFRecordDataset(files, "GZIP").batch(4096):
        for name, values in tf.io.parse_example(batch, spec).items():
            parts[name].append(values.numpy())
        answers = signature(examples=batch)
        for task in TASKS:
            parts[task].append(answers[task].numpy())
    found = {name: np.concatenate(each) for name, each in parts.items()}
    key = sum(pd.util.hash_array(found[n]) * np.uint64(7**k) for k, n in enumerate(names[:3]))
    order = np.argsort(key, kind="stable")
    kept = {name: found[name][order] for name in ("click", "conversion", *TASKS)}
    return {"user": found[names[0]][order], "key": key[order], **kept}


def keep(folder: Path, log: str, seed: int, found: Scores) -> None:
    """Writes them."""
    folder.mkdir(exist_ok=True)
    np.savez_compressed(_file(folder, log, seed), **found)


def losses(folder: Path, logs: Iterable[str], seeds: Iterable[int]) -> dict[str, dict[str, Any]]:
    """log -> what its models lose in CVR and CTR AUC to those of the clean log; see `loss`.

    Each model is held against the clean one of its own seed; logs that have none are left out.
    """
    found = {}
    for log in logs:
        pairs = [
            tuple(_load(folder, name, seed) for name in (log, "clean"))
            for seed in seeds
            if all(_file(folder, name, seed).is_file() for name in (log, "clean"))
        ]
        if pairs:
            found[log] = {task: loss(pairs, task) for task in TASKS}
    return found


def loss(pairs: Sequence[tuple[Scores, Scores]], task: str) -> dict[str, Any]:
    """What the poisoned models lose (positive: they are worse) in the AUC of a task.

    Args:
      pairs: a poisoned and a clean model's scores, a pair for every seed.
      task: `cvr`, of the clicked rows, or `ctr`.

    Returns:
      seeds: each one's loss; mean: theirs; interval: 95 % of the mean, of a bootstrap over users.
    """
    first = pairs[0][1]
    if any(not np.array_equal(scores["key"], first["key"]) for pair in pairs for scores in pair):
        raise ValueError("the runs have other rows on the test day, which no poison touches")
    mine = _rows(first, task)
    users = np.unique(first["user"], return_inverse=True)[1]
    draws = all_draws(int(users.max()) + 1)
    labels = first[TASKS[task]][mine]
    each, replicates = [], []
    for poisoned, clean in pairs:
        found = measure("auc", labels, clean[task][mine], poisoned[task][mine], draws, users[mine])
        each.append(found.difference)
        replicates.append(found.values - found.befores)
    return {
        "seeds": each,
        "mean": float(np.mean(each)),
        "interval": interval(np.mean(replicates, axis=0)),
    }


def auc(found: Scores, task: str) -> float:
    """The AUC of a task's scores: of `cvr` in the clicked rows."""
    mine = _rows(found, task)
    return float(roc_auc_score(found[TASKS[task]][mine], found[task][mine]))


def _rows(found: Scores, task: str) -> np.ndarray:
    """Which rows tell of a task, [rows]."""
    return found["click"] > 0 if task == "cvr" else np.full(len(found["click"]), True)


def _file(folder: Path, log: str, seed: int) -> Path:
    return folder / f"cost_{log}_{seed}.npz"


def _load(folder: Path, log: str, seed: int) -> Scores:
    return dict(np.load(_file(folder, log, seed), allow_pickle=False))
