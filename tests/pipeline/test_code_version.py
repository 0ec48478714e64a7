"""A component's version changes with what it imports, and with nothing else."""

import importlib.metadata
from types import SimpleNamespace

import pytest

from ncs4cvr.pipeline import code_version as versions
from ncs4cvr.pipeline.code_version import code_version, installed, sources

SCHEMAS = {"ncs4cvr.schemas", "ncs4cvr.schemas.recipe", "ncs4cvr.schemas.features"}


def test_sources_follow_imports():
    found = set(sources("ncs4cvr.models.trainer"))
    called = {"ncs4cvr.models.learning.training", "ncs4cvr.models.serving.export"}
    assert SCHEMAS | called | {"ncs4cvr.models"} <= found


def test_sources_hold_nothing_else():
    found = set(sources("ncs4cvr.models.preprocessing"))
    assert found >= SCHEMAS
    assert not {name for name in found if name.startswith(("ncs4cvr.components", "ncs4cvr.pipe"))}
    assert "ncs4cvr.models.learning.ranker" not in found


@pytest.mark.parametrize("module", ["ncs4cvr.models.trainer", "ncs4cvr.components.example_gen"])
def test_versions_are_stable_and_differ(module):
    assert code_version(module) == code_version(module)
    assert code_version(module) != code_version("ncs4cvr.schemas.log")


def test_a_tensorflow_without_kernels_for_gpus_stands_in_for_tensorflow(monkeypatch):
    def distributions(*, name):
        return [SimpleNamespace(version="2.21.0")] if name == "tensorflow-cpu" else []

    monkeypatch.setattr(versions.importlib.metadata, "distributions", distributions)
    assert installed("tensorflow") == "2.21.0"
    assert installed("tfx") == ""


def test_the_installed_version_is_the_distributions():
    assert installed("tfx") == importlib.metadata.version("tfx")
