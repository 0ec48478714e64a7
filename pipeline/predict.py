"""Scores a file of raw features with an exported model, through its `predict` signature."""

from __future__ import annotations

import contextlib
import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import tensorflow as tf

from ncs4cvr.schemas.log import MISSING

BATCH_ROWS = 4096
ENDINGS = (".parquet", ".csv", ".jsonl", ".json")
KINDS = {tf.int64: "int", tf.float32: "float", tf.string: "string"}


class InputError(ValueError):
    """The file, or the model's folder, cannot be used; says where and what to do."""


def score_file(model_folder: Path, path: Path) -> pd.DataFrame:
    """The scores of every row, beside the columns that hold one value per row.

    Raises:
      InputError: no model, no file, or a column that is missing or of the wrong type.
    """
    signature = _predict_of(newest_version(model_folder))
    wanted: Mapping[str, tf.TensorSpec] = signature.structured_input_signature[1]
    text = [name for name, spec in wanted.items() if spec.dtype == tf.string]
    rows = read(path, text)
    check_columns(rows, wanted, path)
    scores: dict[str, list[np.ndarray]] = {}
    for first in range(0, len(rows), BATCH_ROWS):
        batch = rows.iloc[first : first + BATCH_ROWS]
        inputs = {name: to_tensor(batch[name], spec, path) for name, spec in wanted.items()}
        for name, values in signature(**inputs).items():
            scores.setdefault(name, []).append(np.reshape(values.numpy(), -1))
    kept = [name for name in rows if name not in wanted or wanted[name].shape.rank == 1]
    return rows[kept].assign(**{n: np.concatenate(parts) for n, parts in scores.items()})


def _predict_of(version: Path) -> Any:
    try:
        signatures = tf.saved_model.load(str(version)).signatures
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise InputError(
            f"{version} cannot be loaded ({error}); the next `ncs4cvr run` pushes a whole model"
        ) from error
    if "predict" not in signatures:
        raise InputError(
            f"{version} has no signature 'predict', which takes columns; it has "
            f"{', '.join(signatures) or 'none'}; give a model that ncs4cvr pushed"
        )
    return signatures["predict"]


def check_output(path: Path) -> None:
    """Raises InputError unless `write` can write to the path."""
    if path.suffix not in (".csv", ".parquet"):
        raise InputError(f"{path}: the output must end in .csv or .parquet")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it, or name another")


def write(rows: pd.DataFrame, path: Path) -> None:
    """As Parquet or CSV, by the path's ending."""
    if path.suffix == ".parquet":
        rows.to_parquet(path, index=False)
    else:
        rows.to_csv(path, index=False)


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


def read(path: Path, text: Sequence[str] = ()) -> pd.DataFrame:
    """The rows of a Parquet, CSV or JSON-lines file; columns in `text` stay text."""
    if path.suffix not in ENDINGS:
        raise InputError(f"{path}: expected a file that ends in {', '.join(ENDINGS)}")
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    as_text = dict.fromkeys(text, str)
    try:
        if path.suffix == ".parquet":
            rows = pd.read_parquet(path)
        elif path.suffix == ".csv":
            rows = pd.read_csv(path, dtype=as_text, low_memory=False)
        else:
            # JSON knows its types; asked for text, pandas makes the word "None" of a null.
            rows = pd.read_json(path, lines=True, convert_dates=False, dtype=False)
    except (ValueError, OSError) as error:  # pandas' and pyarrow's errors are among these
        raise InputError(
            f"{path} cannot be read as {path.suffix[1:]}: {error}; write it again, or give it the "
            "ending of what it holds"
        ) from error
    if rows.empty:
        raise InputError(f"{path} holds no row, expected at least one; write it again")
    return rows


def check_columns(rows: pd.DataFrame, wanted: Mapping[str, Any], path: Path) -> None:
    """Raises InputError for columns that the model needs and the file does not have."""
    missing = sorted(set(wanted) - set(rows.columns))
    if not missing:
        return
    hints = []
    for name in missing:
        near = difflib.get_close_matches(name, map(str, rows.columns), n=1)
        hints.append(f"{name} (is it {near[0]}?)" if near else name)
    raise InputError(
        f"{path} lacks {len(missing)} of the model's {len(wanted)} columns: {', '.join(hints)}; "
        "add or rename them"
    )


def to_tensor(column: pd.Series, spec: tf.TensorSpec, path: Path) -> tf.Tensor:
    """A column as the model's dense input; see MISSING for how gaps are written."""
    kind = KINDS[spec.dtype]
    if spec.shape.rank == 1:
        return tf.constant(_values(column, kind, path), spec.dtype)
    lists = [_list(cell, number, column.name, path) for number, cell in column.items()]
    width = max(1, *map(len, lists))
    padded = [[*cells, *[MISSING[kind]] * (width - len(cells))] for cells in lists]
    return tf.constant(padded, spec.dtype, shape=[len(lists), width])


def _values(column: pd.Series, kind: str, path: Path) -> np.ndarray:
    gaps = column.isna().to_numpy()
    if kind == "string":
        return column.astype(str).mask(gaps, MISSING[kind]).to_numpy()
    numbers = pd.to_numeric(column, errors="coerce")
    odd = numbers.isna().to_numpy() & ~gaps
    if kind == "int":
        odd |= ~gaps & (numbers % 1 != 0).to_numpy()
    if odd.any():
        row = int(np.flatnonzero(odd)[0])
        raise InputError(
            f"{path}: column {column.name!r} must hold {kind}; row {column.index[row] + 1} holds "
            f"{column.iloc[row]!r}; correct the cell, or leave it empty"
        )
    dtype = np.dtype(np.int64 if kind == "int" else np.float32)
    present = numbers.where(~gaps, 0).to_numpy().astype(dtype)
    present[gaps] = MISSING[kind]
    return present


def _list(cell: Any, number: Any, name: Any, path: Path) -> list[Any]:
    if isinstance(cell, str):
        with contextlib.suppress(json.JSONDecodeError):  # then it is refused below
            cell = json.loads(cell)
    if isinstance(cell, list | np.ndarray):
        return list(cell)
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return []
    raise InputError(
        f"{path}: column {name!r} must hold lists; row {number + 1} holds {cell!r}; write such as "
        "[3, 5], or leave the cell empty"
    )
