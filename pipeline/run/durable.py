"""Files that are whole at every moment, also when the machine stops in the middle."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


def write(path: Path, text: str) -> None:
    """Replaces the file at once; when this returns, the disk has it."""
    new = path.with_name(f"{path.name}.new")
    with open(new, "w", encoding="utf-8") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    _replace(new, path)


def copy(source: Path, path: Path) -> None:
    """Copies a file; `path` is what it was, or the whole copy."""
    with whole(path) as new:
        shutil.copyfile(source, new)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yields a file to write to, which then takes the place of `path`; it goes if that fails."""
    new = path.with_name(f"{path.name}.new")
    try:
        yield new
        with open(new, "rb+") as stream:
            os.fsync(stream.fileno())
        _replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _replace(new: Path, path: Path) -> None:
    os.replace(new, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def append(path: Path, line: str) -> None:
    """Adds a line to a file. One that a stop cut off costs itself alone: the next starts anew."""
    with open(path, "ab+") as stream:
        torn = False
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            torn = stream.read(1) != b"\n"
        stream.write(b"\n" * torn + line.encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
