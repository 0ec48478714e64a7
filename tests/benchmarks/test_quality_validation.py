"""What trials are chosen by: the validation split's tables, without a look at the test split."""

import argparse

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from ncs4cvr.pipeline.recipes.kuairand import RECIPE

ROWS = {"train": 8, "validate": 40, "test": 60}


class Splits:
    """The splits' rows: a user each, labels drawn at random."""

    def split(self, recipe, name):
        from quality_parts.data import Rows

        rng, count = np.random.default_rng(0), ROWS[name]
        columns = {label.name: rng.integers(0, 2, count) for label in recipe.log.labels}
        return Rows(columns, np.arange(count), {})


@pytest.fixture
def report(tmp_path):
    from quality_parts.models import all_models
    from quality_parts.page import Report
    from quality_parts.plan import Plan

    data = Splits()
    plan = Plan(RECIPE, "data", tmp_path, 640, {})
    models = [all_models(RECIPE)[name] for name in ("ncs4cvr", "mmoe")]
    rng, names = np.random.default_rng(1), {"validation": "validate", "test": "test"}
    cells = [plan.cell(model, 1) for model in models]
    for cell in cells:
        predictions = {
            split: {task.name: rng.random(ROWS[theirs]) for task in RECIPE.tasks}
            for split, theirs in names.items()
        }
        scores = {
            split: {
                f"{output.name}_{metric}": 0.5 + 0.25 * (split == "test")
                for output in RECIPE.outputs
                for metric in ("auc", "gauc", "log_loss", "calibration_error", "calibration")
            }
            for split in names
        }
        costs = dict.fromkeys(("params", "embedding_params", "dense_params", "live_params"), 1)
        costs |= dict.fromkeys(("flops", "live_flops", "seconds", "examples_per_s"), 1.0)
        cell.store_predictions(predictions)
        cell.store({"metrics": scores, "peak_mb": 1.0, "best_epoch": 1, **costs})
    options = argparse.Namespace(
        validation=True, replicates=20, docs=str(tmp_path / "page"), quick=False
    )
    return Report(plan, data, models, cells, [], {}, options)


def test_validation_shows_that_split_alone_and_writes_no_page(report, tmp_path, capsys):
    from quality_parts import page

    page.write(report)
    said = capsys.readouterr().out
    assert "Validation split: 40 rows" in said
    assert "| **ncs4cvr** | .5000 |" in said
    assert ".7500" not in said
    ours, other = (cell.predictions("validation")["ctr"] for cell in report.cells)
    labels = report.data.split(RECIPE, "validate").columns["click"]
    difference = roc_auc_score(labels, ours) - roc_auc_score(labels, other)
    assert f"{difference:+.5f}".replace("0.", ".", 1) in said
    assert not (tmp_path / "page").exists()
