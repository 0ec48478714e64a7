"""`ncs4cvr loadtest`: how much a TF Serving endpoint bears, and how fast it answers."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ncs4cvr.pipeline.status import DONE, FAULT, USAGE, CommandFailed

if TYPE_CHECKING:
    from ncs4cvr.pipeline.serving.endpoints import Connection, Target
    from ncs4cvr.pipeline.serving.loadtest import Load

DOES = "put load on a TF Serving endpoint"
EXAMPLE = """example:
  ncs4cvr loadtest localhost:8500 --requests runs/kuairand/serving --connections 8
  ncs4cvr loadtest http://localhost:8501 --requests rows.parquet --batch 100 --rate 200

host:port is gRPC, http://host:port REST. Without --rate each connection sends its next request when
the last one was answered; with it requests arrive so many times a second, and what has to wait for
a free connection counts as slow. Exit status 1 if any request failed."""
TTY_S, LINES_S = 1, 10  # how often progress is written: to a terminal, to anything else
BUSY = 0.9  # of a core, and Python's threads are at their limit


def add_options(command: argparse.ArgumentParser) -> None:
    """Where, what, how much, how long."""
    command.add_argument("endpoint", metavar="ENDPOINT", help="host:port or http://host:port")
    command.add_argument(
        "--requests",
        required=True,
        metavar="PATH",
        help="a serving folder or a warm-up file to replay, or rows (.parquet, .csv, .jsonl; "
        "times in ms since 1970)",
    )
    command.add_argument(
        "--model", default="ncs4cvr", help="its name in the server (default: %(default)s)"
    )
    command.add_argument("--label", default="", help="of the version (default: the newest)")
    command.add_argument(
        "--signature", default="", help="default: all of the warm-up file; of rows, predict"
    )
    command.add_argument(
        "--batch", type=int, default=64, help="of rows: how many a request (default: 64)"
    )
    command.add_argument("--connections", type=int, default=4, help="default: 4")
    command.add_argument("--rate", type=float, help="requests a second (open loop)")
    command.add_argument("--duration", type=float, default=10, help="seconds (default: 10)")
    command.add_argument(
        "--timeout", type=float, default=10, help="seconds a request (default: 10)"
    )
    command.add_argument("--output", metavar="FILE", help="write the result as JSON")


def main(options: argparse.Namespace) -> int:
    """Runs the load; prints what came out."""
    from ncs4cvr.pipeline.display import chatter_to

    with chatter_to(Path(os.devnull)) as terminal:
        from ncs4cvr.pipeline.serving.endpoints import RequestFailed, Target
        from ncs4cvr.pipeline.serving.loadtest import Load
        from ncs4cvr.pipeline.serving.rows import InputError

        try:
            if options.batch < 1:
                raise ValueError(f"--batch must be positive, not {options.batch}")
            _check_output(options.output)
            target = Target(options.endpoint, options.model, options.label, options.timeout)
            load = Load(options.connections, options.duration, options.rate, options.timeout)
            found = _run(options, target, load, terminal)
        except RequestFailed as error:
            raise _explained(error, options) from error
        except (InputError, ValueError) as error:
            raise CommandFailed(USAGE, str(error)) from error
    print(told(found), flush=True)  # before the file, which may find no room
    if options.output:
        Path(options.output).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return FAULT if found["failed"] else DONE


def _check_output(name: str | None) -> None:
    if name and not (folder := Path(name).parent).is_dir():
        raise ValueError(f"{name}: there is no folder {folder}; make it, or name another")


def _run(
    options: argparse.Namespace, target: Target, load: Load, terminal: TextIO
) -> dict[str, Any]:
    from ncs4cvr.pipeline.serving import endpoints, loadtest, recorded

    connections = [endpoints.connection(target) for _ in range(load.connections)]
    try:
        connections[0].open()
        requests = _requests(options, connections[0])
        bodies = [(connections[0].encode(r), recorded.rows_in(r)) for r in requests]
        signatures = {r.model_spec.signature_name: i for i, r in enumerate(requests)}
        for i in signatures.values():  # what is not answered at all needs no load
            connections[0].send(bodies[i][0])
        for connection in connections[1:]:
            connection.open()
        found = loadtest.run(load, connections, bodies, _progress(terminal))
    finally:
        for connection in connections:
            connection.close()
        if terminal.isatty():
            terminal.write("\r\x1b[K")
    return {
        "endpoint": target.address,
        "model": target.model,
        "label": target.label,
        "signatures": sorted(signatures),
        "connections": load.connections,
        "rate": load.rate,
        "duration_s": load.duration_s,
        **found,
    }


def _requests(options: argparse.Namespace, connection: Connection) -> list:
    from ncs4cvr.pipeline.serving import endpoints, recorded

    path = Path(options.requests)
    if not recorded.is_rows(path):
        return recorded.from_warmup(path, options.signature)
    signature = options.signature or "predict"
    try:
        inputs = endpoints.inputs_of(connection.signatures(), signature)
    except KeyError as error:
        raise CommandFailed(USAGE, error.args[0]) from error
    return recorded.from_rows(path, signature, inputs, options.batch)


def _progress(terminal: TextIO) -> Callable[[int, str], None]:
    live = terminal.isatty()

    def progress(second: int, line: str) -> None:
        if second % (TTY_S if live else LINES_S) == 0:
            text = f"{second:4} s  {line}"
            terminal.write(f"\r\x1b[K{text}" if live else f"{text}\n")
            terminal.flush()

    return progress


def told(found: dict[str, Any]) -> str:
    """The result, for people."""
    how = f"{found['rate']:g} arrivals a second" if found["rate"] else "closed loop"
    lines = [
        f"{found['endpoint']}  {found['model']}  {', '.join(found['signatures'])}  "
        f"{found['connections']} connections, {how}, {found['elapsed_s']:.1f} s",
        f"answered  {found['answered']}: {found['requests_per_s']:.1f} requests/s, "
        f"{found['rows_per_s']:.0f} rows/s",
    ]
    if found["latency_ms"]:
        values = (f"{name} {value:.2f}" for name, value in found["latency_ms"].items())
        lines.append(f"ms        {'  '.join(values)}")
    lines.append(f"failed    {found['failed']}")
    lines += _errors(found["errors"].items())
    if found["generator_cpus"] > BUSY:
        lines.append(
            f"note: this load generator took {found['generator_cpus']:.1f} CPUs itself and may be "
            "the limit; start several, or send larger batches"
        )
    return "\n".join(lines)


def _errors(errors: Iterable[tuple[str, dict[str, Any]]]) -> list[str]:
    return [
        f"  {error['count']} x {kind}: {error['first'][:300]}".removesuffix(": ")
        for kind, error in errors
    ]


def _explained(error: Any, options: argparse.Namespace) -> CommandFailed:
    """The exit status and message for what the very first requests ran into."""
    where, kind = options.endpoint, error.kind
    if kind in ("UNAVAILABLE", "ConnectionRefusedError"):
        message = f"no server at {where}: {error}; start one (`ncs4cvr kit`) or check ENDPOINT"
    elif kind in ("NOT_FOUND", "HTTP 404"):
        label = f" with the label {options.label!r}" if options.label else ""
        message = f"{where} has no model {options.model!r}{label}: {error}; see --model and --label"
    elif kind in ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "HTTP 400"):
        message = (
            f"{where} refuses the request: {error}; give --requests of this very model, and a "
            "--signature that it has"
        )
    else:
        message = (
            f"{where} does not answer the first request: {kind}: {error}; the server's own log "
            "says more"
        )
    return CommandFailed(FAULT, message)
