"""docs/benchmarks/poisons.md and .json."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from poison_parts.poisons import DAY, POISONS

from page_parts import machine

Json = dict[str, Any]
WORTH = 0.002  # CVR AUC; what costs more should be stopped
WHEN = ("the day it arrives", "the day after, as validation day", "as a training day")
UNKNOWN = "not measured"

HEAD = f"""# Poisoned days

The default recipe on windows of six days of the bundled log (four to train, one to validate, one
to test), run day after day; then {DAY} arrives poisoned, after a day that was good.
`python benchmarks/poisons.py --work FOLDER` makes this page. "Stopped by" comes from runs of the
real pipeline, from the log on, in a folder that remembers the days before: up to the data gate
and, where that let a poison through, whole. A poison that is let through stays in the log, and the
next two days are run on it.

"""
COST = """
"Lost" is what the poison takes from an AUC if nothing looks: all checks and gates off, the day
among the four training days, the trained model measured on the clean day 2022-05-08 against one of
the clean log with the same seed, on the same rows. Mean of {seeds}, and the 95 % interval
of that mean from a bootstrap over users. Features that are counted from the log (tallies,
histories) are poisoned with it, as they would be in production. The intervals know of users, not
of the chance in a training: the clean log's CVR AUC is {noise}.
"""
VALUES = """
## How far from the limits

Each check has one limit, the same for all columns and days (of histograms: the column's own, so its
values here are in parts of it). The value is the smallest limit that a window would pass, where
chance alone passes anyway (four standard errors; of an AUC with what it varies by on the other
days); of several days and columns it is the largest. Of a poison it is that of the run that was
stopped, or else of the last one; **bold** is beyond the limit.

