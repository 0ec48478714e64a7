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
import itertools
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf

from ncs4cvr.components.assembly import BUCKET, answer, ask, examples, tidy
from ncs4cvr.components.buckets import (
    Ref,
    bucket_of,
    create,
    make_folder,
    read_refs,
    remove,
    write_buckets,
    writing,
)
from ncs4cvr.components.columns import day_number, one_chunk
from ncs4cvr.components.parsing import DAY, ORDER, TIME, USER, VIDEO, Sieve, dead_letter_line, parse
from ncs4cvr.components.plan import BUCKET_ROWS, Plan, Unit, make_plan
from ncs4cvr.components.readers import blocks, open_file
from ncs4cvr.components.records import LogError
from ncs4cvr.components.report import check_totals, merge, report, sheet
from ncs4cvr.components.tf_example import encode
from ncs4cvr.schemas.features import Feature
from ncs4cvr.schemas.log import Log

logger = logging.getLogger("ncs4cvr")

COUNTS = "counts"
GZIP = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)


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
            counts = report(json.load(stream), log)
        with writing(f"{dead_letters}/counts.json") as path, create(path) as stream:
            stream.write(json.dumps(counts, indent=1).encode())
    except Exception as error:
        for folder in (dead_letters, *split_folders.values()):
            remove(folder)
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


@contextlib.contextmanager
def _telling(temp: str) -> Iterator[None]:
    """Leaves a LogError's message where the driver finds it, whatever runner is in between."""
    try:
        yield
    except LogError as error:
        with writing(f"{temp}/error.txt") as path, create(path) as stream:
            stream.write(str(error).encode())
        raise


def _told(temp: str) -> str:
    with contextlib.suppress(OSError), open_file(f"{temp}/error.txt") as stream:
        return stream.read().decode()
    return ""


class _Step(beam.DoFn):
    """A step that knows the plan and where its files go."""

    def __init__(self, plan: Plan, temp: str):
        self._plan, self._temp = plan, temp

    def _write(
        self, name: str, kind: str, unit: int, tables: Iterable[tuple[pa.Table, np.ndarray]]
    ) -> list[tuple[int, Ref]]:
        return write_buckets(f"{self._temp}/{name}-{unit:05d}.arrow", kind, unit, tables)

    def _one(self, kind: str, unit: int, table: pa.Table) -> tuple[int, Ref]:
        return self._write(kind, kind, unit, [(table, np.full(table.num_rows, unit))])[0]


class Parse(_Step):
    """Unit -> its typed rows, cut by user (videos by video), and its dead letters."""

    def __init__(self, plan: Plan, temp: str, dead_letters: str):
        super().__init__(plan, temp)
        self._dead_letters = dead_letters

    def process(self, unit: Unit) -> Iterator[Any]:
        counts: dict[str, Any] = sheet(unit.kind, {})
        letters = f"{self._dead_letters}/dead_letters-{unit.kind}-{unit.index:05d}.jsonl"

        def tables() -> Iterator[tuple[pa.Table, np.ndarray]]:
            nonlocal counts
            separators = self._plan.separators(unit.kind)
            with contextlib.ExitStack() as stack:
                stream = None
                for block in blocks(unit.path, unit.row_group, unit.first_row, separators):
                    table, sieve = parse(block, unit, self._plan)
                    if sieve.dead and stream is None:
                        stream = stack.enter_context(create(stack.enter_context(writing(letters))))
                    lines = [dead_letter_line(letter) for letter in sieve.dead]
                    if stream is not None:
                        stream.write("".join(lines).encode("utf-8", "backslashreplace"))
                    counts = merge([counts, _sheet(unit, sieve, lines)])
                    key = USER if unit.kind in ("events", "history") else table.column_names[0]
                    yield table, bucket_of(one_chunk(table[key]), self._plan.buckets)

        with _telling(self._temp):
            refs = self._write(f"parsed-{unit.kind}", unit.kind, unit.index, tables())
        for ref in refs:
            yield (
                ref
                if unit.kind in ("events", "history")
                else beam.pvalue.TaggedOutput(unit.kind, ref)
            )
        yield beam.pvalue.TaggedOutput(COUNTS, counts)


