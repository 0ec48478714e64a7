"""Adds to train.parquet and test.parquet the columns that a log needs; see README.md.

    python data/census_income/add_columns.py [FOLDER]

FOLDER holds both files, with the original columns or with the added ones too: those are made anew.
The original columns and the order of the rows stay.
"""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

#: No real dates: each stands for a split.
TRAIN, VALIDATE, TEST = (dt.date(2000, 1, day) for day in (1, 2, 3))
VALIDATE_ONE_IN = 10
SEED = 1
DEGREES = (
    "Bachelors degree(BA AB BS)",
    "Masters degree(MA MS MEng MEd MSW MBA)",
    "Prof school degree (MD DDS DVM LLB JD)",
    "Doctorate degree(PhD EdD)",
)
ADDED = ("row", "split_day", "income", "never_married", "bachelor")


def with_columns(table: pa.Table, first_row: int, split_day: np.ndarray) -> pa.Table:
    """The table with ADDED behind its original columns.

    Raises:
      ValueError: a column whose values make a label holds none of them.
    """
    table = table.select([name for name in table.column_names if name not in ADDED])
    added = {
        "row": pa.array(np.arange(first_row, first_row + table.num_rows)),
        "split_day": pa.array(split_day, pa.date32()),
        "income": _is_in(table, "income_50k", ("50000+.",)),
        "never_married": _is_in(table, "marital_status", ("Never married",)),
        "bachelor": _is_in(table, "education", DEGREES),
    }
    for name in ADDED:
        table = table.append_column(name, added[name])
    return table


def _is_in(table: pa.Table, column: str, words: tuple[str, ...]) -> pa.Array:
    label = pc.is_in(table[column], pa.array(words))
    if not pc.any(label).as_py():
        raise ValueError(
            f"column {column!r} never holds {' or '.join(words)}; it must have UCI's values, "
            "stripped of blanks"
        )
    return label.cast(pa.int8())


def split_days(train_rows: int) -> np.ndarray:
    """One day a row of the training file: a tenth of them, drawn at random, validates."""
    days = np.full(train_rows, TRAIN, object)
    # RandomState draws the same numbers under every version of NumPy.
    days[np.random.RandomState(SEED).permutation(train_rows)[: train_rows // VALIDATE_ONE_IN]] = (
        VALIDATE
    )
    return days


def main(folder: Path) -> None:
    """Rewrites both files."""
    train, test = (pq.read_table(folder / f"{name}.parquet") for name in ("train", "test"))
    rows = train.num_rows
    pq.write_table(
        with_columns(train, 0, split_days(rows)), folder / "train.parquet", compression="zstd"
    )
    pq.write_table(
        with_columns(test, rows, np.full(test.num_rows, TEST, object)),
        folder / "test.parquet",
        compression="zstd",
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
