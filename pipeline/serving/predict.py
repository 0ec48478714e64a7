"""Scores a file of raw features with an exported model, through its `predict` signature."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from ncs4cvr.pipeline.serving.rows import InputError, Times, check_columns, read, to_tensor
from ncs4cvr.schemas import checks
from ncs4cvr.schemas.log import TIMES

BATCH_ROWS = 4096


def score_file(model_folder: Path, path: Path) -> pa.Table:
    """The scores of every row, beside the columns that hold one value per row.

    Raises:
      InputError: no model, no file, or a column that is missing or of the wrong type.
    """
    version = newest_version(model_folder)
    signature, times = _predict_of(version), times_of(version)
    wanted: Mapping[str, tf.TensorSpec] = signature.structured_input_signature[1]
    rows = read(path)
    check_columns(rows, wanted, path)
    scores: dict[str, list[np.ndarray]] = {}
    for first in range(0, rows.num_rows, BATCH_ROWS):
        batch = rows.slice(first, BATCH_ROWS)
        inputs = {n: to_tensor(batch, n, spec, path, first, times) for n, spec in wanted.items()}
        for name, values in signature(**inputs).items():
            scores.setdefault(name, []).append(np.reshape(values.numpy(), -1))
    for name in [n for n, spec in wanted.items() if spec.shape.rank > 1]:
        rows = rows.drop([name])
    for name, parts in sorted(scores.items()):  # the signature gives them in no order
        if name in rows.column_names:
            rows = rows.drop([name])
        rows = rows.append_column(name, pa.array(np.concatenate(parts)))
    return rows


def _predict_of(version: Path) -> Any:
    try:
        signatures = tf.saved_model.load(str(version)).signatures
    except (OSError, ValueError, IndexError, tf.errors.OpError) as error:  # TensorFlow's own
        raise InputError(
            f"{version} cannot be loaded ({error}); the next `ncs4cvr run` pushes a whole model"
        ) from error
    if "predict" not in signatures:
        raise InputError(
            f"{version} has no signature 'predict', which takes columns; it has "
            f"{', '.join(signatures) or 'none'}; give a model that ncs4cvr pushed"
        )
    return signatures["predict"]


def times_of(version: Path) -> Times | None:
    """How the log of a model writes times; None of an export that does not tell."""
    path = version / TIMES
    if not path.exists():
        return None
    try:
        return checks.from_plain(Times, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} does not tell how times are written ({error}); the next `ncs4cvr run` pushes "
            "a whole model, `ncs4cvr export` writes one"
        ) from error


def check_output(path: Path, endings: Sequence[str] = (".csv", ".parquet")) -> None:
    """Raises InputError where a file cannot be written: its ending is none of these, or no folder.

    `write` takes the endings that are the default.
    """
    if path.suffix not in endings:
        raise InputError(f"{path}: the output must end in {' or '.join(endings)}")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it, or name another")


def write(rows: pa.Table, out: Path | TextIO) -> None:
    """As Parquet where the path says so, else as CSV."""
    if isinstance(out, Path) and out.suffix == ".parquet":
        pq.write_table(rows, out)
    else:  # whole numbers beside gaps stay whole
        rows.to_pandas(integer_object_nulls=True).to_csv(out, index=False)


def newest_version(folder: Path) -> Path:
    """The SavedModel in a folder: the folder itself, or its highest numbered version."""
    if (folder / "saved_model.pb").is_file():
        return folder
    versions = [p.parent for p in folder.glob("*/saved_model.pb") if p.parent.name.isdigit()]
    if not versions:
        raise InputError(
            f"{folder} holds no SavedModel and no numbered versions of one; "
            "give a run's serving folder, such as runs/kuairand/serving"
        )
    return max(versions, key=lambda version: int(version.name))
