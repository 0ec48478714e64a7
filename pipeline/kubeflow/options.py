"""Options that the commands which talk to Kubeflow have in common."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from ncs4cvr.pipeline.kubeflow.client import values_for
from ncs4cvr.pipeline.kubeflow.server import Server
from ncs4cvr.pipeline.status import USAGE, CommandFailed
from ncs4cvr.schemas import checks


def add_server(command: argparse.ArgumentParser) -> None:
    """Where the API is; the token comes from the environment, where nobody reads it over."""
    command.add_argument(
        "--host", required=True, help="of Kubeflow Pipelines; its token: KFP_TOKEN"
    )
    command.add_argument("--namespace", default="", help="where many users share one Kubeflow")


def add_values(command: argparse.ArgumentParser) -> None:
    """What a run is told."""
    command.add_argument(
        "--param", action="append", default=[], metavar="NAME=VALUE", help="a run parameter"
    )
    command.add_argument(
        "--date", default="", help="day to test on: YYYY-MM-DD, yesterday or today"
    )
    command.add_argument(
        "--pipeline-root", default="", help="where artifacts go (default: the server's choice)"
    )


def server_of(options: argparse.Namespace) -> Server:
    """The server that the options name."""
    return Server(options.host, os.environ.get("KFP_TOKEN", ""), options.namespace)


def values_of(options: argparse.Namespace) -> dict[str, Any]:
    """The run's parameters."""
    settings = {}
    for setting in options.param:
        name, equals, value = setting.partition("=")
        if not equals:
            raise CommandFailed(
                USAGE, f"--param {setting!r} must read NAME=VALUE, such as date=2022-05-06"
            )
        _no_secret("--param", setting, "give the steps an identity of their own")
        settings[name] = value
    if options.date:
        if settings.get("date", options.date) != options.date:
            raise CommandFailed(
                USAGE,
                f"--param date={settings['date']} and --date {options.date} name two days; leave "
                "one out",
            )
        settings["date"] = options.date
    return values_for(Path(options.file), settings)


def _no_secret(option: str, value: str, instead: str) -> None:
    try:
        checks.no_secret(option, value, instead)
    except ValueError as error:
        raise CommandFailed(USAGE, str(error)) from error
