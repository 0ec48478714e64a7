"""The serving folder: numbered versions of a model, each whole or absent.

TF Serving serves the highest number. So everything that changes what is served, a push or a
rollback, is one new folder under a higher number, which one rename brings about: at no moment is
there no version, nobody reads half of one, and what was served before stays where it is. (An object
store has no such rename: stores.py says what holds there.) A version holds
`assets.extra/manifest.json`, which TF Serving does not read: the checksums of its files.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import tensorflow as tf
from tfx.dsl.io import fileio

from ncs4cvr.components import checksums, stores
from ncs4cvr.components.stores import UNFINISHED

MANIFEST = "assets.extra/manifest.json"


class VersionError(ValueError):
    """A version that is asked for is not there, or not whole; says which are."""


@dataclass(frozen=True)
class Manifest:
    """What a version says of itself.

    Attributes:
      files: path -> SHA-256 of every file but the manifest.
      pushed: when, in UTC.
      copy_of: the version that a rollback copied; "" after a push.
      refused: contents (see `content`) that were rolled back from: they are not pushed anew.
      trained_to: the last day that the model was trained on; "" where nobody said.
    """

    files: dict[str, str]
    pushed: str
    copy_of: str = ""
    refused: Sequence[str] = ()
    trained_to: str = ""

    @property
    def content(self) -> str:
        """One digest of all files."""
        return content(self.files)


def content(files: dict[str, str]) -> str:
    """One digest of the checksums of a model's files."""
    return hashlib.sha256(json.dumps(sorted(files.items())).encode()).hexdigest()


def numbers(base: str) -> list[int]:
    """The versions under `base`, the served one last; not what a push brings file by file."""
    names = stores.names(base)
    halves = {n for n in stores.coming(names) if not stores.loadable(base, n)}
    return sorted(stores.numbered(names) - halves)


def highest(base: str) -> int:
    """The number that a server which starts now loads: also of a version that is not all there."""
    return max(stores.numbered(stores.names(base)), default=0)


def manifest(base: str, version: int) -> Manifest:
    """What the version says of itself. Raises VersionError where it does not."""
    path = os.path.join(base, str(version), MANIFEST)
    if not fileio.exists(path):
        raise VersionError(f"version {version} has no manifest ({path})")
    try:
        with fileio.open(path, "r") as stream:
            return Manifest(**json.loads(stream.read()))
    except (OSError, tf.errors.NotFoundError, ValueError, TypeError) as error:
        raise VersionError(f"version {version} has no readable manifest ({path})") from error


def damage(base: str, version: int) -> list[str]:
    """What the version's files differ in from its manifest, a line each."""
    if os.path.islink(os.path.join(base, str(version))):
        return ["it is a link; a version is a folder of its own"]
    try:
        expected = manifest(base, version).files
    except VersionError as error:
        return [str(error)]
    try:
        found = checksums.of(os.path.join(base, str(version)), MANIFEST)
    except (FileNotFoundError, fileio.NotFoundError, tf.errors.NotFoundError):
        return ["it is being removed"]
    return checksums.differences(expected, found)


def served(base: str) -> int:
    """The version that TF Serving serves; 0 where there is none or it is damaged."""
    newest = max(numbers(base), default=0)
    return 0 if not newest or damage(base, newest) else newest


def refused(base: str) -> set[str]:
    """Contents that were rolled back from, by the newest version that says so; see Manifest.

    That version may be damaged otherwise: what people decided does not rot with a model's files.
    """
    for number in reversed(numbers(base)):
        try:
            return set(manifest(base, number).refused)
        except VersionError:
            continue
    return set()


