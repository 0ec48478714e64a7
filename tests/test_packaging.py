"""What an installed copy is: one top-level package, typed, with its schemas and its command."""

import configparser
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("schemas", "models", "components", "pipeline")
PACKAGES = (
    *FOLDERS,
    "models/days",
    "models/evaluation",
    "models/layers",
    "models/learning",
    "models/packed",
    "models/pruning",
    "models/serving",
    "models/together",
    "components/log",
    "pipeline/commands",
    "pipeline/init",
    "pipeline/kit",
    "pipeline/kubeflow",
    "pipeline/recipes",
    "pipeline/report",
    "pipeline/run",
    "pipeline/serving",
)


@pytest.fixture(scope="module")
def names(wheel) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def read(wheel: Path, name: str) -> str:
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (each for each in archive.namelist() if each.endswith(f".dist-info/{name}"))
        return archive.read(path).decode()


def test_the_only_top_level_package_is_ncs4cvr(wheel, names):
    assert read(wheel, "top_level.txt").split() == ["ncs4cvr"]
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == {"ncs4cvr"}


def test_ncs4cvr_is_a_namespace_without_an_init(names):
    assert "ncs4cvr/__init__.py" not in names


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_is_in_the_wheel(names, package):
    modules = {f"ncs4cvr/{package}/{path.name}" for path in (ROOT / package).glob("*.py")}
    assert modules <= names


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_typed(names, package):
    assert f"ncs4cvr/{package}/py.typed" in names


def test_every_folder_with_code_is_packaged():
    with_code = {
        path.parent.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
    }
    assert with_code <= set(PACKAGES), "list the new folder in setup.py and here"


def test_schemas_travel_with_the_code(names):
    here = {f"ncs4cvr/schemas/{path.name}" for path in (ROOT / "schemas").glob("*.pbtxt")}
    assert here <= names


def test_the_serving_kit_s_templates_travel_with_the_code(names):
    here = {f"ncs4cvr/pipeline/kit/{p.name}" for p in (ROOT / "pipeline/kit").iterdir() if p.suffix}
    assert {name for name in here if not name.endswith(".pyc")} <= names


def test_the_console_command_is_declared(wheel):
    entry_points = configparser.ConfigParser()
    entry_points.read_string(read(wheel, "entry_points.txt"))
    assert dict(entry_points["console_scripts"]) == {"ncs4cvr": "ncs4cvr.pipeline.cli:main"}


def test_an_installed_copy_brings_no_bare_top_level_names(wheel, tmp_path):
    installed = tmp_path / "site-packages"
    zipfile.ZipFile(wheel).extractall(installed)
    # -S and -I: neither this environment's editable install nor the checkout is in sight.
    code = f"""
import sys
sys.path.insert(0, {str(installed)!r})
from importlib.util import find_spec
print([name for name in {FOLDERS!r} if find_spec(name)])
print([name for name in {FOLDERS!r} if not find_spec("ncs4cvr." + name)])
"""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]


@pytest.mark.parametrize("name", FOLDERS)
def test_bare_names_cannot_be_imported_next_to_the_editable_install(name, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", f"import {name}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "ModuleNotFoundError" in done.stderr
