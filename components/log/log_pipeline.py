"""The Beam pipeline from raw logs to sharded tf.Examples; scales with workers, not with memory.

    units -> parse, cut by user -> sort users, drop duplicates -> count per video and day
                                        |                               |
                                        +----> join, histories <--------+
                                                    -> shards

Rows travel in files (buckets.py), a bounded number of them in each bucket; Beam groups the names of
those files. A video's rows are never gathered in one place, only its counts per day, so one that
everybody watches costs no more than others.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import apache_beam as beam

from ncs4cvr.components.log.buckets import create, make_folder, remove, writing
from ncs4cvr.components.log.log_steps import COUNTS, Answer, Parse, Tidy, Write, error_file
from ncs4cvr.components.log.plan import BUCKET_ROWS, Plan, make_plan
from ncs4cvr.components.log.records import LogError, open_file
from ncs4cvr.components.log.report import check_met, check_totals, merge, report
from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.log import Log

logger = logging.getLogger("ncs4cvr")


def write_examples(
    log: Log,
    features: Sequence[Feature],
    split_folders: Mapping[str, str],
    dead_letters: str,
    temp: str,
    make_pipeline: Callable[[], beam.Pipeline] = beam.Pipeline,
    bucket_rows: int = BUCKET_ROWS,
) -> dict[str, Any]:
    """Runs the pipeline; returns what counts.json holds.

    split_folders: split name -> where its data_tfrecord-*.gz go. dead_letters: where counts.json
    and dead_letters-*.jsonl go. temp: shared by all workers, made and removed here.
    bucket_rows: rows that a worker holds at a time; changes the shards, never the examples.

    Raises LogError if the log or its description cannot be used.
    """
    plan = make_plan(log, features, bucket_rows)
    logger.info(
        "reading %d pieces of %d files in %d buckets",
        len(plan.units), len({unit.path for unit in plan.units}), plan.buckets,
    )  # fmt: skip
    for folder in (temp, dead_letters, *split_folders.values()):
        make_folder(folder)
    try:
        with make_pipeline() as pipeline:
            _build(pipeline, plan, split_folders, dead_letters, temp)
        with open_file(_totals(temp)) as stream:
            totals = json.load(stream)
        check_totals(totals, log)  # Tidy does, and stops early, but not where there is no user
        check_met(totals, log)
        counts = report(totals, log)
        with writing(f"{dead_letters}/counts.json") as path, create(path) as stream:
            stream.write(json.dumps(counts, indent=1).encode())
    except Exception as error:
        for folder in (dead_letters, *split_folders.values()):
            remove(folder)
            make_folder(folder)  # TFX removes what it made, and fails over a folder that is gone
        if told := _told(temp):  # a worker's own message, without Beam's tracebacks around it
            raise LogError(told) from error
        raise
    finally:
        remove(temp)
    return counts


def _build(
    pipeline: beam.Pipeline,
    plan: Plan,
    split_folders: Mapping[str, str],
    dead_letters: str,
    temp: str,
) -> None:
    units = pipeline | "Units" >> beam.Create(plan.units, reshuffle=True)
    # Every split has the same number of shards, also where a bucket happens to be empty.
    all_buckets = pipeline | "Buckets" >> beam.Create([(b, None) for b in range(plan.buckets)])
    plan = dataclasses.replace(plan, units=())
    parsed = units | "Parse" >> beam.ParDo(Parse(plan, temp, dead_letters)).with_outputs(
        COUNTS, "users", "videos", main="rows"
    )
    totals = parsed[COUNTS] | "Totals" >> beam.CombineGlobally(merge)
    tidied = (
        parsed["rows"]
        | "ByUser" >> beam.GroupByKey()
        | "Tidy"
        >> beam.ParDo(Tidy(plan, temp), beam.pvalue.AsSingleton(totals)).with_outputs(
            COUNTS, "asked", main="rows"
        )
    )
    answered = (
        (tidied["asked"], parsed["videos"])
        | "Asked" >> beam.Flatten()
        | "ByVideo" >> beam.GroupByKey()
        | "Answer" >> beam.ParDo(Answer(plan, temp)).with_outputs(COUNTS, main="answers")
    )
    written = (
        (tidied["rows"], parsed["users"], answered["answers"], all_buckets)
        | "Known" >> beam.Flatten()
        | "ByUserAgain" >> beam.GroupByKey()
        | "Write" >> beam.ParDo(Write(plan, temp, dict(split_folders)))
    )
    _ = (
        (parsed[COUNTS], tidied[COUNTS], answered[COUNTS], written)
        | "Counts" >> beam.Flatten()
        | "AddUp" >> beam.CombineGlobally(merge)
        | "Keep" >> beam.Map(_write_totals, temp)
    )


def _totals(temp: str) -> str:
    return f"{temp}/totals.json"


def _write_totals(totals: dict[str, Any], temp: str) -> None:
    with writing(_totals(temp)) as path, create(path) as stream:
        stream.write(json.dumps(totals).encode())


def _told(temp: str) -> str:
    with contextlib.suppress(OSError), open_file(error_file(temp)) as stream:
        return stream.read().decode()
    return ""