def publish(
    model: str,
    base: str,
    copy_of: str = "",
    no_more: Collection[str] = (),
    trained_to: str = "",
) -> str:
    """Copies a SavedModel to the next version under `base`; returns the version's number.

    The number is the time in seconds, or one more than the highest there is: a clock that was set
    back must not bring forth a version that nobody serves. The copy is read back before it appears,
    and on a local disk it is there to stay (fsync) before and after the rename.

    Args:
      model: its folder.
      base: the folder of versions.
      copy_of, no_more, trained_to: `copy_of`, `refused` and `trained_to` of its Manifest.

    Raises:
      OSError: the model holds links, or the copy differs from it; nothing is published.
    """
    files = checksums.of(model, MANIFEST)
    if links := [name for name, sum_ in files.items() if sum_.startswith("link to ")]:
        raise OSError(f"{model} holds links ({', '.join(links)}), expected files; copy them in")
    now = dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")
    told = asdict(Manifest(files, now, copy_of, sorted(no_more), trained_to))
    with _scratch(base) as unfinished:
        for name in files:
            to = os.path.join(unfinished, name)
            fileio.makedirs(os.path.dirname(to))
            fileio.copy(os.path.join(model, name), to)
        wrong = checksums.differences(files, checksums.of(unfinished))
        if wrong:
            raise OSError(
                f"the copy of {model} in {unfinished} is not what was copied: {', '.join(wrong)}; "
                "look at the disk, then run again"
            )
        fileio.makedirs(os.path.join(unfinished, os.path.dirname(MANIFEST)))
        with fileio.open(os.path.join(unfinished, MANIFEST), "w") as stream:
            stream.write(json.dumps(told, indent=1))
        _keep(unfinished)
        if stores.rename_at_once(base):
            version = _appear(unfinished, base)
        else:
            version = stores.appear(unfinished, base, [*files, MANIFEST])
    _keep(base, below=False)
    return version


def unfinished_pushes(base: str) -> list[str]:
    """Names of the folders that pushes copy to, of killed ones, too."""
    return [name for name in stores.names(base) if name.startswith(UNFINISHED)]


@contextmanager
def _scratch(base: str) -> Iterator[str]:
    """A folder for one push's copy, gone after it. Old ones of killed pushes go first."""
    for name in unfinished_pushes(base):
        if stores.outdated(name):
            checksums.remove(os.path.join(base, name))
    folder = os.path.join(base, f"{UNFINISHED}-{time.time():.0f}-{uuid.uuid4().hex[:8]}")
    try:
        yield folder
    finally:
        checksums.remove(folder)


def _appear(unfinished: str, base: str) -> str:
    """Gives a finished copy the next number that no other push has taken; returns the number."""
    number = max([int(time.time()), *(n + 1 for n in numbers(base))])
    while True:
        version = os.path.join(base, str(number))
        try:
            fileio.rename(unfinished, version)
        except (OSError, tf.errors.OpError):
            if not fileio.exists(version):  # so it is not that another push took the number
                raise
            number += 1
        else:
            return str(number)


def roll_back(base: str, to: int = 0) -> tuple[str, int]:
    """Publishes an earlier version's content anew; returns the new version and the one it copies.

    The older content comes under a new, highest number instead of the newer versions being moved
    away: with these gone, TF Serving would unload the model in use before the older one is loaded,
    and clients that ask for a version by its number would lose it.

    to: the version to go back to; 0: the last whole one before what is served, of other content and
      not rolled back from. After a rollback "before" means before the version that was copied, so
      that going back twice goes two steps back.

    Raises:
      VersionError: there is no such version, it is damaged, or it is what is served already.
    """
    found = numbers(base)
    if not found:
        raise VersionError(f"{base} holds no version; the first `ncs4cvr run` that is blessed does")
    whole = {n: manifest(base, n) for n in found if not damage(base, n)}
    now = whole.get(found[-1])
    left = {*refused(base), *([now.content] if now else [])}
    target = to or _before(whole, int(now.copy_of or found[-1]) if now else found[-1], left)
    if target not in whole:
        state = "is damaged" if target in found else "is not there"
        known = ", ".join(map(str, whole)) or "none"
        raise VersionError(
            f"version {target} {state}; whole ones under {base}, to go to with --to: {known}"
        )
    content_ = whole[target].content
    if now and now.content == content_:
        raise VersionError(
            f"version {found[-1]}, which is served, holds the same as {target}; name another: --to"
        )
    day, source = whole[target].trained_to, os.path.join(base, str(target))
    version = publish(source, base, str(target), left - {content_}, trained_to=day)
    return version, target


def _before(whole: dict[int, Manifest], start: int, left: Collection[str]) -> int:
    """The last pushed version below `start` whose content is not among `left`."""
    for number in sorted(whole, reverse=True):
        if number < start and not whole[number].copy_of and whole[number].content not in left:
            return number
    raise VersionError(
        f"no whole version of other content lies before {start}; whole ones, to go to with --to: "
        f"{', '.join(map(str, whole)) or 'none'}"
    )


def _keep(folder: str, below: bool = True) -> None:
    """Waits until the disk has a local folder; object stores have what they acknowledged."""
    if not os.path.isdir(folder):
        return
    for where, _, names in os.walk(folder) if below else [(folder, [], [])]:
        for path in (*(os.path.join(where, name) for name in names), where):
            number = os.open(path, os.O_RDONLY)
            try:
                os.fsync(number)
            finally:
                os.close(number)
