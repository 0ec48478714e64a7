"""What is not exported, and why."""

import resource
import shutil

import numpy as np
import pytest

from ncs4cvr.models.pruning import starts
from ncs4cvr.models.serving import export as exporting
from ncs4cvr.models.serving.export_again import export_again


@pytest.mark.parametrize(
    ("name", "wrong"), [("table", np.nan), ("kernel", np.inf), ("head_cvr", -np.inf)]
)
def test_a_weight_that_is_no_number_is_refused_by_name(world, recipe, name, wrong, tmp_path):
    """Also one that no answer shows: of a row that nobody looks up, or below a relu."""
    batch = next(iter(world.valid.in_order()))
    model = starts.build(recipe.replace(compute="sparse"), world.sizes, batch)
    variable = next(v for v in model.trainable_variables if name in v.name)
    values = variable.numpy()
    values[-1, 0] = wrong
    variable.assign(values)
    with pytest.raises(ValueError, match=f"{variable.name} of the trained model holds 1 number"):
        exporting.export(model, world.graph, f"{tmp_path}/model")
    assert not list(tmp_path.iterdir())


def test_an_export_that_cannot_be_written_leaves_nothing(world, trained, tmp_path):
    """As on a full disk, which what is half-written would keep full."""
    run, model_run = tmp_path / "run", tmp_path / "model_run"
    shutil.copytree(f"{world.folder}/graph", run / "Transform/transform_graph/1")
    shutil.copytree(trained.folder / "run", model_run)
    (model_run / "transform_graph.txt").write_text("Transform/transform_graph/1")
    (tmp_path / "out").mkdir()
    told = {"compute": "sparse"}
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))  # less than the graph takes
    try:
        with pytest.raises(OSError, match=r"saved_model\.pb"):
            export_again(str(model_run), str(run), str(tmp_path / "out/1"), told, plain=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "out").iterdir())
    export_again(str(model_run), str(run), str(tmp_path / "out/1"), told, plain=False)
    assert (tmp_path / "out/1/saved_model.pb").stat().st_size > 50_000
