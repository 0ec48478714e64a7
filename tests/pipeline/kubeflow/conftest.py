"""The environment that has kfp: this one on TFX 1.21; TFX 1.16 leaves no room for it."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kubeflow_api import Api
from tiny_log import write_tiny_log

ROOT = Path(__file__).parents[3]
#: `make kubeflow` makes the other one.
OTHER = ROOT / ".venv-kubeflow/bin/python"
HAS_KFP = sys.executable if importlib.util.find_spec("kfp") else OTHER
KFP_PYTHON = Path(os.environ.get("NCS4CVR_KFP_PYTHON", HAS_KFP))


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
def tiny(tmp_path_factory):
    """The tiny recipe."""
    from ncs4cvr.pipeline import recipe_files

    return recipe_files.load(str(write_tiny_log(tmp_path_factory.mktemp("log"))))


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
    """kubeflow_api.py, which answers like the API of Kubeflow Pipelines."""
    server = Api()
    yield server
    server.close()
