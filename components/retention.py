"""Which versions of the serving folder stay: the last ones, and those that a kit labels."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from tfx.dsl.io import fileio

from ncs4cvr.components import checksums, stores, versions

LEAVING, PINNED = ".removing-", "pinned.json"  # no numbers: TF Serving does not see them


@dataclass(frozen=True)
class Pins:
    """The versions that the labels of a kit point to, which its servers load by number."""

    kit: str
    versions: Sequence[int]


def pinned(base: str) -> Pins | None:
    """What the last kit that was written of these versions labels; None where none was.

    Raises:
      VersionError: the file cannot be read.
    """
    path = os.path.join(base, PINNED)
    if not fileio.exists(path):
        return None
    try:
        with fileio.open(path, "r") as stream:
            told = json.loads(stream.read())
        return Pins(str(told["kit"]), [int(number) for number in told["versions"]])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise versions.VersionError(f"{path} does not say which versions a kit labels") from error


def retain(base: str, keep: int) -> list[int]:
    """Removes all but the last `keep` versions, and damaged ones below the newest; says which.

    The newest one stays, whole or not, and so do the last that a run pushed, which a rollback may
    have left behind, and those that a kit labels; all, where it cannot be read which these are.
    """
    try:
        pins = pinned(base)
    except versions.VersionError:
        return []
    for name in fileio.listdir(base):
        if name.startswith(LEAVING):  # of a removal that was killed
            checksums.remove(os.path.join(base, name.rstrip("/")))
    *older, newest = versions.numbers(base)
    whole = [n for n in older if not versions.damage(base, n)]
    last = [] if versions.damage(base, newest) else [newest]
    pushed = [n for n in (*whole, *last) if not versions.manifest(base, n).copy_of]
    stay = {newest, *pushed[-1:], *whole[max(0, len(whole) - keep + 1) :]}
    stay |= set(pins.versions) if pins else set()
    gone = [n for n in older if n not in stay]
    for number in gone:
        version, leaving = os.path.join(base, str(number)), os.path.join(base, f"{LEAVING}{number}")
        if not stores.rename_at_once(base):
            stores.disappear(version)
            continue
        with suppress(fileio.NotFoundError):  # another push may be removing it, too
            fileio.rename(version, leaving)
        checksums.remove(leaving)
    return gone
