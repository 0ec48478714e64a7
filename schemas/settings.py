"""`key=value` of the command line, by the types of a dataclass's fields."""

from __future__ import annotations

import typing
from typing import Any, Literal

from ncs4cvr.schemas.checks import one_of


def parse(recipe: type, setting: str) -> tuple[str, Any]:
    """Parses one `key=value` by the type of the recipe's field.

    >>> from ncs4cvr.schemas.recipe import Recipe
    >>> parse(Recipe, "hidden=256,128")
    ('hidden', (256, 128))

    Args:
      recipe: the class Recipe, whose defaults are the examples.
      setting: as it was typed.

    Raises:
      ValueError: no such key, a key that only a file can set, or a value of another type.
    """
    key, sep, value = setting.partition("=")
    if not sep:
        raise ValueError(f"setting {setting!r} must read key=value, such as keep=0.1")
    types = typing.get_type_hints(recipe)
    one_of("recipe key", key, list(types))
    kind = types[key]
    if kind == tuple[int, ...]:
        kind = _ints
    elif typing.get_origin(kind) is Literal:
        kind = str
    elif key == "beam":
        raise ValueError(f"beam={value!r}: Beam's options are set with --beam KEY=VALUE")
    elif kind not in (int, float, str):
        raise ValueError(
            f"{key} cannot be set on the command line, came {value!r}; write it in a recipe file"
        )
    try:
        return key, kind(value)
    except ValueError:
        example = getattr(recipe, key)
        if isinstance(example, tuple):
            example = ",".join(map(str, example))
        raise ValueError(
            f"{key}={value!r} is not of the type {_KINDS[kind]}; give one, such as {key}={example}"
        ) from None


def _ints(value: str) -> tuple[int, ...]:
    return tuple(int(part) for part in value.split(",") if part)


_KINDS = {int: "int", float: "float", _ints: "int,int,..."}
