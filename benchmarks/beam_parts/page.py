"""The page of Beam's steps, from what was measured alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from beam_parts import reading, stacks, watch
from beam_parts.engine import ONE, PORTABLE, TWO, WAYS
from beam_parts.growth import growth
from beam_parts.logs import GROUP_ROWS
from beam_parts.steps import STEPS
from page_parts.markdown import prose, table

FLAT = 1.1  # the driver's peak on the largest log may be so many times that on the default one
SHOWN = 0.01  # shares of time below this are left out
LONG_S = 1.0  # steps without Beam that never take so long are left out

Row = Mapping[str, Any]
Cells = Sequence[Row]


def page(told: Row) -> str:
    """All of it."""
    cells, about = told["cells"], told["about"]
    ways = "; ".join(f"*{name}*: {what}" for name, what in WAYS.items())
    facts = ", ".join(f"{key} {value}" for key, value in about.items())
    parts = [
        "# Beam's steps: speed, memory, and where the time goes\n",
        prose(f"`python benchmarks/beam.py`, recipe `kuairand`: {facts}."),
        prose(
            f"""**Logs.** x 1 is the real log. Below it, a part of its users with all that is
            theirs;
            above it, whole copies with other user ids: every copy has users of its own with the
            events, history and features of the original's, so the work for a user stays the same
            and users grow with rows. All copies show the same videos, so a video's counts grow, and
            the number of videos does not. A file a copy, in row groups of {GROUP_ROWS:,} rows: one
            worker reads a row group at once.""",
            "- ",
        ),
        prose(
            f"""**Ways.** {ways}. Beam's own runner keeps what it groups by key in memory: in the
            driver in the first two ways, in the job service in the third, where the driver is what
            a
            user's command or a step on an engine would be.""",
            "- ",
        ),
        prose(
            """**Rows.** Impressions read (VideoLogExampleGen), examples of all splits
            (StatisticsGen), examples of the training split (Transform). Rates are of whole steps,
            start-up included.""",
            "- ",
        ),
        prose(
            f"""**Measured** from outside, {1 / watch.PERIOD_S:.0f} times a second: the resident
            memory of each process (what processes share counts in each) and the processor seconds
            of all. Wall seconds include what else the machine did; load is the load average of five
            minutes at the end.""",
            "- ",
        ),
        "",
        *missing(cells),
        *runs(cells),
        *against_one(cells),
        *costs(cells),
        *driver(cells),
        *between(cells),
        *places(cells),
        *reading.part(cells),
    ]
    return "\n".join(parts)


def steps_of(cells: Cells, step: str, way: str) -> dict[float, dict[str, Any]]:
    """Scale -> a step's row in a way, the smallest first; of two cells the one given first."""
    found: dict[float, dict[str, Any]] = {}
    for cell in sorted(cells, key=lambda c: c["scale"]):
        for row in cell["steps"]:
            if row["name"] == step and cell["way"] == way:
                found.setdefault(cell["scale"], {**row, "load": cell["load"]})
    return found


def missing(cells: Cells) -> Iterator[str]:
    """Which steps were left out on which logs."""
    scales = sorted({cell["scale"] for cell in cells if cell["scale"] >= 1})
    gaps = [
        f"{step} x {scale:g} ({way})"
        for way in WAYS
        for step in STEPS
        for scale in scales
        if scale not in steps_of(cells, step, way)
    ]
    if gaps:
        yield prose(
            f"**Left out**, since it takes long (some of it `--full` does): {', '.join(gaps)}."
        )


def runs(cells: Cells) -> Iterator[str]:
    """Every step of every cell."""
    rows = []
    for step in STEPS:
        for way in WAYS:
            for scale, row in steps_of(cells, step, way).items():
                moved = "" if way == PORTABLE else f"{row['grouped_bytes'] / 1e6:,.2f}"
                rows.append(
                    [
                        *(step, way, f"x {scale:g}", f"{row['rows']:,}"),
                        *(f"{row['wall_s']:.1f}", f"{row['cpu_s']:.1f}"),
                        f"{row['rows'] / row['wall_s']:,.0f}",
                        f"{row['rows'] / row['cpu_s']:,.0f}",
                        f"{row['driver_mb']:,.0f}",
                        f"{row['worker_mb']:,.0f}" if way != ONE else "",
                        f"{row['engine_mb']:,.0f}" if way == PORTABLE else "",
                        *(moved, f"{row['temp_mb']:,.0f}", f"{row['output_bytes'] / 1e6:,.1f}"),
                        f"{row['load']}",
                    ]
                )
    head = ["step", "way", "log", "rows", "wall s", "CPU s", "rows/s", "rows per CPU s"]
    head += ["driver MB", "largest worker MB", "job service MB", "grouped MB", "in files MB"]
    yield "## Every run\n"
    yield table([*head, "output MB", "load"], rows)
    yield prose(
        """Grouped: bytes that Beam's runner groups by key, seen in the driver, so not in the third
        way. In files: the most that lay in a step's temporary files, by which VideoLogExampleGen's
        rows travel."""
    )


