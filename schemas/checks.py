"""What is checked of every row and recipe, and how plain data becomes them again."""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

#: Names become parts of paths, of tensors' and of Kubernetes' names.
COLUMN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")  # an argument of a served signature
SPLIT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")  # of TFX
NAME = re.compile(r"\w[\w.-]*", re.ASCII)

#: user:password@ in a URL; values of what is called a password or the like; and Bearer tokens.
SECRETS = (
    re.compile(r"(?P<kept>\w://[^\s/@:'\"]*:)[^\s/@'\"]+(?=@)"),
    re.compile(
        r"(?P<kept>(?:password|passwd|secret|token|api_?key|access_?key|credential)s?"
        r"['\"]?\s*[=:]\s*['\"]?)[^\s'\",;&]+",
        re.IGNORECASE,
    ),
    re.compile(r"(?P<kept>\bBearer\s+)[^\s'\",;]+", re.IGNORECASE),
)


def without_secrets(text: str, known: Sequence[str] = ()) -> str:
    """The text with *** in place of passwords, tokens and whatever else is `known` to be secret.

    >>> without_secrets("http://me:hunter2@host/x --db_password=hunter2")
    'http://me:***@host/x --db_password=***'
    """
    for secret in filter(None, known):
        text = text.replace(secret, "***")
    for pattern in SECRETS:
        text = pattern.sub(lambda found: f"{found['kept']}***", text)
    return text


def no_secret(what: str, value: str, instead: str) -> None:
    """Raises ValueError where a value that will be written down holds a secret."""
    shown = without_secrets(value)
    if shown != value:
        raise ValueError(
            f"{what} holds a secret, which artifacts and logs would show: {shown}; {instead}"
        )


def name(what: str, value: str, longest: int = 100) -> None:
    """Raises ValueError for a name that could leave the folder it is used in, or is too long."""
    if not isinstance(value, str) or not NAME.fullmatch(value) or len(value) > longest:
        raise ValueError(
            f"{what} {value!r} is no name; expected up to {longest} letters from A to Z or a to z, "
            "digits, '_', '-' and '.', a letter, digit or '_' first, because folders, files and "
            "TensorFlow's scopes are called so"
        )


def one_of(what: str, value: str, known: Sequence[str]) -> None:
    """Raises ValueError unless `value` is known; names the nearest."""
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise ValueError(f"unknown {what} {value!r}{hint} Known: {', '.join(known) or 'none'}")


def between(what: str, value: float, low: float, high: float) -> None:
    """Raises ValueError unless `value` is a number and low <= value <= high."""
    if not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{what} must lie in [{low}, {high}], got {value!r}")


def unique(what: str, names: Sequence[str]) -> None:
    """Raises ValueError where a name stands twice."""
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(
            f"{what} names must differ; given twice: {', '.join(twice)}; rename all but one"
        )


def literals(row: Any) -> None:
    """Raises ValueError where a field of a frozen row is not among the values of its Literal."""
    kinds = typing.get_type_hints(type(row))
    for field in dataclasses.fields(row):
        if typing.get_origin(kinds[field.name]) is Literal:
            of = f" of {type(row).__name__.lower()} {row.name!r}" if hasattr(row, "name") else ""
            one_of(field.name + of, getattr(row, field.name), typing.get_args(kinds[field.name]))


def from_plain(kind: Any, value: Any, where: str = "") -> Any:
    """Rebuilds and checks frozen rows (and tuples of them) from what json.loads gives.

    Nothing of it is executed.

    Args:
      kind: a type of the row, such as Recipe, or of a field.
      value: dicts, lists and scalars.
      where: the place in the whole, for messages, such as "features[3].bins".

    Raises:
      ValueError: a key that the row does not have (names the nearest) or lacks, or a value of
        another type.
    """
    if dataclasses.is_dataclass(kind):
        return _row(kind, value, where)
    if typing.get_origin(kind) is tuple:
        return _tuple(typing.get_args(kind), value, where)
    if typing.get_origin(kind) is Literal:
        one_of(where, value, typing.get_args(kind))
        return value
    allowed = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    if float in allowed and type(value) is int:
        return value
    if type(value) not in allowed:
        names = " or ".join(getattr(each, "__name__", str(each)) for each in allowed)
        raise ValueError(f"{where}: expected {names}, came {value!r}; write it as that type")
    return value


def _row(kind: Any, value: Any, where: str) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    if not isinstance(value, Mapping):
        raise ValueError(
            f"{where or kind.__name__}: expected an object with {', '.join(fields)}; came {value!r}"
        )
    for key in value:
        one_of(f"{kind.__name__} key", key, list(fields))
    needed = [name for name, f in fields.items() if f.default is dataclasses.MISSING]
    if lacking := [name for name in needed if name not in value]:
        raise ValueError(f"{where or kind.__name__} lacks {', '.join(lacking)}; add it")
    hints = typing.get_type_hints(kind)
    dot = f"{where}." if where else ""
    return kind(**{key: from_plain(hints[key], v, f"{dot}{key}") for key, v in value.items()})


def _tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{where}: expected a list, came {value!r}")
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise ValueError(f"{where}: expected a list of {len(kinds)}, came {value!r}")
    return tuple(
        from_plain(each, v, f"{where}[{i}]") for i, (each, v) in enumerate(zip(kinds, value))
    )
