# No `from __future__ import annotations` here: TFX's @component reads the annotations as objects.
"""ServingCheck: would a server that knows nothing of us answer right, fast and small enough?"""

import io
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.io import fileio
from tfx.types import standard_artifacts
from tfx.utils import io_utils, path_utils

from ncs4cvr.components.artifacts import MODEL_ID
from ncs4cvr.schemas.log import MISSING

REPORT = "serving_check.json"
#: models/serving/recording.py has it as FILE: importing that would load all model code.
RECORDED = "recorded.npz"
EXACT = 1e-6  # probability; what a lossless export may differ by, and any export from itself
#: But where products are rounded to bfloat16: `rank` adds up what `predict` multiplies at once, and
#: sparse layers, of other batch sizes, do not round. As wide as the exporter's own check.
ROUNDED = 0.05
WATCHED = ("serving_default", 64)  # the signature and batch size that max_p99_ms speaks of


@component
def ServingCheck(
    model: InputArtifact[standard_artifacts.Model],
    model_run: InputArtifact[standard_artifacts.ModelRun],
    blessing: OutputArtifact[standard_artifacts.InfraBlessing],
    exact: Parameter[int],
    bf16: Parameter[int],
    serving_auc_tolerance: Parameter[float],
    max_p99_ms: Parameter[float],
    max_load_s: Parameter[float],
    max_model_mb: Parameter[float],
    max_serving_mb: Parameter[float],
    code_version: Parameter[str],
):
    """Blesses a model that answers recorded requests as its trainer did, within the bounds.

    Another process, in which our package cannot be imported, loads the SavedModel, replays the
    requests through every signature and measures (serving_replay.py). `blessing` gets
    `serving_check.json` (see `judged`) and, where there is nothing to complain of, a copy of the
    model with the warm-up requests that TF Serving replays; a Pusher takes the model from there.

    Args:
      model: the Trainer's.
      model_run: the Trainer's, with the recorded requests (ncs4cvr.models.serving.recording).
      blessing: `blessed` 1 or 0, and the model's id.
      exact: 1 where the export is lossless: answers may differ by 1e-6 from the trainer's.
      bf16: 1 where layers may be computed in bfloat16: signatures and batch sizes may then differ
        from each other by .05, as ways to compute round differently.
      serving_auc_tolerance: where it is not, by how much an output's AUC may differ.
      max_p99_ms: of `serving_default` at batch 64; 0 is no bound, here and below.
      max_load_s: of loading the model.
      max_model_mb: of the model's files, in 10^6 bytes.
      max_serving_mb: of the process that loaded it, TensorFlow and Python included, in 2^20 bytes.
      code_version: of this check, for TFX's cache.

    Raises:
      RuntimeError: the model cannot be loaded or asked; says why.
    """
    source = path_utils.serving_model_path(model.uri)
    with tempfile.TemporaryDirectory() as folder:
        recorded = f"{model_run.uri}/{RECORDED}"
        measured = replayed(source, recorded, folder, exact=bool(exact))
        bounds = {
            "serving_auc_tolerance": serving_auc_tolerance,
            "max_p99_ms": max_p99_ms,
            "max_load_s": max_load_s,
            "max_model_mb": max_model_mb,
            "max_serving_mb": max_serving_mb,
        }
        report = judged({**measured, "bf16": bool(bf16)}, bounds)
        io_utils.write_string_file(f"{blessing.uri}/{REPORT}", json.dumps(report, indent=1) + "\n")
        if report["blessed"]:
            stamped = path_utils.stamped_model_path(blessing.uri)
            io_utils.copy_dir(source, stamped)
            io_utils.copy_file(f"{folder}/warmup", path_utils.warmup_file_path(stamped), True)
    blessing.set_int_custom_property(MODEL_ID, model.id)
    blessing.set_int_custom_property("blessed", int(report["blessed"]))
    blessing.set_int_custom_property("has_model", int(report["blessed"]))


def replayed(model: str, recorded: str, folder: str, exact: bool) -> dict[str, Any]:
    """What the other process measured, with the quality of its answers.

    Args:
      model: a SavedModel.
      recorded: path of the recorded requests.
      folder: gets what the process writes, `warmup` among it.
      exact: answers are compared with the trainer's; else with what `serving_default` gives in the
        largest batches, and the quality tells how far that is from the trainer's.

    Raises:
      RuntimeError: the process failed.
    """
    from ncs4cvr.components import serving_replay

    job = {
        "model": model,
        "recorded": recorded,
        "missing": MISSING,
        "exact": exact,
        "out": folder,
    }
    # -I: no PYTHONPATH, no current folder, nothing of the user's.
    command = [sys.executable, "-I", serving_replay.__file__, json.dumps(job)]
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    # The interpreter and the script are our own, and no shell reads the job.
    done = subprocess.run(command, capture_output=True, text=True, env=quiet)  # noqa: S603  # nosec B603
    if done.returncode:
        logging.error("the process that loads the model said:\n%s", done.stderr)
        last = (done.stderr.strip() or "nothing was printed").splitlines()[-1]
        raise RuntimeError(
            f"the exported model {model} cannot be served: a process without ncs4cvr ended with "
            f"status {done.returncode}, expected 0: {last}; the log has all of it"
        )
    with open(f"{folder}/measured.json", encoding="utf-8") as stream:
        measured = json.load(stream)
    answers = dict(np.load(f"{folder}/answers.npz", allow_pickle=False))
    with fileio.open(recorded, "rb") as stream:
        recording = dict(np.load(io.BytesIO(stream.read()), allow_pickle=False))
    measured["exact"] = exact
    measured["rows"] = len(recording["ends"])
    measured["outputs"] = {
        name: compared(values, recording[f"prediction/{name}"], recording[f"label/{name}"])
        for name, values in answers.items()
    }
    return measured


