"""Exports with recorded requests, and what they need to meet consumers without Python."""

import dataclasses
import importlib.util
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ncs4cvr.models.layers.sharing import set_ticket
from ncs4cvr.models.pruning import starts
from ncs4cvr.models.serving import export as exporting

HERE = Path(__file__).parent
BENCHMARKS = HERE.parents[1] / "benchmarks"


def _module(path: Path):
    spec = importlib.util.spec_from_file_location(f"tests_{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


record = _module(HERE / "record.py")
tiny = _module(HERE.parent / "models" / "conftest.py")
world = tiny.world

EXPORTS = {  # changes of the recipe; "plain" packs nothing
    "packed": {},
    "sparse": {"compute": "sparse"},
    "small": {"compute": "sparse", "weights": "bf16", "embeddings": "int8"},
    "plain": {},
}
GIVEN = [Path(p).absolute() for p in os.environ.get("NCS4CVR_RECORDED", "").split(os.pathsep) if p]


@dataclasses.dataclass(frozen=True)
class Recorded:
    """A moved export, with requests and what Python answered: (signature, inputs, outputs)."""

    base: Path
    requests: list

    @property
    def folder(self) -> str:
        """The SavedModel."""
        return str(self.base / "1")


@pytest.fixture(scope="session", autouse=True)
def _benchmarks_on_path():
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="session", name="record")
def _record():
    """The module record.py."""
    return record


@pytest.fixture(scope="session")
def exports(world, tmp_path_factory):
    """A recording of each of EXPORTS; what they were made from and at is deleted."""
    records = tf.data.TFRecordDataset(f"{world.folder}/valid.gz", "GZIP").take(50)
    examples = list(records.as_numpy_iterator())
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("recorded")
    for name, changes in EXPORTS.items():
        model, plain = _model(world, changes), name == "plain"
        exporting.export(model, world.graph, f"{source}/{name}", examples, plain)
        record.record(f"{source}/{name}", out / name, examples)
    shutil.rmtree(source)
    shutil.rmtree(world.folder)  # Transform's vocabularies, which the export has copied
    return out


def _model(world, changes):
    """A ranker with a random ticket a task: a third of the connections, and biases that count."""
    model = starts.build(
        tiny.TINY.replace(**changes), world.sizes, next(iter(world.valid.in_order(50)))
    )
    rng = np.random.default_rng(1)
    for task in range(len(model.heads)):
        connections = model.sharing.connections(task)
        set_ticket(connections, [rng.random(k.shape) < 1 / 3 for k, _ in connections])
        for bias in model.sharing.mlp_of(task).biases:
            bias.assign(rng.normal(size=bias.shape))
    return model


@pytest.fixture(scope="session", params=[*EXPORTS, *GIVEN], ids=str)
def recorded(request):
    folder = request.param
    if folder in EXPORTS:
        folder = request.getfixturevalue("exports") / folder
    return Recorded(folder / "model", record.recorded(folder))


@pytest.fixture(scope="session")
def agree():
    """Asserts equal answers: bit for bit, or 1e-6 where another TensorFlow made the recording."""
    return _agree


def _agree(recorded, answer, expected, same_tensorflow=True):
    from serving_parts import cpp

    assert sorted(answer) == sorted(expected)
    same = same_tensorflow and cpp.made_by(recorded.folder) == tf.__version__
    for name, values in expected.items():
        assert (answer[name].dtype, answer[name].shape) == (values.dtype, values.shape)
        if same:
            np.testing.assert_array_equal(answer[name], values, err_msg=name)
        else:
            np.testing.assert_allclose(answer[name], values, rtol=0, atol=1e-6, err_msg=name)


@pytest.fixture(scope="session")
def built(request):
    """Where compiled programs are kept from one test run to the next."""
    return request.config.cache.mkdir("serving")


@pytest.fixture(scope="session")
def score(built):
    from serving_parts import cpp

    return cpp.build(built)
