"""What all tests share: Keras 2, a tiny log, and a wheel."""

import os

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # before anything imports TensorFlow

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tiny_log import write_tiny_log

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture
def tiny_recipe_file(tmp_path):
    return write_tiny_log(tmp_path / "log")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    """A wheel built from a copy of the checkout, so that no stale build/ gets in."""
    source = tmp_path_factory.mktemp("checkout")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        if (CHECKOUT / name).exists():
            shutil.copy(CHECKOUT / name, source)
    for folder in ("schemas", "models", "components", "pipeline"):
        shutil.copytree(
            CHECKOUT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__")
        )
    out = tmp_path_factory.mktemp("wheel")
    # The build backend itself, as pip calls it with --no-build-isolation: uv's environment has no
    # pip, and nothing is fetched.
    code = f"from setuptools.build_meta import build_wheel; build_wheel({str(out)!r})"
    subprocess.run(
        [sys.executable, "-c", code], cwd=source, check=True, capture_output=True, timeout=300
    )
    (built,) = out.glob("*.whl")
    return built
