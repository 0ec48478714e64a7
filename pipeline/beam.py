"""Where Beam's steps run: a recipe's `beam` and a command's `--beam`, as flags that Beam reads.

Checked before anything runs, since Beam itself drops flags that it does not know.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib
import os
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

# Beam's own DirectRunner looks for a program on the internet before it falls back to this one.
HERE = "apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"
#: Unless an image is named, TFX packs a copy of itself for workers elsewhere: 2 s and 50 MB in the
#: folder of temporary files, which stay, for every step. Runners of this machine look at no image.
NO_IMAGE = "--sdk_container_image=none"
HERE_NAMES = ("DirectRunner", "FnApiRunner", HERE)
#: Runners that send the pipeline to a job service, which may know more flags than Beam's Python.
PORTABLE = ("PortableRunner", "FlinkRunner", "SparkRunner")
WAIT_S = 10.0  # for a job service to accept a connection


def add_option(command: argparse.ArgumentParser) -> None:
    """`--beam`."""
    command.add_argument(
        "--beam",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="option of Beam: where its steps run (as often as you like)",
    )


@contextlib.contextmanager
def apart_from_the_command_line() -> Iterator[None]:
    """Within it, TFX reads Beam's flags alone.

    It puts them behind the arguments of this process and reads all: a `-v` there, which may be a
    test runner's or a caller's own, would take the first of them for its value.
    """
    given = sys.argv
    sys.argv = given[:1]
    try:
        yield
    finally:
        sys.argv = given


def merged(recipe: Sequence[str], command: Sequence[str]) -> tuple[str, ...]:
    """A recipe's settings with those of the command, which win key by key.

    >>> merged(("runner=FlinkRunner", "parallelism=8"), ("parallelism=2",))
    ('runner=FlinkRunner', 'parallelism=2')
    """
    given = {_key(setting) for setting in command}
    return (*(setting for setting in recipe if _key(setting) not in given), *command)


def arguments(settings: Sequence[str]) -> tuple[str, ...]:
    """Beam's flags; without settings one process, this one.

    Args:
      settings: `key=value` or, for a switch, `key`; with or without `--` in front.

    Raises:
      ValueError: a key, value or runner that Beam does not know, or what belongs to it is missing;
        says the cure.

    >>> arguments(["runner=DirectRunner", "direct_num_workers=2"])[1:3]
    ('--direct_num_workers=2', '--direct_running_mode=multi_processing')
    """
    given = {_key(setting): setting.partition("=")[2] for setting in settings}
    runner = given.get("runner", HERE)
    flags = ["--" + setting.removeprefix("--") for setting in settings]
    if runner in HERE_NAMES:
        flags = [f"--runner={HERE}", *(f for f in flags if _key(f) != "runner")]
        workers = given.get("direct_num_workers", "1")
        if "direct_num_workers" not in given:
            flags.append("--direct_num_workers=1")
        if "direct_running_mode" not in given:
            # Threads would share one interpreter, and gain nothing.
            mode = "in_memory" if workers == "1" else "multi_processing"
            flags.append(f"--direct_running_mode={mode}")
        if "sdk_container_image" not in given:
            flags.append(NO_IMAGE)
    if settings:
        _check(flags, runner)
    return tuple(flags)


def check(settings: Sequence[str]) -> None:
    """Whether Beam understands the settings, and what they need is there, seen from this machine.

    Raises:
      ValueError: as `arguments`; no job service at the endpoint, no Java to start one, no setup
        file.
    """
    if not settings:
        return
    given = {_key(flag): flag.partition("=")[2] for flag in arguments(settings)}
    setup, endpoint = given.get("setup_file", ""), given.get("job_endpoint", "")
    uber_jar = given.keys() & {"flink_submit_uber_jar", "spark_submit_uber_jar"}
    if setup and not os.path.isfile(setup):
        raise ValueError(f"beam: setup_file={setup} is no file; build the checkout's or drop it")
    if endpoint:
        _connect(endpoint)
    elif given["runner"] in PORTABLE and not uber_jar and not shutil.which("java"):
        raise ValueError(
            f"beam: {given['runner']} starts its job service with java, which is not on PATH; "
            "install it, or start a job service and give job_endpoint=HOST:PORT"
        )


def _key(setting: str) -> str:
    return setting.removeprefix("--").partition("=")[0]


def _check(flags: Sequence[str], runner: str) -> None:
    for flag in flags:
        if not _key(flag).isidentifier():
            raise ValueError(f"beam: {flag.removeprefix('--')!r} must read key=value")
    _check_runner(runner)
    parser = _beams_parser()
    values, unknown = parser.parse_known_args(list(flags))
    known = sorted(vars(values))
    for flag in unknown:
        key = _key(flag)
        near = difflib.get_close_matches(key, known, 1, 0.8 if runner in PORTABLE else 0.5)
        if near or runner not in PORTABLE:
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"beam: Beam has no option {key!r}{hint or '; docs/production.md names some'}"
            )
    if runner not in HERE_NAMES:
        _check_workers(vars(values), runner)


def _check_runner(runner: str) -> None:
    from apache_beam.options.pipeline_options import StandardOptions

    module, _, name = runner.rpartition(".")
    if module:
        with contextlib.suppress(ImportError, AttributeError):
            getattr(importlib.import_module(module), name)
            return
    elif runner in StandardOptions.KNOWN_RUNNER_NAMES:
        return
    known = StandardOptions.KNOWN_RUNNER_NAMES
    near = difflib.get_close_matches(runner, known, 1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise ValueError(f"beam: unknown runner {runner!r}{hint} Known: {', '.join(known)}")


def _check_workers(values: Mapping[str, Any], runner: str) -> None:
    """On other machines ncs4cvr has to be there, too: steps are sent by name, not as code."""
    kind, config = values["environment_type"], values["environment_config"]
    if not kind:
        kind = "LOOPBACK" if _engine_is_here(values, runner) else "DOCKER"
    if runner == "PortableRunner" and not values["job_endpoint"]:
        raise ValueError(
            "beam: PortableRunner needs a job service: job_endpoint=HOST:PORT; or name its engine: "
            "runner=FlinkRunner, runner=SparkRunner"
        )
    if kind == "EXTERNAL" and not config and not values["environment_options"]:
        raise ValueError(
            "beam: environment_type=EXTERNAL needs environment_config=HOST:PORT, where Beam's "
            "worker pool listens"
        )
    if values["setup_file"] and not os.path.isabs(values["setup_file"]):
        raise ValueError(
            f"beam: setup_file={values['setup_file']} must be an absolute path: steps run in "
            "folders of their own"
        )
    brought = ("sdk_container_image", "setup_file", "extra_packages", "requirements_file")
    remote = runner == "DataflowRunner" or (runner in PORTABLE and kind == "DOCKER")
    if remote and not config and not any(values[key] for key in brought):
        raise ValueError(
            f"beam: {runner}'s workers would not have ncs4cvr; give sdk_container_image=IMAGE that "
            "has it installed, or setup_file=/ABSOLUTE/PATH/setup.py"
        )


def _engine_is_here(values: Mapping[str, Any], runner: str) -> bool:
    """Whether Beam starts a small engine itself, and puts its workers into this process."""
    masters = {"FlinkRunner": "flink_master", "SparkRunner": "spark_master_url"}
    return runner in masters and values[masters[runner]].startswith(("[", "local"))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"beam: {message.removeprefix('argument --')}")


def _beams_parser() -> argparse.ArgumentParser:
    """All options of the installed Beam, as it collects them itself."""
    from apache_beam.options.pipeline_options import PipelineOptions

    parser = _Parser(add_help=False, allow_abbrev=False, conflict_handler="resolve")
    for kind in PipelineOptions.__subclasses__():
        if kind.__module__.startswith("apache_beam."):
            kind._add_argparse_args(parser)
    return parser


def _connect(endpoint: str) -> None:
    host, _, port = endpoint.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"beam: job_endpoint={endpoint} must read HOST:PORT")
    try:
        socket.create_connection((host, int(port)), WAIT_S).close()
    except OSError as error:
        raise ValueError(
            f"beam: no job service answers at job_endpoint={endpoint} ({error}); start it, or mend "
            "the address"
        ) from error
