"""The whole model of a run: packed as its recipe says, and as plain dense variables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf
from sklearn.metrics import roc_auc_score

from ncs4cvr.components.serving_replay import FEEDS, Model
from ncs4cvr.models.days import trained
from ncs4cvr.models.evaluation.metrics import own_rows
from ncs4cvr.models.serving.export_again import export_again
from ncs4cvr.schemas.log import MISSING
from ncs4cvr.schemas.recipe import Recipe
from serving_parts import cpp, variants

PLAIN, PACKED = "dense f32", "packed"
CANDIDATES = 500
CALLS, WARMUP, LOADS = 4, 2, 5


def rows(
    model_run: Path, raw: Path, run: Path, kept: Path, program: Path, rounds: int
) -> list[dict]:
    """Bytes and AUC of both exports, seconds to load, and requests of 1 user, 500 candidates.

    Args:
      model_run: the model, as the Trainer left it.
      raw: the examples that it was trained on.
      run: folder of its run.
      kept: for the exports.
      program: built from score.cc.
      rounds: timed turns.
    """
    recipe = trained.recipe_of(str(model_run))
    folders = {}
    for name in (PLAIN, PACKED):
        folders[name] = kept / f"{name.replace(' ', '-')}-{model_run.name}"
        if not folders[name].exists():
            kept.mkdir(parents=True, exist_ok=True)
            artifacts = str(run / "artifacts")
            export_again(str(model_run), artifacts, str(folders[name]), {}, name == PLAIN)
    examples = _test_examples(raw, recipe)
    found = [
        {**{"kind": "whole", "variant": name, "recipe": recipe.name}, **facts}
        for name, facts in _facts(folders, examples, recipe, program).items()
    ]
    return [*found, *_speeds(folders, examples, program, rounds)]


def _facts(folders: dict[str, Path], examples: list[bytes], recipe: Recipe, program: Path) -> dict:
    facts = {}
    for name, folder in folders.items():
        found = variants.size(folder)
        found["embeddings"] = recipe.embeddings if name == PACKED else "f32"
        found |= {f"{output}_auc": auc for output, auc in _aucs(folder, examples, recipe).items()}
        facts[name] = found
    case = {name: _case(folder, "predict", examples[:1]) for name, folder in folders.items()}
    taken: dict[str, list] = {name: [] for name in folders}
    for _ in range(LOADS):
        for name in folders:
            scores = cpp.run(program, [case[name]], threads=(1, 1))
            before = scores.memory_kib["start"][0]
            held = scores.memory_kib["loaded"][0] - before
            taken[name].append((scores.load_seconds[str(folders[name])], held / 1024))
    for name, runs in taken.items():
        load, held = np.median(np.array(runs), axis=0)
        facts[name] |= {"load_s": float(load), "held_mb": float(held)}
        facts[name]["smaller"] = facts[PLAIN]["bytes"] / facts[name]["bytes"]
    return facts


def _speeds(
    folders: dict[str, Path], examples: list[bytes], program: Path, rounds: int
) -> list[dict]:
    asked = examples[:CANDIDATES]
    keys = [(name, signature) for name in folders for signature in ("rank", "predict")]
    keys += [(name, "serving_default") for name in folders]
    cases = [_case(folders[name], signature, asked, CALLS) for name, signature in keys]
    found = []
    for threads in (1, 2):
        scores = cpp.run(program, cases, rounds, WARMUP, (threads, threads))
        taken = dict(zip(keys, scores.seconds, strict=True))
        base = np.median(taken[PLAIN, "predict"], axis=1)
        for (name, signature), each in taken.items():
            found.append(
                {
                    "kind": "request",
                    "variant": name,
                    "signature": signature,
                    "candidates": CANDIDATES,
                    "threads": threads,
                    "p50_ms": 1e3 * float(np.median(each)),
                    "p99_ms": 1e3 * float(np.percentile(each, 99)),
                    "faster": float(np.median(base / np.median(each, axis=1))),
                }
            )
    return found


def _case(folder: Path, signature: str, rows: list[bytes], calls: int = 1) -> cpp.Case:
    columns = FEEDS[signature](Model(str(folder), MISSING), tuple(rows))
    return cpp.case(str(folder), signature, columns, calls)


def _test_examples(raw: Path, recipe: Recipe) -> list[bytes]:
    """All serialized examples of the test split."""
    files = sorted(str(f) for f in (raw / f"Split-{recipe.log.splits[-1].name}").glob("*"))
    return list(tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator())


def _aucs(folder: Path, examples: list[bytes], recipe: Recipe) -> dict[str, float]:
    """AUC of every output on its own rows."""
    signature = tf.saved_model.load(str(folder)).signatures["serving_default"]
    parts = [
        signature(tf.constant(examples[first : first + 4096]))
        for first in range(0, len(examples), 4096)
    ]
    names = {output.label for output in recipe.outputs}
    names |= {task.given for task in recipe.tasks if task.given}
    spec = {name: tf.io.FixedLenFeature([], tf.int64) for name in names}
    labels = {k: v.numpy() for k, v in tf.io.parse_example(examples, spec).items()}
    aucs = {}
    for output in recipe.outputs:
        scores = np.concatenate([part[output.name].numpy().reshape(-1) for part in parts])
        own = own_rows(output, labels)
        aucs[output.name] = float(roc_auc_score(labels[output.label][own], scores[own]))
    return aucs