"""


def write_json(docs: Path, measured: Json, only: str = "") -> None:
    """Keeps what was measured (`cells`, `losses`, `checks`, `limits`), and on what.

    Where `only` some cells were asked for, all else stays as it was measured before.
    """
    file = docs / "poisons.json"
    about = {**machine.facts(), "tfx": importlib.metadata.version("tfx")}
    if only and file.is_file():
        before = json.loads(file.read_text(encoding="utf-8"))
        about = {**before["about"], "anew": {"cells": only, **about}}
        cells = {**before["cells"], **measured["cells"]}
        losses = {**before["losses"], **measured["losses"]}
        measured = {**measured, "cells": cells, "losses": losses}
    docs.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"about": about, **measured}, indent=1)
    file.write_text(text + "\n", encoding="utf-8")


def write(docs: Path) -> None:
    """The page, from the .json alone."""
    made = json.loads((docs / "poisons.json").read_text(encoding="utf-8"))
    cells, about, losses = made["cells"], made["about"], made["losses"]
    parts = [HEAD, "\n".join(_table(cells, losses)), "\n", *_verdict(cells, losses)]
    parts += [_cost(cells, losses), VALUES, "\n".join(_values(made)), "\n"]
    parts += [*_reasons(cells), *_clean(cells)]
    hours = sum(cell.get("seconds", 0) for cell in cells.values()) / 3600
    parts.append(
        f"\nMachine: {about['machine']}, TFX {about['tfx']}, {about['date']}; the runs add "
        f"up to {hours:.1f} hours.\n"
    )
    if anew := about.get("anew"):
        parts.append(
            f"Of that, cells whose names begin with `{anew['cells']}` were made anew on "
            f"{anew['machine']}, TFX {anew['tfx']}, {anew['date']}.\n"
        )
    (docs / "poisons.md").write_text("".join(parts), encoding="utf-8")


def outcome(cells: dict[str, Json], name: str) -> tuple[str, str, list[str]]:
    """What stopped a poison, when, and what it said; or that nothing did, or was not tried."""
    gated, full = cells.get(f"data {name}"), cells.get(f"full {name}")
    if gated is None:
        return "not tried", "", []
    told = gated if gated["stopped_by"] or not full else full
    if told["stopped_by"]:
        return told["stopped_by"], WHEN[len(told["runs"]) - 1], told["runs"][-1]["why"]
    return ("nothing" if full else "not DataGate; ModelGate was not tried"), "", []


def _table(cells: dict[str, Json], losses: Json) -> Iterator[str]:
    yield "| poison | stopped by | when | CVR AUC lost | CTR AUC lost |"
    yield "|---|---|---|---|---|"
    for name, (what, _) in POISONS.items():
        by, when, _ = outcome(cells, name)
        cost = " | ".join(_lost(losses.get(name, {}).get(task)) for task in ("cvr", "ctr"))
        yield f"| {what} | {by} | {when} | {cost} |"


def _lost(found: Json | None) -> str:
    if not found:
        return UNKNOWN
    low, high = found["interval"]
    return f"{found['mean']:+.4f} [{low:+.4f}, {high:+.4f}]"


def _verdict(cells: dict[str, Json], losses: Json) -> Iterator[str]:
    """What may be said of all poisons: a sentence for each kind of outcome that there is."""
    costly, cheap, unknown = [], [], []
    for name, (what, _) in POISONS.items():
        if outcome(cells, name)[2]:
            continue
        lost = losses[name]["cvr"]["mean"] if name in losses else None
        (unknown if lost is None else costly if lost > WORTH else cheap).append(what)
    if costly:
        yield f"\n**Not stopped, though it loses more than {WORTH:g}: {'; '.join(costly)}.**\n"
    if unknown:
        yield f"\n**Not stopped, and its loss not measured: {'; '.join(unknown)}.**\n"
    if cheap:
        yield f"\nNot stopped, and the loss that was measured is at most {WORTH:g}: "
        yield f"{'; '.join(cheap)}.\n"
    if not costly and not unknown:
        yield f"\nEvery poison with a loss of more than {WORTH:g} in CVR AUC is stopped.\n"


def _cost(cells: dict[str, Json], losses: Json) -> str:
    counts = sorted({len(found["cvr"]["seeds"]) for found in losses.values()}) or [0]
    seeds = f"{' to '.join(map(str, counts))} seed{'s' if counts != [1] else ''}"
    clean = [cell["cvr"] for name, cell in cells.items() if name.startswith("cost clean")]
    noise = ", ".join(f"{cvr:.4f}" for cvr in clean) or UNKNOWN
    if len(clean) > 1:
        noise += f" with {len(clean)} seeds"
    return COST.format(seeds=seeds, noise=noise)


def _values(made: Json) -> Iterator[str]:
    """A row for the limits, one for the largest of the clean days, one for every poison."""
    cells, checks, limits = made["cells"], made["checks"], made["limits"]
    yield f"| | {' | '.join(checks)} |"
    yield "|---" * (len(checks) + 1) + "|"
    yield f"| limit | {' | '.join(f'{limits[check]:g}' for check in checks)} |"
    clean = [cells[f"data {name}"].get("values", {}) for name in _days(cells)]
    largest = {c: max((v[c] for v in clean if c in v), default=None) for c in checks}
    yield f"| largest of {len(clean)} clean days | {_row(largest, limits)} |"
    for name, (what, _) in POISONS.items():
        runs = cells.get(f"data {name}", {}).get("runs") or [{}]
        yield f"| {what} | {_row(runs[-1].get('values', {}), limits)} |"
    yield ""
    yield from (f"- {check}: {what}" for check, what in checks.items())


def _row(values: Json, limits: Json) -> str:
    told = []
    for check, limit in limits.items():
        value = values.get(check)
        text = "" if value is None else f"{value:.3g}"
        told.append(f"**{text}**" if text and value > limit else text)
    return " | ".join(told)


def _reasons(cells: dict[str, Json]) -> Iterator[str]:
    """The first line of every refusal, as the run printed it."""
    yield "\n## What the runs said\n\nThe first line of each, and how many there are.\n\n"
    for name, (what, _) in POISONS.items():
        _, _, why = outcome(cells, name)
        if why:
            yield f"- {what} ({len(why)}): `{why[0]}`\n"


def _days(cells: dict[str, Json]) -> list[str]:
    """Names of the clean days that were run."""
    return [n.removeprefix("data ") for n in cells if n.startswith(("data 2", "data resample"))]


def _clean(cells: dict[str, Json]) -> Iterator[str]:
    names = _days(cells)
    let = sum(not cells[f"data {name}"]["stopped_by"] for name in names)
    tried = [name for name in names if f"full {name}" in cells]
    pushed = sum(not cells[f"full {name}"]["stopped_by"] for name in tried)
    yield f"\n## Clean days\n\nThe data gate lets {let} of {len(names)} clean days pass; {pushed} "
    yield f"of the {len(tried)} that were run as a whole end with a pushed model. Dates are days "
    yield "on which a window of the log can end, run one after the other in two rows, each "
    yield f"compared with the one before; resamples are {DAY} with four fifths of its "
    yield "users, drawn anew.\n\n"
    yield "| day | stopped by | CVR AUC | to the last blessed model |\n|---|---|---|---|\n"
    for name in names:
        full = cells.get(f"full {name}", {})
        cvr = f"{full['cvr']:.4f}" if "cvr" in full else ""
        yield f"| {name} | {_stopped(cells, name)} | {cvr} | {_change(full.get('before'))} |\n"


def _change(before: Json | None) -> str:
    if not before:
        return ""
    low, high = before["interval"]
    return f"{before['difference']:+.4f} [{low:+.4f}, {high:+.4f}]"


def _stopped(cells: dict[str, Json], name: str) -> str:
    """What stopped a clean day, and the first line of why; "" where nothing did."""
    for kind in ("data", "full"):
        cell = cells.get(f"{kind} {name}", {})
        if cell.get("stopped_by"):
            return f"{cell['stopped_by']} (`{cell['why'][0]}`)"
    return ""
