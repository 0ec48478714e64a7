"""What a component's result depends on besides its inputs: its sources and the libraries below.

TFX's cache key holds the dotted name of what a component calls, never its text. So the components
get this digest as an execution property.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import importlib.util
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "ncs4cvr"
LIBRARIES = ("tfx", "tensorflow")
#: What else brings a package of this name: the same TensorFlow without kernels for GPUs.
STAND_INS = {"tensorflow": "tensorflow-cpu"}


@functools.cache
def code_version(module: str) -> str:
    """Hex digest of a module's source, of what it imports from ncs4cvr, and of TFX's version."""
    digest = hashlib.sha256()
    for library in LIBRARIES:
        digest.update(f"{library} {installed(library)}\n".encode())
    for name, path in sorted(sources(module).items()):
        digest.update(f"{name}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def installed(library: str) -> str:
    """Version of an installed distribution, or of its stand-in; empty where there is neither."""
    for name in filter(None, (library, STAND_INS.get(library))):
        for found in importlib.metadata.distributions(name=name):
            return found.version
    return ""


def sources(module: str) -> dict[str, Path]:
    """The files of a module and, transitively, of what it imports from ncs4cvr; loads none."""
    found: dict[str, Path] = {}
    todo = [module]
    while todo:
        name = todo.pop()
        path = _path(name)
        if path is None or name in found:
            continue
        found[name] = path
        todo.append(name.rpartition(".")[0])
        todo += _imports(path)
    return found


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@functools.cache
def _path(name: str) -> Path | None:
    """The file of a module of ncs4cvr; None for other modules and for names inside modules."""
    package, _, rest = name.partition(".")
    if package != PACKAGE or not rest:
        return None
    room, *inner = rest.split(".")
    spec = importlib.util.find_spec(f"{PACKAGE}.{room}")
    if spec is None or spec.origin is None:
        return None
    base = Path(spec.origin).parent.joinpath(*inner)
    path = base / "__init__.py" if base.is_dir() else base.with_name(f"{base.name}.py")
    return path if path.is_file() else None
