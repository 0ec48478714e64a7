"""The steps of the log pipeline: Beam DoFns that turn files of one kind into the next.

They stay in one module that workers import; what they do to arrays lies in parsing.py and
assembly.py.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import tensorflow as tf

from ncs4cvr.components.log.assembly import BUCKET, answer, ask, examples, tidy
from ncs4cvr.components.log.buckets import Ref, bucket_of, create, read_refs, write_buckets, writing
from ncs4cvr.components.log.columns import mask_of, one_chunk
from ncs4cvr.components.log.history import BEFORE_LOG
from ncs4cvr.components.log.parsing import (
    DAY,
    ORDER,
    TIME,
    USER,
    VIDEO,
    Sieve,
    dead_letter_line,
    parse,
)
from ncs4cvr.components.log.plan import Plan, Unit
from ncs4cvr.components.log.readers import blocks
from ncs4cvr.components.log.records import LogError
from ncs4cvr.components.log.report import OUTSIDE, check_totals, merge, sheet
from ncs4cvr.components.log.tf_example import encode
from ncs4cvr.components.log.times import in_split

COUNTS = "counts"
PIECE_ROWS = 64  # that a reader writes for a bucket, on average and if it has them
GZIP = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)


def error_file(temp: str) -> str:
    """Where a worker leaves the message of a LogError."""
    return f"{temp}/error.txt"


@contextlib.contextmanager
def _telling(temp: str) -> Iterator[None]:
    """Leaves a LogError's message where the driver finds it, whatever runner is in between."""
    try:
        yield
    except LogError as error:
        with writing(error_file(temp)) as path, create(path) as stream:
            stream.write(str(error).encode())
        raise


class _Step(beam.DoFn):
    """A step that knows the plan and where its files go."""

    def __init__(self, plan: Plan, temp: str):
        self._plan, self._temp = plan, temp

    def _write(
        self, name: str, kind: str, unit: int, tables: Iterable[tuple[pa.Table, np.ndarray]]
    ) -> list[tuple[int, Ref]]:
        path = f"{self._temp}/{name}-{unit:05d}.arrow"
        return write_buckets(path, kind, unit, tables, self._plan.buckets * PIECE_ROWS)

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
                    if not table.num_rows:
                        continue
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
            past, dropped = tidy(past, plan, ORDER)
            counts = {"duplicates": dropped.num_rows, "kept": past.num_rows}
            yield beam.pvalue.TaggedOutput(COUNTS, sheet("history", counts))
            yield self._one("past", bucket, past)
        if rows is not None:
            rows, dropped = tidy(rows, plan, TIME)
            counts = {
                "duplicates": dropped.num_rows,
                "history_only": _per_split(plan, rows)[OUTSIDE],
                **{f"duplicate:{k}": n for k, n in _per_split(plan, dropped).items()},
            }
            yield beam.pvalue.TaggedOutput(COUNTS, sheet("events", counts))
            yield self._one("rows", bucket, rows)
        asked = ask(plan, rows, past)
        asked = asked.append_column(BUCKET, pa.array(np.full(asked.num_rows, bucket, np.int32)))
        to = bucket_of(one_chunk(asked[VIDEO]), plan.buckets)
        for ref in self._write("asked", "asked", bucket, [(asked, to)]):
            yield beam.pvalue.TaggedOutput("asked", ref)


def _per_split(plan: Plan, rows: pa.Table) -> dict[str, int]:
    """Rows on the days of every split, and on days of none, which serve as history only."""
    day = rows[DAY].to_numpy()
    counts = {split.name: int(in_split(day, split).sum()) for split in plan.log.splits}
    return {**counts, OUTSIDE: len(day) - sum(counts.values())}


class Answer(_Step):
    """Video bucket -> per asked video and day its tallies and columns, cut by who asks."""

    def process(self, element: tuple[int, Iterable[Ref]]) -> Iterator[Any]:
        bucket, refs = element[0], list(element[1])
        videos, asked = read_refs(refs, "videos"), read_refs(refs, "asked")
        if videos is not None:
            yield beam.pvalue.TaggedOutput(COUNTS, _keys("videos", videos))
        if asked is None:
            return
        events = asked.filter(pa.array(asked[DAY].to_numpy() != BEFORE_LOG))
        for met in _met(self._plan, "videos", events[VIDEO], videos):
            yield beam.pvalue.TaggedOutput(COUNTS, met)
        answers = answer(self._plan, asked, videos)
        yield from self._write(
            "answers", "answers", bucket, [(answers, answers[BUCKET].to_numpy())]
        )


def _keys(kind: str, table: pa.Table) -> dict[str, Any]:
    different = len(one_chunk(table[0]).unique())
    return sheet(kind, {"duplicates": table.num_rows - different, "kept": different})


def _met(
    plan: Plan, kind: str, keys: pa.ChunkedArray, table: pa.Table | None
) -> Iterator[dict[str, Any]]:
    """How many different keys the events have, and how many of them have a row in the file."""
    if len(getattr(plan, kind)) > 1:  # else nobody reads it
        asked = one_chunk(keys).unique()
        there = pa.array([], asked.type) if table is None else one_chunk(table[0])
        met = int(mask_of(pc.is_in(asked, value_set=there)).sum())
        yield sheet(kind, {"asked": len(asked), "met": met})


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
                yield from _met(self._plan, "users", rows[USER], users)
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
