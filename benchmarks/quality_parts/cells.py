"""One cell of the benchmark: what it is, where its result lies, and how it is made.

A cell is a ticket search, a trained model or a LightGBM model, with one seed. Its result is a JSON
file, written last; a search keeps its tickets beside it, a model its predictions. The file's name
is a digest of recipe and data. The digest of the code is inside: a result of other code is made
anew, unless it is asked for.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ncs4cvr.pipeline.code_version import sources
from ncs4cvr.schemas.recipe import Recipe

HERE = Path(__file__).parent
#: What makes a cell's numbers beside the models themselves.
OWN_CODE = ("cells.py", "data.py", "training.py", "boosting.py", "scores.py", "sizes.py")
LIBRARIES = ("tensorflow", "lightgbm", "numpy")
SPLITS = ("validation", "test")


@dataclass(frozen=True)
class Cell:
    """One thing to make.

    Attributes:
      kind: "search", "train" or "boost".
      model: the table's row.
      recipe: everything that training depends on, its seed included.
      data: fingerprint of the examples.
      folder: of the data set's cells.
      options: LightGBM's parameters.
      search: whose tickets the model takes, or soft labels, or both.
    """

    kind: str
    model: str
    recipe: Recipe
    data: str
    folder: Path
    options: tuple[tuple[str, Any], ...] = ()
    search: Cell | None = None

    @functools.cached_property
    def key(self) -> str:
        """Digest of all that the result depends on, the code left out."""
        facts = [self.kind, self.data, recipe_facts(self.recipe), list(self.options)]
        facts.append(self.search.key if self.search else "")
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    @property
    def path(self) -> Path:
        """The result's file."""
        # By what it is, not by `model`: rows of one recipe under two names are made once.
        what = "tickets" if self.kind == "search" else self.recipe.sharing
        what = "lightgbm" if self.kind == "boost" else what
        control = f"-{self.recipe.control}" if self.recipe.control else ""
        return self.folder / f"{what}{control}-seed{self.recipe.seed}-{self.key}.json"

    @property
    def arrays(self) -> Path:
        """The file of predictions, or the folder of tickets."""
        return self.path.with_suffix(".npz" if self.kind != "search" else "")

    def stored(self, any_code: bool = False) -> dict[str, Any] | None:
        """The result, if it is there and of this code (or of any)."""
        try:
            result = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return result if any_code or result["code"] == code_digest() else None

    def store(self, result: Mapping[str, Any]) -> None:
        """Writes the result, whole or not at all; what lies beside it must be there already."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**result, "code": code_digest()}, indent=1)
        write_whole(self.path, text.encode() + b"\n")

    def predictions(self, split: str) -> dict[str, np.ndarray]:
        """{task: [rows]} of a split."""
        with np.load(self.arrays, allow_pickle=False) as arrays:
            names = [n for n in arrays.files if n.startswith(f"{split}/")]
            return {name.partition("/")[2]: arrays[name] for name in names}

    def store_predictions(self, predictions: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """Writes {split: {task: [rows]}}."""
        self.folder.mkdir(parents=True, exist_ok=True)
        flat = {f"{s}/{t}": p for s, tasks in predictions.items() for t, p in tasks.items()}
        new = self.arrays.with_suffix(f".{os.getpid()}.new")
        with new.open("wb") as out:
            np.savez_compressed(out, **flat)
        new.replace(self.arrays)


def recipe_facts(recipe: Recipe) -> str:
    """The recipe as JSON without what no cell depends on: files, gates, checks, warm starts."""
    log = dataclasses.replace(recipe.log, events="", users="", videos="", history="")
    bare = recipe.replace(log=log, gates=(), slices=(), data_schema="", drift_threshold=0.0)
    return bare.replace(warm_learning_rate=0.0, warm_label_share=1.0).to_json()


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file so that nobody ever sees half of it."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    new.write_bytes(content)
    new.replace(path)


@functools.cache
def code_digest() -> str:
    """Digest of the code that results depend on: models, training and this benchmark's cells.

    It is taken from the syntax trees without docstrings, so that comments, layout and explanations
    may change. TensorFlow's, NumPy's and LightGBM's versions count, too.
    """
    files = {**sources("ncs4cvr.models.pruning.lottery"), **{n: HERE / n for n in OWN_CODE}}
    digest = hashlib.sha256()
    for library in LIBRARIES:
        digest.update(f"{library} {importlib.metadata.version(library)}\n".encode())
    for name, path in sorted(files.items()):
        digest.update(f"{name}\n{meaning(path)}\n".encode())
    return digest.hexdigest()[:16]


def meaning(path: Path) -> str:
    """The code of a file, without what may change without changing a result."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:]
    return ast.dump(tree)