def _sheet(unit: Unit, sieve: Sieve, lines: Sequence[str]) -> dict[str, Any]:
    first = [
        [unit.index, letter["row"], line.strip()[:500]]
        for letter, line in itertools.islice(zip(sieve.dead, lines, strict=True), 100)
    ]
    return sheet(unit.kind, sieve.counts, first)


class Tidy(_Step):
    """User bucket -> sorted rows without duplicates, and its counts per video and day."""

    def process(self, element: tuple[int, Iterable[Ref]], totals: dict[str, Any]) -> Iterator[Any]:
        bucket, refs = element[0], list(element[1])
        plan = self._plan
        with _telling(self._temp):
            check_totals(totals, plan.log)
        rows, past = read_refs(refs, "events"), read_refs(refs, "history")
        if past is not None:
            past, duplicates = tidy(past, plan, ORDER)
            counts = {"duplicates": duplicates, "kept": past.num_rows}
            yield beam.pvalue.TaggedOutput(COUNTS, sheet("history", counts))
            yield self._one("past", bucket, past)
        if rows is not None:
            rows, duplicates = tidy(rows, plan, TIME)
            counts = {"duplicates": duplicates, "history_only": _outside(plan, rows)}
            yield beam.pvalue.TaggedOutput(COUNTS, sheet("events", counts))
            yield self._one("rows", bucket, rows)
        asked = ask(plan, rows, past)
        asked = asked.append_column(BUCKET, pa.array(np.full(asked.num_rows, bucket, np.int32)))
        to = bucket_of(one_chunk(asked[VIDEO]), plan.buckets)
        for ref in self._write("asked", "asked", bucket, [(asked, to)]):
            yield beam.pvalue.TaggedOutput("asked", ref)


def _outside(plan: Plan, rows: pa.Table) -> int:
    """Rows on days of no split: they serve as history only."""
    day = rows[DAY].to_numpy()
    inside = np.zeros(len(day), bool)
    for split in plan.log.splits:
        inside |= (day >= day_number(split.first)) & (day <= day_number(split.last))
    return int((~inside).sum())


class Answer(_Step):
    """Video bucket -> per asked video and day its tallies and columns, cut by who asks."""

    def process(self, element: tuple[int, Iterable[Ref]]) -> Iterator[Any]:
        bucket, refs = element[0], list(element[1])
        videos, asked = read_refs(refs, "videos"), read_refs(refs, "asked")
        if videos is not None:
            yield beam.pvalue.TaggedOutput(COUNTS, _keys("videos", videos))
        if asked is None:
            return
        answers = answer(self._plan, asked, videos)
        yield from self._write(
            "answers", "answers", bucket, [(answers, answers[BUCKET].to_numpy())]
        )


def _keys(kind: str, table: pa.Table) -> dict[str, Any]:
    different = len(one_chunk(table[0]).unique())
    return sheet(kind, {"duplicates": table.num_rows - different, "kept": different})


class Write(_Step):
    """User bucket -> one shard of every split."""

    def __init__(self, plan: Plan, temp: str, split_folders: dict[str, str]):
        super().__init__(plan, temp)
        self._folders = split_folders

    def process(self, element: tuple[int, Iterable[Ref | None]]) -> Iterator[dict[str, Any]]:
        bucket, refs = element[0], [ref for ref in element[1] if ref is not None]
        rows, past = read_refs(refs, "rows"), read_refs(refs, "past")
        users, answers = read_refs(refs, "users"), read_refs(refs, "answers")
        counts = {f"example:{split}": 0 for split in self._folders}
        with contextlib.ExitStack() as stack:
            writers = {
                split: stack.enter_context(self._shard(folder, bucket))
                for split, folder in self._folders.items()
            }
            if rows is not None:
                for split, columns in examples(self._plan, rows, past, users, answers):
                    for example in encode(columns).to_pylist():
                        writers[split].write(example)
                    counts[f"example:{split}"] += len(columns["day"])
        yield sheet("events", counts)
        if users is not None:
            yield _keys("users", users)

    @contextlib.contextmanager
    def _shard(self, folder: str, bucket: int) -> Iterator[tf.io.TFRecordWriter]:
        name = f"data_tfrecord-{bucket:05d}-of-{self._plan.buckets:05d}.gz"
        with writing(f"{folder}/{name}") as path, tf.io.TFRecordWriter(path, GZIP) as writer:
            yield writer
