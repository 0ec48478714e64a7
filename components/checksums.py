"""Checksums of folders: what a folder held when it was finished, and what it holds now.

A seal is a file of checksums that lies where TFX keeps its own notes on a component: that of
`<component>/<output>/<number>` is `<component>/.system/checksums/<output>/<number>.json`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress

from tfx.dsl.io import fileio

PIECE = 1 << 20
Sums = dict[str, str]


def of(folder: str, but: str = "") -> Sums:
    """Path below the folder -> SHA-256 of the file, in hex; `but` names one that is left out.

    A link counts as itself and is not followed: what it leads to is not the folder's.
    """
    found = {}
    # On a local disk os.walk, for TensorFlow's walk, which is fileio's, goes through links.
    walk = os.walk if os.path.isdir(folder) else fileio.walk
    for where, folders, names in walk(folder):
        for name in (*names, *folders):
            path = os.path.join(where, name)
            below = os.path.relpath(path, folder)
            if os.path.islink(path):
                found[below] = f"link to {os.readlink(path)}"
            elif name in names and below != but:
                found[below] = of_file(path)
    return dict(sorted(found.items()))


def remove(folder: str) -> None:
    """Removes a folder with all it holds, a file or a link: what links lead to stays.

    TensorFlow's rmtree, which is fileio's, would go through them. What is gone already, or is being
    removed by another process, is fine.
    """
    with suppress(FileNotFoundError, fileio.NotFoundError):
        if os.path.islink(folder):
            os.unlink(folder)
        elif os.path.isdir(folder):
            shutil.rmtree(folder)
        elif fileio.isdir(folder):
            fileio.rmtree(folder)
        elif fileio.exists(folder):
            fileio.remove(folder)


def inside(folder: str, root: str) -> bool:
    """Whether a local folder lies below `root`, all links followed."""
    return os.path.realpath(folder).startswith(os.path.join(os.path.realpath(root), ""))


def of_file(path: str) -> str:
    """SHA-256 of a file, in hex."""
    digest = hashlib.sha256()
    with fileio.open(path, "rb") as stream:
        while piece := stream.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def differences(expected: Mapping[str, str], found: Mapping[str, str]) -> list[str]:
    """One line per file that is missing, changed or more than was expected.

    >>> differences({"a": "1", "b": "2"}, {"b": "3", "c": "4"})
    ['a is missing', 'b has changed', 'c is new']
    """
    lines = [f"{name} is missing" for name in expected if name not in found]
    lines += [
        f"{name} has changed" for name, sum_ in expected.items() if found.get(name, sum_) != sum_
    ]
    return lines + [f"{name} is new" for name in found if name not in expected]


def seal(folder: str) -> None:
    """Notes what a finished folder holds."""
    path = _seal_of(folder)
    fileio.makedirs(os.path.dirname(path))
    with fileio.open(f"{path}.new", "w") as stream:
        stream.write(json.dumps(of(folder), indent=1))
    fileio.rename(f"{path}.new", path, overwrite=True)


def sealed(folder: str) -> bool:
    """Whether the folder has a seal."""
    return fileio.exists(_seal_of(folder))


def sums(folder: str) -> Sums:
    """What the folder held when it was sealed. Raises ValueError where the seal is broken."""
    with fileio.open(_seal_of(folder), "r") as stream:
        return json.loads(stream.read())


def damage(folder: str) -> list[str]:
    """What is no longer as it was sealed, a line each; nothing where there is no seal."""
    if not sealed(folder):
        return []
    try:
        expected = sums(folder)
    except ValueError:
        return ["its checksums cannot be read"]
    return differences(expected, of(folder))


def unseal(folder: str) -> None:
    """Forgets what the folder held."""
    if sealed(folder):
        fileio.remove(_seal_of(folder))


def _seal_of(folder: str) -> str:
    parent, number = os.path.split(folder.rstrip("/"))
    component, output = os.path.split(parent)
    return os.path.join(component, ".system", "checksums", output, f"{number}.json")
