"""Kubeflow Pipelines' API: where it is, and what is wrong when it does not answer as it should."""

from __future__ import annotations

import contextlib
import json
import logging
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ncs4cvr.pipeline.status import FAULT, USAGE, CommandFailed
from ncs4cvr.schemas import checks

NO_KFP = (
    "kfp is not installed. It is the extra `kubeflow`, which cannot share an environment with TFX "
    "1.16: `make kubeflow` sets up .venv-kubeflow beside .venv; run .venv-kubeflow/bin/ncs4cvr"
)
SECONDS = 20  # to wait for the first answer


@dataclass(frozen=True)
class Server:
    """Where the API is, and as whom to talk to it.

    Raises:
      CommandFailed: the host is no http:// or https:// address, or holds a password.
    """

    host: str
    token: str = ""
    namespace: str = ""

    def __post_init__(self) -> None:
        try:
            checks.no_secret("--host", self.host, "put a token into KFP_TOKEN")
        except ValueError as error:
            raise CommandFailed(USAGE, str(error)) from error
        if not self.host.startswith(("http://", "https://")):
            raise CommandFailed(
                USAGE, f"--host {self.host!r} is no address; expected such as http://localhost:8080"
            )


def connect(server: Server) -> Any:
    """A kfp.Client for a server that answers.

    Raises:
      CommandFailed: kfp is missing, or the server is gone or refuses the token; says the cure.
    """
    # kfp.Client itself would ask five times and then say only that it asked.
    _ask_health(server)
    try:
        import kfp
    except ImportError as error:
        raise CommandFailed(USAGE, NO_KFP) from error
    logging.getLogger().setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # "" rather than kfp's default, so that none comes from a file in the home directory.
        return kfp.Client(
            host=server.host,
            existing_token=server.token or None,
            namespace=server.namespace or "",
        )


def _ask_health(server: Server) -> None:
    # Server takes http:// and https:// only.
    request = urllib.request.Request(f"{server.host.rstrip('/')}/apis/v2beta1/healthz")  # noqa: S310
    if server.token:
        request.add_header("Authorization", f"Bearer {server.token}")
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310  # nosec B310
            health = json.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise _refused(server, error.code, str(error.reason)) from error
    except (OSError, ValueError) as error:
        raise _gone(server, error) from error
    if health.get("multi_user") and not server.namespace:
        raise CommandFailed(
            USAGE, f"{server.host} serves many users; say whose runs these are: --namespace NAME"
        )


@contextlib.contextmanager
def explained(server: Server) -> Iterator[None]:
    """Turns what kfp raises into one message with its cure."""
    import kfp_server_api
    import urllib3

    try:
        yield
    except kfp_server_api.ApiException as error:
        raise _refused(server, error.status, _message(error.body) or str(error.reason)) from error
    except urllib3.exceptions.HTTPError as error:
        raise _gone(server, error) from error


def _message(body: str | bytes | None) -> str:
    """What the server says in its own words."""
    try:
        told = json.loads(body or "{}")
    except ValueError:
        return ""
    return str(told.get("message") or told.get("error_message") or told.get("error") or "")


def _refused(server: Server, status: int, message: str) -> CommandFailed:
    cures = {
        401: "the token is missing or has expired: put a fresh one into KFP_TOKEN",
        403: "this user may not do that: check --namespace and the user's role there",
        404: "there is no such thing; is --host the address of the Kubeflow Pipelines API?",
        409: "somebody changed it at the same time: run the command again",
    }
    cure = cures.get(status, "the server's own log says more")
    return CommandFailed(FAULT, f"{server.host} answered {status}, {message}; {cure}")


def _gone(server: Server, error: Exception) -> CommandFailed:
    reason = getattr(error, "reason", None) or error
    return CommandFailed(
        FAULT,
        f"{server.host} does not answer as Kubeflow Pipelines does ({reason}); check --host, or "
        "open a way to it: kubectl port-forward -n kubeflow svc/ml-pipeline-ui 8080:80",
    )
