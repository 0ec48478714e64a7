"""Where each part stops scaling, and what would come next; with numbers where there are any."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from beam_parts.engine import ONE, TWO
from beam_parts.logs import GROUP_ROWS
from beam_parts.steps import GEN, STATISTICS, TRANSFORM
from page_parts.markdown import prose, table
from scale_parts import formulas, sources
from scale_parts.formulas import Ask
from scale_parts.sources import BeamStep, Judging, Training

LARGE_GROUP = 1 << 20  # rows of a row group that the log of a large day may have


def part(
    told: Mapping[str, Any],
    steps: list[BeamStep],
    trained: Training,
    ask: Ask,
    ids: int,
    bucket_rows: int,
) -> Iterator[str]:
    """The table. For the arguments see page.page."""
    rows = [
        *_example_gen(steps, ask, bucket_rows),
        *_vocabularies(told, ask),
        *_training(trained, ask, ids),
        *_after(sources.judging(told), ask),
    ]
    yield "## Where each part stops scaling\n"
    yield prose(
        """Numbers are computed for the day above; what is under "next" is not built, unless it says
        so."""
    )
    yield table(
        ["part", "stops where", "for this day", "next"],
        [[" ".join(cell.split()) for cell in row] for row in rows],
    )


def _example_gen(steps: list[BeamStep], ask: Ask, bucket_rows: int) -> Iterator[list[str]]:
    large, small = (
        formulas.pieces(ask.impressions, rows, bucket_rows) for rows in (LARGE_GROUP, GROUP_ROWS)
    )
    units = math.ceil(ask.impressions / LARGE_GROUP)
    peaks = ", ".join(f"{s.name} {s.driver_mb:,.0f} MB" for s in steps)
    buckets = math.ceil(ask.impressions / bucket_rows)
    yield [
        f"{GEN}, cuts",
        """every unit (row group) is cut into all buckets, and every bucket of users asks every
        bucket of videos, so cuts, and what Beam groups of them (a path each), grow with the square
        of the rows""",
        f"""buckets = rows / {bucket_rows:,} = {buckets:,}; cuts of events = units x (buckets, or a
        unit's rows if fewer) = {large:,.0f} with {LARGE_GROUP:,} rows a unit, {small:,.0f} with
        {GROUP_ROWS:,}; questions and answers = at most 2 x buckets² = {2 * buckets**2:,}""",
        """more rows a bucket (`bucket_rows`, no key of a recipe yet); fewer buckets of videos;
        cutting in two rounds; or rows in the engine's own shuffle""",
    ]
    yield [
        f"{GEN}, one user",
        "a user's events and history are one worker's, as a whole",
        f"""{ask.impressions / ask.users:,.0f} impressions a user on average; who has more than
        {bucket_rows:,} (a robot) outgrows a bucket""",
        "a cap on events a user, when they are read",
    ]
    yield [
        "the driver",
        "lists the log's files and row groups, not its rows",
        f"{units:,} units of {LARGE_GROUP:,} rows; its peaks on the largest logs: {peaks}",
        "listing on workers",
    ]


def _vocabularies(told: Mapping[str, Any], ask: Ask) -> Iterator[list[str]]:
    one, two = (sources.grouped_mb(told["beam"], STATISTICS, way) for way in (ONE, TWO))
    counted = sources.grouped(told["beam"], TRANSFORM)
    yield [
        STATISTICS,
        """every bundle of rows hands over sums and sketches of all columns, and one worker adds
        them up: bytes grow with bundles and columns rather than with rows""",
        f"""{one:,.1f} MB grouped by key in one process on the largest log, {two:,.1f} MB with two
        workers (measured); by rows they would be overrated""",
        "a sum in levels; statistics of a share of the users",
    ]
    yield [
        f"{TRANSFORM}, counting",
        "every word that occurs is counted by key; one worker merges and writes a vocabulary",
        f"""{counted.at(ask.impressions) / formulas.GB:,.1f} GB grouped by key, of
        {counted.per_row:,.0f} bytes a row measured (exponent {counted.exponent:.2f})""",
        "hash buckets alone; counts kept from day to day",
    ]
    yield [
        f"{TRANSFORM}, vocabularies",
        """a vocabulary is an asset of the graph, so every worker, trainer and server holds it as a
        table""",
        f"""{formulas.words_gb(ask.users):.1f} GB of text (digits and a line's end a word) if every
        user is a word; the embedding table has {ask.parameters / ask.dim:,.0f} rows for all words
        of
        all features""",
        "`min_count` and `hash_buckets` (built) keep it small; shards are not",
    ]


