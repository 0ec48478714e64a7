"""docs/scale.md: what was measured, what is computed of it by which formula, what stops where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from page_parts.markdown import prose, table
from scale_parts import formulas, limits, sources
from scale_parts.formulas import Ask
from scale_parts.sources import BeamStep, Training


def page(told: Mapping[str, Any], ask: Ask, ids: int, bucket_rows: int) -> str:
    """All of it.

    Args:
      told: benchmark -> its JSON.
      ask: the day.
      ids: embedding rows that an example looks up.
      bucket_rows: that example generation holds at a time.
    """
    steps, trained = sources.beam_steps(told["beam"]), sources.training(told)
    parts = [
        *_head(told, steps, ask),
        *_beam(steps, ask),
        *_training(trained, ask),
        *_network(trained, ask, ids),
        *_after(told, ask),
        *_cost(steps, trained, ask),
        *limits.part(told, steps, trained, ask, ids, bucket_rows),
    ]
    return "\n".join(parts)


def _head(told: Mapping[str, Any], steps: list[BeamStep], ask: Ask) -> Iterator[str]:
    largest = max(step.cpu_s.rows for step in steps)
    times = ask.impressions / largest
    machines = ", ".join(
        f"{name} ({told[name]['about']['machine']}, {told[name]['about']['date']})"
        for name in ("beam", "workers", "overhead", "serving")
    )
    yield f"# A day of {ask.impressions:,.0f} impressions\n"
    yield prose(
        f"""What it needs by step, for {ask.users:,.0f} users and {ask.parameters:,.0f} embedding
        parameters ({ask.parameters / ask.dim:,.0f} rows of {ask.dim}), if each step may take
        {ask.hours:g} hours. Written by `python benchmarks/scale.py` from the JSON in
        [benchmarks/](benchmarks/); its options are the day, the hours, each trainer's network
        ({ask.gbit:g} Gbit/s) and the price of a core-hour ({ask.core_price:g} unit)."""
    )
    yield prose(
        f"""**Nothing here ran at this size.** The largest log that was run has {largest:,} rows,
        and
        the day {times:,.0f} times as many. *Measured* is what a benchmark's JSON holds; *computed*
        is
        arithmetic on it, by the formula that stands there. An exponent that is wrong by 0.05 makes
        what is computed wrong by a factor of {times**0.05:.1f}. Exponents below 1 are taken as
        1."""
    )
    yield prose(f"Measured on: {machines}. A core is one of those, a GB 10^9 bytes.")


def _beam(steps: list[BeamStep], ask: Ask) -> Iterator[str]:
    yield "## Beam's steps\n"
    yield prose(
        """Measured ([beam.md](benchmarks/beam.md)): CPU s without rows; CPU µs a row on the largest
        log; the exponent with which CPU s grow; how many times the CPU s of one process two workers
        need; bytes that move between workers, grouped by key and in files, a row of the largest
        log,
        and their exponent; the largest worker."""
    )
    head = ["step", "way", "rows", "start-up CPU s", "CPU µs a row", "exponent", "two workers' CPU"]
    yield table(
        [*head, "bytes moved a row", "exponent", "worker MB"],
        [
            [
                *(s.name, s.way, f"{s.cpu_s.rows:,}", f"{s.cpu_s.start:.1f}"),
                *(f"{1e6 * s.cpu_s.per_row:,.0f}", _exponent(s.cpu_s), f"{s.more:.2f}"),
                *(f"{1e6 * s.moved_mb.per_row:,.0f}", _exponent(s.moved_mb)),
                f"{s.worker_mb:,.0f}",
            ]
            for s in steps
        ],
    )
    yield prose("Computed, if the day's rows go through each step once:")
    for formula in (
        """core-hours = (start-up + CPU s a row x rows x (rows / rows measured)^(exponent - 1)) x
        two
        workers' CPU / 3600; linear: the same with exponent 1""",
        f"""workers = core-hours / {ask.hours:g}, of one core each; GB-hours = a worker's GB x
        core-hours""",
        """moved = bytes a row x rows x (rows / rows measured)^(exponent - 1); output likewise""",
    ):
        yield prose(formula, "- ")
    yield ""
    yield table(
        ["step", "core-hours", "linear", "workers", "GB-hours", "moved GB", "output GB"],
        [
            [
                s.name,
                *(f"{beam_hours(s, ask):,.0f}", f"{beam_hours(s, ask, linear=True):,.0f}"),
                f"{formulas.workers(beam_hours(s, ask), ask.hours):,}",
                f"{formulas.gb_hours(s.worker_mb, beam_hours(s, ask)):,.0f}",
                f"{s.moved_mb.at(ask.impressions) / 1e3:,.0f}",
                f"{s.output_mb.at(ask.impressions) / 1e3:,.0f}",
            ]
            for s in steps
        ],
    )
    yield prose(
        """A window of so many days costs so many times as much, unless only the new day is read. A
        warm start trains on the new day alone, but its run still reads the log's whole window."""
    )