def compared(served: np.ndarray, trainer: np.ndarray, label: np.ndarray) -> dict[str, Any]:
    """How one output's answers and the trainer's, [rows] each, do on the same rows.

    Returns:
      difference: the largest; not_finite: how many answers are NaN or infinite; metric: `auc`, or
      `mse` where labels are not 0 or 1; rows: with a label (not NaN); served, trainer: the metric,
      None where it does not exist (rows of one class).
    """
    from sklearn.metrics import mean_squared_error, roc_auc_score

    rows, finite = ~np.isnan(label), np.isfinite(served)
    classes = np.unique(label[rows])
    if not np.isin(classes, (0, 1)).all():
        metric, score = "mse", mean_squared_error
    else:
        metric, score = "auc", roc_auc_score
    known = finite.all() and (len(classes) == 2 or metric == "mse")
    return {
        "difference": float(np.max(np.abs(served - trainer), where=finite, initial=0)),
        "not_finite": int((~finite).sum()),
        "metric": metric,
        "rows": int(rows.sum()),
        "served": float(score(label[rows], served[rows])) if known else None,
        "trainer": float(score(label[rows], trainer[rows])) if known else None,
    }


def judged(measured: Mapping[str, Any], bounds: Mapping[str, float]) -> dict[str, Any]:
    """What is measured, with `failures` (a line each) and whether it is `blessed`.

    load_s; model_bytes; memory_mb, and memory_before_load_mb; rows: how many were recorded; exact
    and bf16, see ServingCheck; outputs: output -> see `compared`; calls: one entry per signature
    and batch size, see `replay` in serving_replay.py.
    """
    failures = [*_wrong(measured, bounds["serving_auc_tolerance"]), *_beyond(measured, bounds)]
    return {"blessed": not failures, "failures": failures, **measured}


def _wrong(measured: Mapping[str, Any], tolerance: float) -> Iterator[str]:
    for name, output in measured["outputs"].items():
        if output["not_finite"]:
            yield f"{name} is NaN or infinite in {output['not_finite']} of {measured['rows']} rows"
        elif measured["exact"]:
            if output["difference"] > EXACT:
                yield (
                    f"{name} differs from the trainer's prediction by {output['difference']:.2g}; "
                    f"a lossless export may differ by {EXACT:g}"
                )
        elif output["served"] is None:
            yield (
                f"{name} cannot be judged: its {output['rows']} recorded rows are of one class; "
                "widen the validation split"
            )
        elif abs(output["served"] - output["trainer"]) > tolerance:
            yield (
                f"{name} has an {output['metric']} of {output['served']:.5f}, the trainer's "
                f"{output['trainer']:.5f}; serving_auc_tolerance allows a difference of "
                f"{tolerance:g}"
            )
    whose = "the trainer's prediction" if measured["exact"] else "serving_default's"
    allowed = ROUNDED if measured["bf16"] else EXACT
    for call in measured["calls"]:
        if call["difference"] > allowed:
            other = "the same rows one by one" if call["signature"] == "rank" else whose
            yield (
                f"{call['signature']} at batch {call['batch']} differs from {other} by "
                f"{call['difference']:.2g} in {call['output']}; {allowed:g} is allowed"
            )


def _beyond(measured: Mapping[str, Any], bounds: Mapping[str, float]) -> Iterator[str]:
    (watched,) = (c for c in measured["calls"] if (c["signature"], c["batch"]) == WATCHED)
    for key, what, value, unit in (
        ("max_p99_ms", f"{WATCHED[0]} at batch {WATCHED[1]} takes", watched["p99_ms"], "ms (p99)"),
        ("max_load_s", "load takes", measured["load_s"], "s"),
        ("max_model_mb", "the model's files take", measured["model_bytes"] / 1e6, "MB"),
        ("max_serving_mb", "memory after load is", measured["memory_mb"], "MB"),
    ):
        if bounds[key] and value > bounds[key]:
            yield f"{what} {value:.2f} {unit}; {key} allows {bounds[key]:g}"
