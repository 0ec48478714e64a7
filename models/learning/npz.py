"""Arrays in a file that numpy.load reads, written and read one after the other.

So nobody needs to hold all of them at once; a bucket will do.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, cast

import numpy as np
import tensorflow as tf


def write(path: str, arrays: Iterable[tuple[str, np.ndarray]], compressed: bool = False) -> None:
    """Writes (name, array) after (name, array)."""
    how = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with (
        tf.io.gfile.GFile(path, "wb") as out,
        zipfile.ZipFile(cast(Any, _OneWay(out)), "w", how) as packed,
    ):
        for name, array in arrays:
            with packed.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


class Stored(Sequence):
    """The arrays of a file whose names begin so, in the names' order, each read when asked for.

    Raises:
      OSError, ValueError, zipfile.BadZipFile, tf.errors.OpError: when made: the file is not whole.
    """

    def __init__(self, path: str, prefix: str = ""):
        self.path = path
        with tf.io.gfile.GFile(path, "rb") as stream, zipfile.ZipFile(stream) as packed:
            names = [name.removesuffix(".npy") for name in packed.namelist()]
        self.names = sorted(name for name in names if name.startswith(prefix))

    def check(self) -> None:
        """Reads all once, against their checksums.

        Raises:
          zipfile.BadZipFile: one is damaged; also OSError and zlib.error.
        """
        with tf.io.gfile.GFile(self.path, "rb") as stream, zipfile.ZipFile(stream) as packed:
            if damaged := packed.testzip():
                raise zipfile.BadZipFile(f"{damaged} is damaged")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: Any) -> Any:
        return self.array(self.names[index])

    def items(self) -> Iterator[tuple[str, np.ndarray]]:
        """(name, array) after (name, array)."""
        return ((name, self.array(name)) for name in self.names)

    def array(self, name: str) -> np.ndarray:
        """One of them, by its name."""
        with (
            tf.io.gfile.GFile(self.path, "rb") as stream,
            zipfile.ZipFile(stream) as packed,
            packed.open(f"{name}.npy") as member,
        ):
            return np.lib.format.read_array(member, allow_pickle=False)


class _OneWay:
    """A file that is only written to: zipfile would go back in it, which a bucket's cannot."""

    def __init__(self, out: tf.io.gfile.GFile):
        self.out, self.flush = out, out.flush

    def write(self, data: bytes) -> int:
        """As a file does, which tells how much it took."""
        self.out.write(bytes(data))
        return len(data)
