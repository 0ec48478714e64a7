"""The default recipe's data steps on several processes, and over the protocol that Flink speaks.

Beam's own job service stands for the engine's; its worker pool starts workers in which nothing but
the installed package can be imported. Neither sees the checkout.
"""

import contextlib
import os
import socket
import subprocess
import sysconfig
import time
import venv
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from ncs4cvr.pipeline import recipe_files
from ncs4cvr.pipeline.run import local
from ncs4cvr.pipeline.run.meter import Meter
from ncs4cvr.pipeline.run.run_record import RunRecord

pytestmark = pytest.mark.e2e

SPLITS = ("train", "validate", "test")


class Quiet:
    def start(self, name):
        pass

    end = say = start


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A Python that has the wheel, and what it depends on from this environment; no checkout."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    zipfile.ZipFile(wheel).extractall(packages)
    # Of a folder that a .pth file names, .pth files, such as an editable install's, are not read.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def surroundings(installed):
    """The pool starts `python`, which must be the installed one."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return {**kept, "PATH": f"{installed}/bin:{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def engine(installed, tmp_path_factory):
    """A job service and a pool of workers; gives Beam's settings."""
    folder = tmp_path_factory.mktemp("engine")
    ports = {"job": free_port(), "pool": free_port()}
    commands = {
        "job": ["portability.local_job_service_main", f"--port={ports['job']}"],
        "pool": ["worker.worker_pool_main", f"--service_port={ports['pool']}"],
    }
    with contextlib.ExitStack() as stack:
        for name, (module, argument) in commands.items():
            log = stack.enter_context((folder / f"{name}.log").open("wb"))
            process = subprocess.Popen(
                [f"{installed}/bin/python", "-m", f"apache_beam.runners.{module}", argument],
                cwd=folder,
                env=surroundings(installed),
                stdout=log,
                stderr=log,
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
        for port in ports.values():
            until_open(port)
        yield (
            "runner=PortableRunner",
            f"job_endpoint=127.0.0.1:{ports['job']}",
            "environment_type=EXTERNAL",
            f"environment_config=127.0.0.1:{ports['pool']}",
            "direct_num_workers=2",
        )


def until_open(port, seconds=60):
    end = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def outputs(folder, settings=()):
    """Runs the default recipe up to Transform; returns the folder of every output."""
    recipe = recipe_files.load("kuairand", (), settings)
    with Meter() as meter:
        record = RunRecord(meter)
        local.run(recipe, folder, None, Quiet(), record, last="Transform")
    return {
        f"{name}.{key}": Path(artifact.uri)
        for name, step in record.components().items()
        for key, (artifact, *_) in step.outputs.items()
    }


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    return outputs(tmp_path_factory.mktemp("single"))


@pytest.fixture(scope="module")
def processes(tmp_path_factory):
    settings = (
        "runner=DirectRunner",
        "direct_running_mode=multi_processing",
        "direct_num_workers=2",
    )
    return outputs(tmp_path_factory.mktemp("processes"), settings)


@pytest.fixture(scope="module")
def portable(tmp_path_factory, engine):
    return outputs(tmp_path_factory.mktemp("portable"), engine)


@pytest.fixture(params=["processes", "portable"])
def other(request):
    """What came of each other way to run."""
    return request.getfixturevalue(request.param)


def rows(folder):
    """How often each row occurs. A tf.Example is a map, which each process writes in some order."""
    files = sorted(str(path) for path in folder.iterdir())
    return Counter(
        tf.train.Example.FromString(row.numpy()).SerializeToString(deterministic=True)
        for row in tf.data.TFRecordDataset(files, "GZIP")
    )


def test_workers_see_the_installed_package_and_no_checkout(installed, tmp_path):
    code = "import ncs4cvr, ncs4cvr.models as m; print(m.__file__); print(list(ncs4cvr.__path__))"
    done = subprocess.run(
        ["python", "-c", code],
        cwd=tmp_path,
        env=surroundings(installed),
        capture_output=True,
        text=True,
        check=True,
    )
    file, folders = done.stdout.splitlines()[-2:]
    assert file.startswith(f"{installed}/")
    assert folders.count("/ncs4cvr") == 1
    assert str(Path(__file__).parents[2]) not in folders


@pytest.mark.parametrize("split", SPLITS)
def test_examples_are_the_same_rows(single, other, split):
    output = "VideoLogExampleGen.examples"
    assert rows(single[output] / f"Split-{split}") == rows(other[output] / f"Split-{split}")


@pytest.mark.parametrize("part", ["transform_fn/assets", "transformed_metadata"])
def test_the_transform_graphs_vocabularies_and_schema_are_the_same_files(single, other, part):
    mine, theirs = (each["Transform.transform_graph"] / part for each in (single, other))
    names = sorted(path.name for path in mine.iterdir() if path.is_file())
    assert names
    assert names == sorted(path.name for path in theirs.iterdir() if path.is_file())
    assert all((mine / name).read_bytes() == (theirs / name).read_bytes() for name in names)


def test_the_transform_graphs_constants_are_the_same(single, other):
    """Boundaries and sizes; nodes may have other names, and texts hold temporary paths."""
    mine, theirs = (constants(each["Transform.transform_graph"]) for each in (single, other))
    assert mine
    assert mine == theirs


def constants(transform_graph):
    saved = (transform_graph / "transform_fn/saved_model.pb").read_bytes()
    (meta,) = saved_model_pb2.SavedModel.FromString(saved).meta_graphs
    functions = [node for each in meta.graph_def.library.function for node in each.node_def]
    return Counter(
        node.attr["value"].tensor.SerializeToString()
        for node in (*meta.graph_def.node, *functions)
        if node.op == "Const" and node.attr["dtype"].type != tf.string.as_datatype_enum
    )
