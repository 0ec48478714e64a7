"""The rooms of the house, and which may know which: schemas <- models <- components <- pipeline."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "schemas": {"schemas"},
    "models": {"schemas", "models"},
    "components": {"schemas", "models", "components"},
    # The pipeline names model code by dotted strings, so compiling a DAG loads none of it.
    "pipeline": {"schemas", "components", "pipeline"},
}
#: Each may import those above it, and the files below all; models/trainer.py may import all.
ROOMS_OF_MODELS = [
    "together",
    "layers",
    "evaluation",
    "learning",
    "pruning",
    "packed",
    "days",
    "serving",
]
FILES_BELOW = ["analyzers", "preprocessing", "sparsity"]


def imported_modules(source: str, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Yields (line, dotted name) of each import in `source`, relative ones resolved.

    Example:
        >>> list(imported_modules("from ..models import losses", "ncs4cvr.pipeline.dag", False))
        [(1, 'ncs4cvr.models.losses')]
    """
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [base])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}"


def wrong_imports(source: str, module: str, is_package: bool = False) -> list[str]:
    room = module.split(".")[1]
    wrong = []
    for line, name in imported_modules(source, module, is_package):
        top, *rest = name.split(".")
        if top in MAY_IMPORT:
            wrong.append(f"{line}: {name} (write ncs4cvr.{name})")
        elif top == "ncs4cvr" and rest and rest[0] not in MAY_IMPORT[room]:
            wrong.append(f"{line}: {name} ({room} may import {sorted(MAY_IMPORT[room])})")
    return wrong


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_imports_go_one_way(room):
    wrong = []
    for path in sorted((ROOT / room).rglob("*.py")):
        relative = path.relative_to(ROOT)
        parts = relative.with_suffix("").parts
        is_package = parts[-1] == "__init__"
        module = ".".join(["ncs4cvr", *(parts[:-1] if is_package else parts)])
        source = path.read_text(encoding="utf-8")
        wrong += [f"{relative}:{each}" for each in wrong_imports(source, module, is_package)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("import ncs4cvr.models.layers.losses", "ncs4cvr.schemas.features"),
        ("from ncs4cvr import pipeline", "ncs4cvr.components.example_gen"),
        ("def f():\n    from ..models import losses", "ncs4cvr.pipeline.dag"),
        ("from ...models.losses import bce", "ncs4cvr.pipeline.recipes.kuairand"),
        ("from models import losses", "ncs4cvr.models.trainer"),
    ],
)
def test_a_wrong_direction_is_found(source, module):
    assert wrong_imports(source, module)


@pytest.mark.parametrize("room", [*FILES_BELOW, *ROOMS_OF_MODELS])
def test_rooms_of_models_import_those_above_them(room):
    order = [*FILES_BELOW, *ROOMS_OF_MODELS]
    allowed = order[: order.index(room) + 1]
    folder = ROOT / "models"
    wrong = []
    for path in sorted((folder / room).glob("*.py")) or [folder / f"{room}.py"]:
        module = f"ncs4cvr.models.{room}.{path.stem}"
        for line, name in imported_modules(path.read_text(encoding="utf-8"), module, False):
            package, _, rest = name.partition(".models.")
            if package == "ncs4cvr" and rest.split(".")[0] not in allowed:
                wrong.append(f"{path.relative_to(ROOT)}:{line}: {name}")
    assert not wrong, "\n".join(wrong)


def test_importing_the_pipeline_loads_no_model_code():
    loaded = "[name for name in sys.modules if name.startswith('ncs4cvr.models')]"
    code = f"import sys, ncs4cvr.pipeline, ncs4cvr.pipeline.recipes; print({loaded})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"
