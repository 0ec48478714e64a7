"""The environment that has kfp: this one on TFX 1.21; TFX 1.16 leaves no room for it."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
#: `make kubeflow` makes the other one.
OTHER = ROOT / ".venv-kubeflow/bin/python"
HAS_KFP = sys.executable if importlib.util.find_spec("kfp") else OTHER
KFP_PYTHON = Path(os.environ.get("NCS4CVR_KFP_PYTHON", HAS_KFP))


def load(name):
    """A helper module beside this file; tests are no package that could be imported."""
    spec = importlib.util.spec_from_file_location(
        f"kubeflow_{name}", Path(__file__).with_name(f"{name}.py")
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def kfp_python():
    """Runs a script where kfp is installed; gives its exit status and all that it printed."""
    if not KFP_PYTHON.exists():
        pytest.skip(f"no {KFP_PYTHON}; `make kubeflow` sets it up")

    def run(script, *arguments, **environment):
        done = subprocess.run(
            [str(KFP_PYTHON), "-c", script, *map(str, arguments)],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )
        return done.returncode, done.stdout + done.stderr

    return run


@pytest.fixture(scope="session")
def shared():
    """tests/conftest.py as a module: the tiny log."""
    spec = importlib.util.spec_from_file_location("shared", ROOT / "tests/conftest.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def launcher():
    """launcher.py, which runs compiled pipelines."""
    return load("launcher")


@pytest.fixture(scope="session")
def tiny(shared, tmp_path_factory):
    """The tiny recipe."""
    from ncs4cvr.pipeline import recipe_files

    return recipe_files.load(str(shared.write_tiny_log(tmp_path_factory.mktemp("log"))))


@pytest.fixture(scope="session")
def compiled(tiny, tmp_path_factory):
    """The tiny recipe's pipeline."""
    from ncs4cvr.pipeline.kubeflow import spec
    from ncs4cvr.pipeline.kubeflow.resources import Options

    path = tmp_path_factory.mktemp("compiled") / "pipeline.yaml"
    options = Options("registry/ncs4cvr:1", "/shared", volumes=(("logs", "/mnt/logs"),))
    path.write_text(spec.compile_pipeline(tiny, options))
    return path


@pytest.fixture
def api():
    """api.py, which answers like the API of Kubeflow Pipelines."""
    server = load("api").Api()
    yield server
    server.close()
