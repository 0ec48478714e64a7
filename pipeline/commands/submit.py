"""`ncs4cvr submit`: runs a compiled pipeline on Kubeflow, now."""

from __future__ import annotations

import argparse
from pathlib import Path

from ncs4cvr.pipeline.status import DONE

DOES = "run a compiled pipeline on Kubeflow"
EXAMPLE = """example:
  ncs4cvr submit pipeline.yaml --host http://localhost:8080 --date 2022-05-06 \\
      --param 'gates={"ctr_auc": {"at_least": 0.7}}'

Creates the pipeline or a new version of it where that is needed. Needs the extra `kubeflow`."""


def add_options(command: argparse.ArgumentParser) -> None:
    """File, server and parameters."""
    from ncs4cvr.pipeline.kubeflow import options

    command.add_argument("file", help="what `ncs4cvr compile` wrote")
    options.add_server(command)
    options.add_values(command)


def main(options: argparse.Namespace) -> int:
    """Uploads and runs; prints the run's id."""
    from ncs4cvr.pipeline.kubeflow import client as kubeflow
    from ncs4cvr.pipeline.kubeflow.options import server_of, values_of
    from ncs4cvr.pipeline.kubeflow.server import connect

    server, values = server_of(options), values_of(options)
    client = connect(server)
    pipeline = kubeflow.upload(client, server, Path(options.file))
    run = kubeflow.run_now(client, server, pipeline, values, options.pipeline_root)
    new = "new version" if pipeline.new else "version that was there"
    print(f"pipeline {pipeline.name}, {new} {pipeline.version_id}: run {run}")
    return DONE
