"""Finds and loads recipes: a built-in one by its name, any other by the path of its file.

A .py file is code and is run; a .json file (what Recipe.to_json gives) is only read.
"""

from __future__ import annotations

import dataclasses
import difflib
import glob
import importlib.util
import re
import runpy
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from ncs4cvr.pipeline import beam
from ncs4cvr.pipeline.dates import DATE
from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.log import Label, Log, Split, Tally
from ncs4cvr.schemas.recipe import Recipe
from ncs4cvr.schemas.recipe_rows import check_trainable
from ncs4cvr.schemas.tasks import Gate, Product, Task

ENDINGS = (".py", ".json")
ROWS = (Feature, Gate, Label, Log, Product, Recipe, Split, Tally, Task)  # that recipes write
BUILT_IN = Path(__file__).parent / "recipes"
SCHEMAS = Path(importlib.util.find_spec("ncs4cvr.schemas").origin).parent  # type: ignore


class RecipeError(ValueError):
    """A recipe (or a key of it) that does not exist or cannot be used; says the cure."""


def built_in_names() -> list[str]:
    """Recipes that come with the package."""
    return sorted(path.stem for path in BUILT_IN.glob("*.py") if path.stem != "__init__")


def find(name: str) -> Path:
    """The file of a recipe, given a built-in name or a path that ends in .py or .json."""
    if name in built_in_names():
        return BUILT_IN / f"{name}.py"
    path = Path(name)
    if path.suffix in ENDINGS and path.is_file():
        return path.resolve()
    known = built_in_names()
    files = [str(p) for ending in ENDINGS for p in path.parent.glob(f"*{ending}")]
    near = difflib.get_close_matches(str(path), files, n=1, cutoff=0.8)
    near += difflib.get_close_matches(path.stem, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise RecipeError(
        f"no recipe {name!r}; {hint}Built in: {', '.join(known)}. "
        "For one of your own, give the path of its file, which ends in .py or .json; "
        "`ncs4cvr init` writes one"
    )


def load(name: str, settings: tuple[str, ...] = (), beam_settings: tuple[str, ...] = ()) -> Recipe:
    """The recipe with `key=value` settings applied, Beam's among them, and its files found.

    Raises:
      RecipeError: no such recipe, key or schema, or a value that the recipe refuses.
    """
    path = find(name)
    try:
        recipe = (_data(path) if path.suffix == ".json" else _code(path)).with_settings(settings)
        recipe = recipe.replace(beam=beam.merged(recipe.beam, beam_settings))
    except ValueError as error:
        raise RecipeError(str(error)) from error
    try:  # as components read it: that checks every type
        recipe = Recipe.from_json(recipe.to_json())
    except ValueError as error:
        raise RecipeError(f"{path}: {error}") from error
    try:
        check_trainable(recipe)
    except ValueError as error:
        raise RecipeError(f"{path}: {error}") from error
    if len(recipe.log.splits) != 3:
        raise RecipeError(
            f"{path}: a pipeline needs three splits, to train, to validate and to test, in this "
            f"order; log.splits has {len(recipe.log.splits)}"
        )
    columns = {f.column for f in recipe.features} | {label.name for label in recipe.log.labels}
    columns |= {recipe.log.user, recipe.log.video, recipe.log.time, "day"}
    if unknown := sorted(set(recipe.slices) - columns):
        near = difflib.get_close_matches(unknown[0], columns, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise RecipeError(
            f"{path}: slices {unknown[0]!r} is no column of the examples; {hint}There are "
            f"{', '.join(sorted(columns))}"
        )
    if not recipe.gates:
        raise RecipeError(
            f"{path}: no gates, so no model could ever be blessed; add one, such as "
            f'Gate("{recipe.tasks[0].name}_auc", at_least=0.6)'
        )
    schema = recipe.data_schema and find_schema(recipe.data_schema, path.parent)
    if schema:
        from ncs4cvr.schemas import data_schema  # loads TFMD: not for `--help`

        try:
            data_schema.read(str(schema))
        except ValueError as error:
            raise RecipeError(f'{error}; mend it, or infer one: data_schema=""') from error
    return dataclasses.replace(recipe, log=located(recipe.log, path), data_schema=str(schema))


def _data(path: Path) -> Recipe:
    try:
        return Recipe.from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:  # JSON's own and UTF-8's errors are among these
        raise RecipeError(f"{path}: {error}; Recipe.to_json writes such a file") from error


def _code(path: Path) -> Recipe:
    try:
        recipe = runpy.run_path(str(path)).get("RECIPE")
    except Exception as error:
        lines = [
            f.lineno for f in traceback.extract_tb(sys.exc_info()[2]) if f.filename == str(path)
        ]
        what = str(error).partition(". Did you mean")[0]  # newer Pythons guess some names, too
        if isinstance(error, SyntaxError) and error.filename == str(path):
            lines, what = [error.lineno], error.msg
        where = f"{path}:{lines[-1]}" if lines else str(path)
        raise RecipeError(f"{where}: {type(error).__name__}: {what}{_meant(error)}") from error
    if not isinstance(recipe, Recipe):
        raise RecipeError(
            f"{path} must define RECIPE = Recipe(...), came {recipe!r}; `ncs4cvr init` writes such "
            "a file"
        )
    return recipe


def _meant(error: Exception) -> str:
    """The nearest name to one that a recipe's code got wrong, as a question; "" if none is near."""
    if isinstance(error, NameError):
        frame = list(traceback.walk_tb(error.__traceback__))[-1][0]
        wrong, known = error.name or "", list(frame.f_globals)
    elif found := re.search(r"(\w+)\.__init__\(\) got an .* argument '(\w+)'", str(error)):
        wrong = found[2]
        row = next((row for row in ROWS if row.__name__ == found[1]), None)
        known = [field.name for field in dataclasses.fields(row)] if row else []
    else:
        return ""
    near = difflib.get_close_matches(wrong, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def located(log: Log, recipe_file: Path) -> Log:
    """The log with paths made absolute: those of the current directory, else beside the recipe.

    "Beside" is the first folder above the recipe's file under which a file matches, so a built-in
    recipe finds its checkout's data from everywhere.
    """

    def here(paths: str) -> str:
        return ",".join(_locate(p.strip(), recipe_file) for p in paths.split(",") if p.strip())

    return dataclasses.replace(
        log,
        events=here(log.events),
        users=here(log.users),
        videos=here(log.videos),
        history=here(log.history),
    )


def _locate(pattern: str, recipe_file: Path) -> str:
    if "://" in pattern or Path(pattern).is_absolute():
        return pattern
    any_day = DATE.sub("*", pattern)
    for folder in (Path.cwd(), *recipe_file.parents):
        if glob.glob(str(folder / any_day)):
            return str(folder / pattern)
    return str(Path.cwd() / pattern)


def find_schema(name: str, folder: Path) -> Path:
    """A curated schema: beside the recipe, in the current directory, or in ncs4cvr.schemas."""
    folders = (folder, Path.cwd(), SCHEMAS)
    for path in (f / name for f in folders):
        if path.is_file():
            return path.resolve()
    known = sorted({p.name for p in _schemas(folders)})
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise RecipeError(
        f"no schema {name!r}; {hint}Looked in {', '.join(map(str, dict.fromkeys(folders)))}; "
        'data_schema="" infers one'
    )


def _schemas(folders: tuple[Path, ...]) -> Iterator[Path]:
    for folder in folders:
        yield from folder.glob("*.pbtxt")
