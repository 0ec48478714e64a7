"""The model as its trainer leaves it, and one check of it."""

import numpy as np
import pytest

from formula_model import ROWS, Tiny, check, encode, right, rows_of
from ncs4cvr.models.serving import recording


@pytest.fixture(scope="session")
def rows():
    return rows_of(ROWS)


@pytest.fixture(scope="session")
def predictions(rows):
    answers = [right(row) for row in rows]
    return {name: np.array([a[name] for a in answers], np.float32) for name in ("ctr", "cvr")}


@pytest.fixture(scope="session")
def world(tmp_path_factory, rows, predictions):
    """A folder with the model as the Trainer leaves it, and the recorded requests."""
    folder = tmp_path_factory.mktemp("serving")
    Tiny().save(folder / "model/Format-Serving")
    (folder / "run").mkdir()
    # Labels that the predictions separate: an AUC of 1. CVR counts on every third row.
    labels = {name: (p > np.median(p)).astype(np.float32) for name, p in predictions.items()}
    labels["cvr"][np.arange(ROWS) % 3 > 0] = np.nan
    path = str(folder / "run/recorded.npz")
    recording.save(path, [encode(row) for row in rows], predictions, labels)
    return folder


@pytest.fixture(scope="session")
def checked(world, tmp_path_factory):
    return check(world, world / "model", tmp_path_factory.mktemp("blessing"))


@pytest.fixture(scope="session")
def measured(checked):
    return {k: v for k, v in checked[1].items() if k not in ("blessed", "failures")}