def _training(t: Training, ask: Ask, ids: int) -> Iterator[list[str]]:
    most, most_cut = (
        formulas.full_network(t.batch, ids, ask.dim, t.dense, t.examples_s, ask.gbit, rings)
        for rings in (formulas.WHOLE, formulas.CUT)
    )
    held = formulas.table_gb(ask.parameters, formulas.TRAINED)
    peak = formulas.table_gb(ask.parameters, formulas.WARM + formulas.WRITTEN)
    cut = formulas.table_gb(ask.parameters, formulas.WRITTEN_CUT)
    search = t.search.passes * formulas.pass_hours(ask.impressions, t.examples_s)
    yield [
        "Trainer, memory",
        """every worker holds the whole table and its optimizer state; with `distribution=sharded`
        (built) a part of them, but the first worker writes the whole table""",
        f"""whole: {held:.1f} GB in training, {peak:.1f} GB at the end of a warm start; cut: what
        training holds divided by the workers, and {cut:.1f} GB more in the first at the end""",
        "a SavedModel written, and served, in shards",
    ]
    yield [
        "Trainer, network",
        "all workers send rows of the whole batch, whether the table is cut or not",
        f"""above {most:,} workers, {most_cut:,} where it is cut, at {ask.gbit:g} Gbit/s, if no id
        occurs twice""",
        "rows sent to whom they concern alone (an all-to-all); fewer bits on the wire",
    ]
    yield [
        "Trainer, batch",
        "the batch grows with the workers; what that does to quality was not measured",
        f"{t.batch:,} rows is the largest batch that was timed",
        "a benchmark of quality by batch, and learning rates for it",
    ]
    yield [
        "TicketSearch",
        "its rounds follow each other; if a worker dies, the round that it is in begins anew",
        f"{search:,.1f} hours of one worker",
        "`search_every_days` (built) spares most nights; a sample of rows",
    ]
    yield [
        "Kubeflow",
        "a step is one container; `ncs4cvr` starts no training workers on other machines",
        "",
        "a training operator's job as a step",
    ]


def _after(judged: Judging, ask: Ask) -> Iterator[list[str]]:
    evaluator, gate = (judged.hours(n, ask.impressions) for n in ("Evaluator", "ModelGate"))
    yield [
        "DataGate",
        """one process, but it reads a sample of larger logs (`day_profile.MOST_ROWS`)""",
        "memory grows up to that number of rows (beam.md has its peaks), and not above it",
        "",
    ]
    yield [
        "Evaluator",
        "on Beam, with the whole model in every worker; measured in one process alone",
        f"{evaluator:,.0f} core-hours for a day of test rows",
        "a test split of a share of the users",
    ]
    yield [
        "ModelGate",
        "scores in one process, and holds labels, users, slices and scores of all test rows",
        f"{gate:,.0f} hours for a day of test rows",
        "the same on Beam, or a share of the users",
    ]
    yield [
        "ServingCheck, Pusher",
        "load, check and copy the whole model on one machine",
        f"""{formulas.table_gb(ask.parameters, 1):.1f} GB in f32,
        {formulas.int8_gb(ask.parameters, ask.dim):.2f} GB in int8""",
        "a served table in shards",
    ]