def against_one(cells: Cells) -> Iterator[str]:
    """Two workers against one process on the same log."""
    rows = []
    for step in STEPS:
        one = steps_of(cells, step, ONE)
        for way in (TWO, PORTABLE):
            for scale, row in steps_of(cells, step, way).items():
                if scale in one:
                    faster = one[scale]["wall_s"] / row["wall_s"]
                    more = row["cpu_s"] / one[scale]["cpu_s"]
                    rows.append([step, way, f"x {scale:g}", f"{faster:.2f}", f"{more:.2f}"])
    if rows:
        yield "## Two workers against one process\n"
        yield table(["step", "way", "log", "times as fast (wall)", "times the CPU s"], rows)


def costs(cells: Cells) -> Iterator[str]:
    """What a step costs without rows, for each row, and how that grows."""
    rows = []
    for step in STEPS:
        for way in WAYS:
            found = steps_of(cells, step, way)
            if len(found) < 2:
                continue
            g = growth([(row["rows"], row["cpu_s"]) for row in found.values()])
            rows.append(
                [
                    *(step, way, ", ".join(f"x {scale:g}" for scale in found), f"{g.start:.1f}"),
                    f"{1e6 * g.per_row:,.0f}",
                    f"{1 / g.per_row:,.0f}",
                    f"{g.exponent:.2f}" if g.measured else "",
                ]
            )
    yield "## How processor time grows with the log\n"
    yield prose(
        """CPU s = start-up + a cost a row, here that on the largest log. Start-up is where the line
        through the two smallest logs begins. Exponent: CPU s less the start-up grow as rows to this
        power between the two largest logs; with two logs alone it cannot be told."""
    )
    head = ["step", "way", "logs", "start-up CPU s", "CPU µs a row", "rows per CPU s then"]
    yield table([*head, "exponent"], rows)


def driver(cells: Cells) -> Iterator[str]:
    """Memory of each part by the log's size."""
    rows = []
    for step in STEPS:
        for way in WAYS:
            found = {s: row for s, row in steps_of(cells, step, way).items() if s >= 1}
            if len(found) < 2:
                continue
            first, *_, last = found.values()
            ratio = last["driver_mb"] / first["driver_mb"]
            more = (last["driver_mb"] - first["driver_mb"]) * 2**20 / (last["rows"] - first["rows"])
            rows.append(
                [
                    *(step, way, " → ".join(f"x {s:g}" for s in found)),
                    *(_path(found, "driver_before_mb"), _path(found, "driver_mb")),
                    f"{ratio:.2f}: {'flat' if ratio <= FLAT else '**grows**'}",
                    f"{more:,.0f}",
                    _path(found, "worker_mb") if way != ONE else "",
                    _path(found, "engine_mb") if way == PORTABLE else "",
                ]
            )
    if rows:
        yield "## What grows in the driver\n"
        yield prose(
            f"""Peaks in MB on growing logs, and what the driver held before the step, which is left
            of the steps before. Flat: the driver's peak on the largest log is at most {FLAT} times
            that on the first. In one process the driver does the workers' work, too."""
        )
        head = ["step", "way", "log", "driver before", "driver's peak", "times", "bytes a row"]
        yield table([*head, "largest worker", "job service"], rows)


def between(cells: Cells) -> Iterator[str]:
    """What else ran between Beam's steps, in the driver."""
    names = [row["name"] for cell in cells for row in cell["steps"] if row["name"] not in STEPS]
    rows = []
    for name in dict.fromkeys(names):
        for way in WAYS:
            found = {s: row for s, row in steps_of(cells, name, way).items() if s >= 1}
            if any(row["wall_s"] >= LONG_S for row in found.values()):
                seconds = " → ".join(f"{row['wall_s']:.1f}" for row in found.values())
                logs = " → ".join(f"x {s:g}" for s in found)
                rows.append([name, way, logs, seconds, _path(found, "driver_mb")])
    if rows:
        yield prose(
            f"""Between them run, in the driver, steps without Beam; those of {LONG_S:g} s and more.
            DataGate reads whole examples up to a fixed number of rows (`day_profile.MOST_ROWS`),
            and
            a sample of so many of larger logs."""
        )
        yield table(["step", "way", "log", "wall s", "driver's peak MB"], rows)


def _path(found: Mapping[float, Row], key: str) -> str:
    return " → ".join(f"{row[key]:,.0f}" for row in found.values())


def places(cells: Cells) -> Iterator[str]:
    """Where the time goes, in one process on the default log."""
    found = {s: row for s in STEPS if (row := steps_of(cells, s, ONE).get(1)) and row["places"]}
    if not found:
        return
    shares = {step: dict(row["places"]) for step, row in found.items()}
    every = dict.fromkeys(what for some in shares.values() for what in some)

    def seconds(what: str) -> float:
        return sum(s.get(what, 0) * found[step]["wall_s"] for step, s in shares.items())

    kept = [w for w in every if any(s.get(w, 0) >= SHOWN for s in shares.values())]
    rows = [
        [what, *(f"{s.get(what, 0):.1%}" for s in shares.values())]
        for what in sorted(kept, key=seconds, reverse=True)
    ]
    rows.append(["seconds of the step", *(f"{row['wall_s']:.1f}" for row in found.values())])
    yield "## Where the time goes\n"
    yield prose(
        f"""One process, log x 1: where its main thread, which does all of Beam's work, was, by
        looks
        at its stack every {1e3 * stacks.PERIOD_S:.0f} ms. What counts is the innermost Python of a
        library that has a line here; compiled code (Beam's coders, NumPy, Arrow) counts for the
        Python that called it. Shares below {SHOWN:.0%} in every step are left out."""
    )
    yield table(["", *shares], rows)
