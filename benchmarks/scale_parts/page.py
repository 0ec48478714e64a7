"""docs/scale.md: what was measured, what is computed of it by which formula, what stops where."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from page_parts.markdown import prose, table
from scale_parts import formulas, limits, sources, trainers
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
        *trainers.part(trained, ask),
        *trainers.network(trained, ask, ids),
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
        for name in ("beam", "workers", "overhead", "continual", "serving")
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
        """moved = bytes a row x rows x (rows / rows measured)^(exponent - 1); output = bytes
        without
        rows + bytes a row x rows, each from beam.json""",
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
                f"{s.output_mb.line(ask.impressions) / 1e3:,.0f}",
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
    grown = step.cpu_s.line if linear else step.cpu_s.at
    spent = grown(ask.impressions)
    return spent * step.more / formulas.HOUR_S


def _after(told: Mapping[str, Any], ask: Ask) -> Iterator[str]:
    judged, served = sources.judging(told), sources.serving(told)
    seconds = ", ".join(f"{name} {s:.1f} s" for name, s in judged.seconds.items())
    hours = {name: judged.hours(name, ask.impressions) for name in judged.seconds}
    most = ask.impressions * ask.hours / hours["ModelGate"]
    cores = ask.impressions / formulas.DAY_S * served.request_ms / 1e3
    table_gb = formulas.table_gb(ask.parameters, 1)
    yield "## After training\n"
    yield prose(
        f"""Measured (overhead.json) with {judged.rows:,} test rows, in one process: {seconds}.
        There
        ModelGate had no earlier model. Night by night it scores the last blessed one, too: that
        took {1e6 * judged.gate_row_s:,.0f} µs a test row (continual.json, the median of
        {judged.gate_runs} runs), which is taken here. Start-up is in all of these, so the cost of a
        row is overrated. Computed, seconds x rows / test rows / 3600, with the whole day as test
        split: Evaluator {hours["Evaluator"]:,.0f} core-hours, ModelGate {hours["ModelGate"]:,.0f}
        hours in its one process, which has {ask.hours:g} hours for {most:,.0f} rows. ServingCheck
        and Pusher depend on the model's bytes, not on rows."""
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
    for name, passes, copies in (
        ("TicketSearch", t.search.passes, formulas.SEARCHED),
        ("Trainer, one pass", 1.0, formulas.TRAINED),
    ):
        hours = trainers.core_hours(t, ask, passes)
        rows.append((name, hours, hours / t.cores * trainers.worker_gb(t, ask, copies)))
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
