"""What ticket search and training need: hours, memory, network."""

from __future__ import annotations

from collections.abc import Iterator

from page_parts.markdown import prose, table
from scale_parts import formulas
from scale_parts.formulas import Ask
from scale_parts.sources import Training


def part(t: Training, ask: Ask) -> Iterator[str]:
    """Hours and memory."""
    one = formulas.pass_hours(ask.impressions, t.examples_s)
    yield "## Ticket search and training\n"
    yield prose(
        f"""Measured ([workers.md](benchmarks/workers.md), batch {t.batch:,}): one worker of
        {t.cores} cores trains {t.memory_s:,.0f} examples/s from memory; two workers on the same
        cores keep {t.kept:.2f} of it (not more than 1 is counted). Reading and transforming a row
        takes {t.reading_us:.0f} µs of a processor more ([beam.md](benchmarks/beam.md)):
        {t.examples_s:,.0f} examples/s from files, computed. With a table of {t.large:,.0f}
        parameters two workers keep {t.kept_large:.2f} if each has it whole, and {t.kept_cut:.2f} if
        it is cut among them (`distribution=sharded`). More than two workers, and workers on
        machines of their own, were not measured: the share of the small table is taken for any
        number."""
    )
    yield prose(
        f"""A search counts as {t.search.passes:.1f} passes of joint training, by what a row costs
        in each. Measured, of processors, with the default recipe: TicketSearch
        {1e6 * t.search.cpu_s.per_row:,.0f} µs a row, and {t.search.cpu_s.start:.0f} s without rows
        (continual.json, {t.search.least_rows:,} to {t.search.cpu_s.rows:,} training rows); a pass
        of joint training under tickets {t.search.joint_us:,.0f} µs (workers.json). A search is
        `rounds` + 1 passes with a network a task, and with soft labels predicts all rows after
        each. Trainer makes more than one pass where that helps; one is computed."""
    )
    yield prose(
        f"""Computed: hours of one = passes x rows / examples/s / 3600; workers = hours of one /
        {t.kept:.2f} / {ask.hours:g}; core-hours = hours of one / {t.kept:.2f} x {t.cores} cores;
        table GB = {formulas.FLOAT} bytes x copies x parameters, copies {formulas.TRAINED} (value,
        two moments, best epoch's value) or {formulas.WARM} with `warm_start`, and
        {formulas.SEARCHED} in a search for two tasks (the common start's values; for each task
        values and moments); where it is cut, divided by the workers; peak GB: in Trainer
        {formulas.WRITTEN} copies more while the result is written ({formulas.WRITTEN_CUT} where
        the table is cut, in the first worker alone), and the {t.base_mb:,.0f} MB (of 2^20 bytes)
        at which Trainer peaked in the default run."""
    )
    rows = []
    for name, passes, copies, written in (
        ("Trainer, one pass", 1.0, formulas.TRAINED, formulas.WRITTEN),
        ("Trainer, one pass, warm start", 1.0, formulas.WARM, formulas.WRITTEN),
        ("TicketSearch", t.search.passes, formulas.SEARCHED, 0),
    ):
        count = formulas.trainers(passes * one, t.kept, ask.hours)
        for cut in (False, True):
            shards, more = (count, min(written, formulas.WRITTEN_CUT)) if cut else (1, written)
            rows.append(
                [
                    f"{name}, table cut" if cut else name,
                    f"{passes * one:,.1f}",
                    f"{count}",
                    f"{core_hours(t, ask, passes):,.0f}",
                    f"{formulas.table_gb(ask.parameters, copies / shards):.1f}",
                    f"{worker_gb(t, ask, copies / shards + more):.1f}",
                ]
            )
    head = ["step", "hours of one worker", "workers", "core-hours", "table GB a worker"]
    yield table([*head, "peak GB a worker"], rows)


def network(t: Training, ask: Ask, ids: int) -> Iterator[str]:
    """What workers tell each other in a step; ids: embedding rows that an example looks up."""
    one = formulas.pass_hours(ask.impressions, t.examples_s)
    count = max(2, formulas.trainers(one, t.kept, ask.hours))
    batch = count * t.batch
    dense = formulas.sent_dense(t.dense, count)
    whole, cut = (
        formulas.sent_rows(batch, ids, ask.dim, count, rings)
        for rings in (formulas.WHOLE, formulas.CUT)
    )
    seconds = formulas.step_s(batch, count, t.examples_s)
    most, most_cut = (
        formulas.full_network(t.batch, ids, ask.dim, t.dense, t.examples_s, ask.gbit, rings)
        for rings in (formulas.WHOLE, formulas.CUT)
    )
    yield prose(
        f"""**Network** (models/together/exchange.py). Computed for n = {count} workers with
        {t.batch:,} examples each, for each worker and step:"""
    )
    for line in (
        f"""dense gradients in a ring: 2 (n - 1) / n x {formulas.FLOAT} bytes x {t.dense:,} dense
        parameters (quality.json) = {dense / 1e6:,.1f} MB; under tickets fewer, as only connections
        that a task kept are exchanged""",
        f"""gradients of the embedding rows that occur in anyone's part, in the same ring: at most
        (n - 1) / n x batch x {ids} ids x (2 x {formulas.FLOAT} x {ask.dim} + {formulas.ID}) bytes
        = {whole / 1e6:,.0f} MB, if no id occurs twice; in the default log
        {t.distinct:.0%} of a batch's ids are different ones, in a larger one more""",
        f"""where the table is cut, their values in a ring before: at most {cut / 1e6:,.0f} MB with
        both""",
        f"""arithmetic: examples of a worker / examples/s = {1e3 * seconds:,.0f} ms; the exchange
        takes as long with 8 x bytes / s = {formulas.gbit_for(dense + whole, seconds):,.1f} Gbit/s
        at most, {formulas.gbit_for(dense + cut, seconds):,.1f} where the table is cut""",
        f"""with {ask.gbit:g} Gbit/s the exchange takes longer than the arithmetic above {most:,}
        workers ({most_cut:,} where the table is cut), if no id occurs twice: everyone sends rows of
        all, so they grow with n, and the arithmetic does not""",
    ):
        yield prose(line, "- ")
    yield ""


def core_hours(t: Training, ask: Ask, passes: float) -> float:
    """Core-hours of so many passes."""
    one = passes * formulas.pass_hours(ask.impressions, t.examples_s)
    alone = formulas.trainers(one, t.kept, ask.hours) == 1
    return one * t.cores / (1.0 if alone else t.kept)


def worker_gb(t: Training, ask: Ask, copies: float) -> float:
    """A training worker's peak with so many copies of the table."""
    return formulas.table_gb(ask.parameters, copies) + t.base_mb * formulas.MB / formulas.GB
