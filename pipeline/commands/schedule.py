"""`ncs4cvr schedule`: runs a compiled pipeline on Kubeflow again and again."""

from __future__ import annotations

import argparse
from pathlib import Path

from ncs4cvr.pipeline.status import DONE, USAGE, CommandFailed

DOES = "run a compiled pipeline on Kubeflow on a schedule"
EXAMPLE = """example:
  ncs4cvr schedule pipeline.yaml --host http://localhost:8080 --cron '0 3 * * *'
  ncs4cvr schedule --list --host http://localhost:8080
  ncs4cvr schedule pipeline.yaml --pause --host http://localhost:8080

Every run is of yesterday unless --date says otherwise. One run at a time; days that were missed are
not made up for. A new schedule takes the place of the pipeline's earlier one. Needs the extra
`kubeflow`."""


def add_options(command: argparse.ArgumentParser) -> None:
    """File, server, parameters and what to do."""
    from ncs4cvr.pipeline.kubeflow import options

    command.add_argument("file", nargs="?", default="", help="what `ncs4cvr compile` wrote")
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument("--cron", metavar="EXPRESSION", help="when, such as '0 3 * * *' (UTC)")
    what.add_argument("--list", action="store_true", help="print the schedules")
    what.add_argument("--pause", action="store_true", help="stop starting runs")
    what.add_argument("--resume", action="store_true", help="start runs again")
    options.add_server(command)
    options.add_values(command)


def main(options: argparse.Namespace) -> int:
    """Makes, lists, pauses or resumes schedules."""
    from ncs4cvr.pipeline.kubeflow import client as kubeflow
    from ncs4cvr.pipeline.kubeflow.options import server_of, values_of
    from ncs4cvr.pipeline.kubeflow.server import connect

    if not options.file and not options.list:
        raise CommandFailed(USAGE, "name the pipeline's file, which `ncs4cvr compile` wrote")
    server = server_of(options)
    if options.cron:
        if not any(setting.startswith("date=") for setting in options.param):
            options.date = options.date or "yesterday"
        kubeflow.cron_of(options.cron)
        values = values_of(options)
    name = kubeflow.name_of(Path(options.file)) if options.file else ""
    client = connect(server)
    if options.list:
        for each in kubeflow.schedules(client, server, name):
            cron = each.trigger.cron_schedule.cron if each.trigger.cron_schedule else ""
            print(f"{each.display_name}  {cron}  {each.status}  {each.recurring_run_id}")
        return DONE
    if not options.cron:
        changed = kubeflow.switch(client, server, name, on=options.resume)
        print(f"{name}: {'resumed' if options.resume else 'paused'} {changed}")
        return DONE
    pipeline = kubeflow.upload(client, server, Path(options.file))
    made, replaced = kubeflow.recur(
        client, server, pipeline, options.cron, values, options.pipeline_root
    )
    told = f", instead of {', '.join(replaced)}" if replaced else ""
    print(f"{name}: schedule {made}, {kubeflow.cron_of(options.cron)}{told}")
    return DONE
