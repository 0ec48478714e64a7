"""How a version comes and goes whole on object stores (gs://), where no folder is renamed at once.

TensorFlow renames a folder there file by file, by name; nor can a number be taken by making its
folder. TF Serving takes up a number as soon as one file lies under it. Its loader finds no model
without `saved_model.pb`, so that TF Serving tries again; but a model without
`variables/variables.index` it loads, with variables that nobody set. So `saved_model.pb` comes
last, and goes first.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress

from tfx.dsl.io import fileio

from ncs4cvr.components import checksums

MODEL = "saved_model.pb"
UNFINISHED = ".pushing"  # no number: TF Serving does not see it
UNFINISHED_S = 86_400  # no push takes a day: what is that old is of one that was killed
_CLAIM = re.compile(rf"{re.escape(UNFINISHED)}-\d+-\w+\.(\d+)")  # a copy's name, a number


def rename_at_once(folder: str) -> bool:
    """Whether folders under this path are renamed in one step: on disks and in HDFS."""
    return "://" not in folder or folder.startswith("hdfs://")


def names(base: str) -> list[str]:
    """What lies in a folder; nothing where it is not there."""
    found = fileio.listdir(base) if fileio.exists(base) else []
    return [name.rstrip("/") for name in found]


def numbered(found: Collection[str]) -> set[int]:
    """The versions among these names."""
    return {int(name) for name in found if name.isdigit()}


def coming(found: Collection[str]) -> set[int]:
    """The versions that pushes have claimed, to bring them file by file, among these names."""
    claims = [claim for claim in map(_CLAIM.fullmatch, found) if claim]
    return {int(claim[1]) for claim in claims if not outdated(claim[0])}


def loadable(base: str, number: int) -> bool:
    """Whether TF Serving finds a model in this version."""
    return fileio.exists(os.path.join(base, str(number), MODEL))


def outdated(name: str) -> bool:
    """Whether a copy or a claim is of a push that was killed.

    The name says since when, which an object store may not know.
    """
    began = name.removeprefix(UNFINISHED).strip("-").partition("-")[0]
    return not began.isdigit() or int(began) < time.time() - UNFINISHED_S


def appear(unfinished: str, base: str, files: Sequence[str]) -> str:
    """Moves a finished copy, file by file, to a number of its own; returns the number.

    Args:
      unfinished: the copy's folder.
      base: the folder of versions, which holds it.
      files: paths below the copy's folder, in the order to move them; `saved_model.pb` comes last.
    """
    with _claimed(unfinished, base) as number:
        version = os.path.join(base, str(number))
        try:
            for name in sorted(files, key=lambda name: name == MODEL):
                fileio.rename(os.path.join(unfinished, name), os.path.join(version, name))
        except BaseException:
            disappear(version)
            raise
    return str(number)


@contextmanager
def _claimed(unfinished: str, base: str) -> Iterator[int]:
    """A number above all that are there or claimed, which no other push takes until this ends.

    A push writes its claim, a file, then looks for others': of two that want a number at least one
    sees the other's claim, or its version, since a claim goes when its version is there. Where both
    see each other's, both try a number further on, at a distance by chance.
    """
    number = int(time.time())
    while True:
        found = names(base)
        number = max([number, *(n + 1 for n in numbered(found) | coming(found))])
        claim = f"{unfinished}.{number}"
        with fileio.open(claim, "w") as stream:
            stream.write(str(number))
        others = [name for name in names(base) if name != os.path.basename(claim)]
        if number not in numbered(others) | coming(others):
            break
        fileio.remove(claim)
        number += 1 + secrets.randbelow(9)
    try:
        yield number
    finally:
        fileio.remove(claim)


def disappear(version: str) -> None:
    """Removes a version's folder; at no moment can a part of it be loaded."""
    with suppress(fileio.NotFoundError):  # another push may be removing it, too
        fileio.remove(os.path.join(version, MODEL))
    checksums.remove(version)