def _exponent(grown: Any) -> str:
    return f"{grown.exponent:.2f}" if grown.measured else "1, not measured"


def beam_hours(step: BeamStep, ask: Ask, linear: bool = False) -> float:
    """Core-hours of a step."""
    cpu_s = step.cpu_s
    spent = cpu_s.start + cpu_s.per_row * ask.impressions if linear else cpu_s.at(ask.impressions)
    return spent * step.more / formulas.HOUR_S


def _training(t: Training, ask: Ask) -> Iterator[str]:
    one = formulas.pass_hours(ask.impressions, t.examples_s)
    yield "## Ticket search and training\n"
    yield prose(
        f"""Measured ([workers.md](benchmarks/workers.md), batch {t.batch:,}): one worker of
        {t.cores}
        cores trains {t.examples_s:,.0f} examples/s; two workers on the same cores keep {t.kept:.2f}
        of it. A search took {t.search:.1f} times the seconds of Trainer (overhead.json). More than
        two workers, and workers on machines of their own, were not measured: the share is taken for
        any number. The model is the default recipe's with its small table; that lookups in a large
        one are slower is not in here."""
    )
    yield prose(
        f"""Computed: hours of one = passes x rows / examples/s / 3600; workers = hours of one /
        {t.kept:.2f} / {ask.hours:g}; core-hours = hours of one / {t.kept:.2f} x {t.cores} cores;
        table
        GB = {formulas.FLOAT} bytes x copies x parameters, copies {formulas.TRAINED} (value, two
        moments, best epoch's value) or {formulas.WARM} with `warm_start`; peak GB:
        {formulas.WRITTEN}
        copies more, while the result is written, and the {t.base_mb:,.0f} MB (of 2^20 bytes) at
        which Trainer peaked in the default run."""
    )
    rows = []
    for name, passes, copies in (
        ("Trainer, one pass", 1.0, formulas.TRAINED),
        ("Trainer, one pass, warm start", 1.0, formulas.WARM),
        ("TicketSearch", t.search, formulas.TRAINED),
    ):
        rows.append(
            [
                *(name, f"{passes * one:,.1f}"),
                f"{formulas.trainers(passes * one, t.kept, ask.hours)}",
                f"{training_hours(t, ask, passes):,.0f}",
                f"{formulas.table_gb(ask.parameters, copies):.1f}",
                f"{worker_gb(t, ask, copies):.1f}",
            ]
        )
    head = ["step", "hours of one worker", "workers", "core-hours", "table GB a worker"]
    yield table([*head, "peak GB a worker"], rows)


def _network(t: Training, ask: Ask, ids: int) -> Iterator[str]:
    one = formulas.pass_hours(ask.impressions, t.examples_s)
    count = max(2, formulas.trainers(one, t.kept, ask.hours))
    batch = count * t.batch
    dense = formulas.sent_dense(t.dense, count)
    rows = formulas.received_rows(batch, ids, ask.dim, count)
    seconds = formulas.step_s(batch, count, t.examples_s)
    most = formulas.full_network(t.batch, ids, ask.dim, t.dense, t.examples_s, ask.gbit)
    yield prose(
        f"""**Network** (models/exchange.py). Computed for n = {count} workers with {t.batch:,}
        examples each, for each worker and step:"""
    )
    for line in (
        f"""dense gradients in a ring: 2 (n - 1) / n x {formulas.FLOAT} bytes x {t.dense:,} dense
        parameters (quality.json) = {dense / 1e6:,.1f} MB""",
        f"""embedding rows of all others: (n - 1) / n x batch x {ids} ids x ({formulas.FLOAT} x
        {ask.dim} + {formulas.ID}) bytes = at most {rows / 1e6:,.0f} MB; fewer, as ids occur more
        than once in a worker's part""",
        f"""arithmetic: examples of a worker / examples/s = {1e3 * seconds:,.0f} ms; the exchange
        takes
        as long with 8 x bytes / s = {formulas.gbit_for(dense + rows, seconds):,.1f} Gbit/s""",
        f"""with {ask.gbit:g} Gbit/s the exchange takes longer than the arithmetic above {most:,}
        workers: every worker gets the rows of all, so they grow with n, and the arithmetic does
        not""",
    ):
        yield prose(line, "- ")
    yield ""


