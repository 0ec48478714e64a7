"""The checks of `ncs4cvr doctor`: what is looked at, and what to do where it is not well."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement  # TFX brings it

from ncs4cvr.components import checksums, retention, versions
from ncs4cvr.pipeline.code_version import installed
from ncs4cvr.pipeline.commands.runs import run_folders
from ncs4cvr.pipeline.run import lock, recovery

FREE_GB = 2.0  # the default run needs about .5 GB


@dataclass(frozen=True)
class Finding:
    """What was looked at, what is wrong with it, and the cure; nothing is wrong where `fine`."""

    what: str
    wrong: str = ""
    cure: str = ""

    @property
    def fine(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong

    def __str__(self) -> str:
        if self.fine:
            return f"ok     {self.what}"
        return f"wrong  {self.what}: {self.wrong}\n       cure: {self.cure}"


def environment() -> Iterator[Finding]:
    """The packages that ncs4cvr asks for, in the versions that it asks for."""
    wrong = []
    for text in importlib.metadata.requires("ncs4cvr") or ():
        need = Requirement(text)
        if need.marker and not need.marker.evaluate({"extra": ""}):
            continue
        have = installed(need.name)
        if not have:
            wrong.append(f"{need.name} is missing")
            continue
        if not need.specifier.contains(have, prereleases=True):
            wrong.append(f"{need.name} is {have}, must be {need.specifier}")
    again = "remove the environment and make it anew: `make clean env` in the checkout"
    yield Finding("packages", "; ".join(wrong), again)
    keras = os.environ.get("TF_USE_LEGACY_KERAS", "1")
    yield Finding(
        "Keras 2",
        "" if keras == "1" else f"TF_USE_LEGACY_KERAS is {keras!r}",
        "unset TF_USE_LEGACY_KERAS: models here are made of Keras 2 (tf_keras)",
    )


def root(folder: Path) -> Iterator[Finding]:
    """A root and every run in it."""
    if not folder.is_dir():
        yield Finding(f"{folder}: not there yet; the first `ncs4cvr run` makes it")
        return
    yield _writable(folder)
    free = shutil.disk_usage(folder).free / 1e9
    wrong = "" if free >= FREE_GB else f"{free:.1f} GB are free"
    yield Finding(f"{folder}: room", wrong, f"make room: a run needs up to {FREE_GB:g} GB")
    for run in run_folders(folder):
        yield from _run(run)


def _writable(folder: Path) -> Finding:
    may = os.access(folder, os.R_OK | os.W_OK | os.X_OK)
    cure = f"give this user the right: chown -R {os.getuid()} {folder}"
    return Finding(
        f"{folder}: rights", "" if may else "may not be read and written by this user", cure
    )


def _run(run: Path) -> Iterator[Finding]:
    if not os.access(run, os.R_OK | os.W_OK | os.X_OK):
        yield _writable(run)
        return
    who = lock.holder(run)
    if lock.held(run):
        yield Finding(f"{run}: in use by {who}; what it works on is not looked at")
        return
    again = "the next `ncs4cvr run` takes the lock and puts in order what was left"
    yield Finding(f"{run}: lock", f"its last holder died: {who}" if who else "", again)
    yield from _state(run)
    yield from _artifacts(run)
    yield from _serving(run)
    yield from _kit(run)
    yield _summary(run)


def _state(run: Path) -> Iterator[Finding]:
    what, again = f"{run}: {recovery.DATABASE}", "close what uses it, then look again"
    try:
        wrong = recovery.database_damage(run)
        there = not wrong and (run / recovery.DATABASE).is_file()
        open_, finished, failed = recovery.executions(run) if there else (set(), set(), set())
    except recovery.Unreadable as error:
        yield Finding(what, f"is locked or cannot be opened ({error.__cause__})", again)
        return
    cure = "the next `ncs4cvr run` restores it from the copy of the last finished run"
    yield Finding(what, wrong, cure)
    if not there:
        return
    # A step that failed, as where data is refused, may leave its folders until the next run.
    stale = recovery.stale_outputs(run, finished | failed, working=bool(open_))
    left = [f"{len(open_)} unfinished steps"] * bool(open_)
    left += [f"{len(stale)} folders of unfinished steps, such as {stale[0]}"] if stale else []
    yield Finding(f"{run}: stale state", ", ".join(left), "the next `ncs4cvr run` removes it")


def _artifacts(run: Path) -> Iterator[Finding]:
    damaged = [
        f"{path} ({wrong[0]})"
        for path in sorted(run.glob("artifacts/*/*/*"))
        if path.name.isdigit() and (wrong := checksums.damage(str(path)))
    ]
    yield Finding(
        f"{run}: artifacts",
        "; ".join(damaged),
        "the next `ncs4cvr run` makes anew what it needs of them",
    )


def _serving(run: Path) -> Iterator[Finding]:
    base = str(run / "serving")
    found = versions.numbers(base)
    damaged = {n: wrong for n in found if (wrong := versions.damage(base, n))}
    for number, wrong in damaged.items():
        cure = (
            "the next `ncs4cvr run` that is blessed removes it, unless a kit labels it; or remove "
            f"{base}/{number}"
        )
        if number == found[-1]:
            cure = (
                "the next `ncs4cvr run` that is blessed pushes a whole one; at once: "
                f"`ncs4cvr rollback {run}`"
            )
        served = ", which is served" if number == found[-1] else ""
        yield Finding(f"{run}: version {number}{served}", ", ".join(wrong), cure)
    yield Finding(f"{run}: {len(found) - len(damaged)} whole versions")
    if copies := versions.unfinished_pushes(base):
        day = "removed by a push when they are a day old"
        yield Finding(f"{run}: {len(copies)} copies of pushes that did not end, {day}")


def _kit(run: Path) -> Iterator[Finding]:
    """Whether the versions that a kit labels are there."""
    base = str(run / "serving")
    again = f"write the kit anew: `ncs4cvr kit {run} --output KIT_DIR`"
    try:
        pins = retention.pinned(base)
    except versions.VersionError as error:
        yield Finding(f"{run}: kit", str(error), f"{again}; until then no push removes a version")
        return
    if pins:
        gone = sorted(set(pins.versions) - set(versions.numbers(base)))
        wrong = f"it labels {', '.join(map(str, gone))}, which is not there" if gone else ""
        yield Finding(f"{run}: kit {pins.kit}", wrong, f"{again}, and start its server anew")


def _summary(run: Path) -> Finding:
    path = run / "summary.json"
    try:
        if path.is_file():
            json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        return Finding(f"{path}", f"cannot be read ({error})", "the next `ncs4cvr run` writes it")
    return Finding(f"{path}")