def training_hours(t: Training, ask: Ask, passes: float) -> float:
    """Core-hours of so many passes."""
    one = passes * formulas.pass_hours(ask.impressions, t.examples_s)
    alone = formulas.trainers(one, t.kept, ask.hours) == 1
    return one * t.cores / (1.0 if alone else t.kept)


def worker_gb(t: Training, ask: Ask, copies: int) -> float:
    """A training worker's peak, while the result is written."""
    held = formulas.table_gb(ask.parameters, copies + formulas.WRITTEN)
    return held + t.base_mb * formulas.MB / formulas.GB


def _after(told: Mapping[str, Any], ask: Ask) -> Iterator[str]:
    judged, served = sources.judging(told), sources.serving(told)
    seconds = ", ".join(f"{name} {s:.1f} s" for name, s in judged.seconds.items())
    hours = {name: judged.hours(name, ask.impressions) for name in judged.seconds}
    most = ask.impressions * ask.hours / hours["ModelGate"]
    cores = ask.impressions / formulas.DAY_S * served.request_ms / 1e3
    table_gb = formulas.table_gb(ask.parameters, 1)
    yield "## After training\n"
    yield prose(
        f"""Measured (overhead.json) with {judged.rows:,} test rows, in one process: {seconds};
        start-up
        is in these, so the cost of a row is overrated. Computed, seconds x rows / test rows / 3600,
        with the whole day as test split: Evaluator {hours["Evaluator"]:,.0f} core-hours, ModelGate
        {hours["ModelGate"]:,.0f} hours in its one process, which has {ask.hours:g} hours for
        {most:,.0f} rows. ServingCheck and Pusher depend on the model's bytes, not on rows."""
    )
    yield prose(
        f"""Served table, computed: {table_gb:.1f} GB in f32 ({formulas.FLOAT} bytes a parameter),
        {formulas.int8_gb(ask.parameters, ask.dim):.2f} GB in int8 (a byte, and {formulas.FLOAT}
        bytes
        a row). A request of {served.candidates} candidates takes {served.request_ms:.1f} ms on one
        thread (serving.json). If every impression came of a request of its own: impressions /
        {formulas.DAY_S:,.0f} s x {served.request_ms:.1f} ms = {cores:,.0f} cores on average,
        without
        peaks; where a request brings several impressions, so many times fewer."""
    )


def _cost(steps: list[BeamStep], t: Training, ask: Ask) -> Iterator[str]:
    rows = []
    for s in steps:
        hours = beam_hours(s, ask)
        rows.append((s.name, hours, formulas.gb_hours(s.worker_mb, hours)))
    held = worker_gb(t, ask, formulas.TRAINED)
    for name, passes in (("TicketSearch", t.search), ("Trainer, one pass", 1.0)):
        hours = training_hours(t, ask, passes)
        rows.append((name, hours, hours / t.cores * held))
    rows.append(("all", sum(row[1] for row in rows), sum(row[2] for row in rows)))
    yield "## Cost model\n"
    yield prose(
        f"""Computed: price = core-hours x {ask.core_price:g} (`--core_price`). GB-hours are what
        workers hold x the hours that they work; no price is put on them, on data at rest or on the
        network. What comes after training is not in the sum."""
    )
    yield table(
        ["step", "core-hours", "GB-hours", "price"],
        [
            [name, f"{hours:,.0f}", f"{gb:,.0f}", f"{hours * ask.core_price:,.0f}"]
            for name, hours, gb in rows
        ],
    )
