"""docs/benchmarks/continual.md, .json and .png."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from continual_parts import compare, picture
from continual_parts.plan import ARMS, FRESH, WARM

Json = dict[str, Any]

HEAD = """# Day by day

`python benchmarks/continual.py --work FOLDER`: recipe `{recipe}`{settings}, {days} days in a row,
each `ncs4cvr run {recipe} --date DAY` from the log to the push. {seeds}
{date}, {machine}, TFX {tfx}. Every arm has a folder of its own. All arms run a day before any runs
the next, in an order that rotates. The load average was {load} at the ends of the runs.

"""
NO_FOURTH = """
There is no fourth arm with new tickets and a warm start. Where the tickets are new, training starts
fresh whatever `warm_start` says ([docs/production.md](../production.md#from-day-to-day)). It would
be the arm `fresh`, with an optimizer's state to keep. What earlier days, tested on by none of these
runs, say of a warm start's settings is in [warm_start.md](warm_start.md).

"""
TARGET = (
    f"The target: `{WARM}` takes at most {compare.MOST_SECONDS:g} of the seconds of `{FRESH}`, and "
    f"its mean CVR AUC is at most {compare.MOST_LOST:g} lower; the aim is higher.\n"
)
AFTER = """
"Of fresh" are sums over these days, divided by those of `fresh` on the same days. Seconds are of
the whole command; the processors' are of all its threads and processes, which depend less on what
else the machine does. The interval is of 95 %, from a bootstrap over test users, each with the rows
of all days; it knows nothing of the chance in a training.
"""
STEPS = """
## Where the seconds go

Means of the same days: seconds, and in brackets those of the processors. Steps that take less than
a second in every arm are in "all else", with the start of the process, look-ups and the report.

"""


def write_json(docs: Path, told: Json) -> None:
    """Keeps what was measured, and on what."""
    docs.mkdir(parents=True, exist_ok=True)
    (docs / "continual.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def write(docs: Path) -> None:
    """The page and its picture, from the .json alone."""
    told = json.loads((docs / "continual.json").read_text(encoding="utf-8"))
    cells = told["cells"]
    picture.draw(cells, docs / "continual.png")
    parts = [
        _head(told["about"], cells),
        *_arms(cells),
        NO_FOURTH,
        *_verdict(cells),
        *_against_fresh(cells, told["intervals"]),
        "\n![AUC and seconds, day by day](continual.png)\n",
        *_days(told["about"], cells),
        *_steps(cells),
    ]
    (docs / "continual.md").write_text("".join(parts), encoding="utf-8")


def _head(about: Json, cells: Sequence[Json]) -> str:
    seeds, loads = about["seeds"], sorted(cell["load"] for cell in cells)
    told = f"One seed ({seeds[0]})." if len(seeds) == 1 else f"{len(seeds)} seeds, {seeds}."
    return HEAD.format(
        recipe=about["recipe"],
        settings="".join(f" with `{setting}`" for setting in about["set"]),
        days=len(about["days"]),
        seeds=told,
        date=about["date"],
        machine=about["machine"],
        tfx="/".join(sorted({cell["tfx"] for cell in cells if "tfx" in cell})) or "unknown",
        load=f"{loads[0]:.1f} to {loads[-1]:.1f}",
    )


def _arms(cells: Sequence[Json]) -> Iterator[str]:
    yield "| arm | settings | on a day after the first |\n|---|---|---|\n"
    for arm in _run(cells):
        settings, what = ARMS[arm]
        yield f"| `{arm}` | {', '.join(f'`{s}`' for s in settings) or 'default'} | {what} |\n"


def _verdict(cells: Sequence[Json]) -> Iterator[str]:
    """The target, whether it is met, and how much the first days tell of noise."""
    yield TARGET + "\n"
    of = compare.pairs(cells, WARM)
    if not of:
        yield f"**Not decided**: no day after the first has both `{FRESH}` and `{WARM}`.\n"
        return
    met, text = compare.verdict(
        compare.ratio(of, "seconds"), statistics.fmean(compare.differences(of, "cvr"))
    )
    yield f"**Target {'met' if met else 'missed'}.** {text}\n\n"
    first = min(cell["day"] for cell in cells)
    same = [f"{c['seconds']:.0f}" for c in cells if c["day"] == first and c["auc"]]
    yield "On the first day no arm has an earlier model: all search and train from nothing, and "
    yield "it is left out of every comparison. How far apart its runs are is the machine's noise: "
    yield f"{', '.join(same)} s.\n"


def _against_fresh(cells: Sequence[Json], intervals: Json) -> Iterator[str]:
    yield "\n## Against fresh days\n\n"
    yield "| arm | days | seconds a day | of fresh | processor seconds a day | of fresh |\n"
    yield "|---|---|---|---|---|---|\n"
    for arm in _run(cells):
        if of := compare.pairs(cells, arm):
            told = [f"`{arm}`", f"{len(of)}"]
            for key in ("seconds", "processor_s"):
                mean = statistics.fmean(mine[key] for mine, _ in of)
                told += [f"{mean:.0f}", f"**{compare.ratio(of, key):.2f}**"]
            yield f"| {' | '.join(told)} |\n"
    yield "\n| arm | AUC | mean | less fresh's | interval | day by day |\n"
    yield "|---|---|---|---|---|---|\n"
    for arm in _run(cells):
        of = compare.pairs(cells, arm)
        for output in compare.OUTPUTS if of else ():
            found = compare.differences(of, output)
            mean = statistics.fmean(mine["auc"][output] for mine, _ in of)
            told = [f"`{arm}`", output.upper(), f"{mean:.4f}", "", "", ""]
            if arm != FRESH:
                told[3] = f"**{statistics.fmean(found):+.4f}**"
                told[4] = _interval(intervals.get(arm, {}).get(output))
                told[5] = ", ".join(f"{each:+.4f}" for each in found)
            yield f"| {' | '.join(told)} |\n"
    yield AFTER


def _interval(found: Sequence[float] | None) -> str:
    return f"[{found[0]:+.4f}, {found[1]:+.4f}]" if found else ""


def _days(about: Json, cells: Sequence[Json]) -> Iterator[str]:
    """A row for every run, what was refused, and what the windows hold."""
    yield "\n## Every run\n\nA run is named by the last day that it is tested on. "
    yield f"{_overlap(about)}\n\n"
    yield "| day | arm | CVR AUC | CTR AUC | CTCVR AUC | test rows | seconds | tickets |"
    yield " vocabularies | training | rows | came to |\n"
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|\n"
    order = list(ARMS)
    for cell in sorted(cells, key=lambda c: (c["day"], c["seed"], order.index(c["arm"]))):
        auc = [f"{cell['auc'][o]:.4f}" if cell["auc"] else "" for o in ("cvr", "ctr", "ctcvr")]
        rows = f"{cell['test_rows']:,}" if cell["auc"] else ""
        did = decisions(cell) if cell["auc"] else [""] * 4
        told = [cell["day"], f"`{cell['arm']}`", *auc, rows, f"{cell['seconds']:.0f}", *did]
        yield f"| {' | '.join([*told, cell['verdict']])} |\n"
    yield "\n"
    refused = [cell for cell in cells if cell["verdict"] != "pushed"]
    if not refused:
        yield "Nothing was refused: every run ended with a pushed model.\n"
    else:
        yield "What was refused, and why. A model that was not blessed has its AUCs and seconds "
        yield "above and counts like the others; the next day goes on from the last pushed one.\n\n"
    for cell in refused:
        yield f"- {cell['day']} `{cell['arm']}`: {cell['verdict']}: {'; '.join(cell['why'])}\n"
    yield from _windows(cells)


def _overlap(about: Json) -> str:
    days = about["test_days"]
    if days == 1:
        return "It is tested on no other."
    return f"It is tested on {days} days, so that neighbours share some of their test rows."


def decisions(cell: Json) -> list[str]:
    """What a run decided: tickets, vocabularies, its start, and the rows that it trained on."""
    tickets, words, start = cell["tickets"], cell["vocabularies"], cell["start"]
    found = "none" if not tickets else _of("" if tickets["searched"] else tickets["searched_on"])
    learned = _of("" if words["analyzed"] else words["analyzed_on"])
    began = f"from {start['from']}'s model" if start["from"] else "fresh"
    return [found, learned, began, f"{start['rows']:,}"]


def _of(day: str) -> str:
    return f"of {day}" if day else "new"


def _windows(cells: Sequence[Json]) -> Iterator[str]:
    fresh = sorted((c["day"], c["start"]["rows"]) for c in cells if c["arm"] == FRESH and c["auc"])
    if len(fresh) > 1 and fresh[0][1] < fresh[-1][1]:
        yield f"\nA fresh day trains on {fresh[0][1]:,} rows at first and on {fresh[-1][1]:,} at "
        yield "last: the log begins within the first windows, so a fresh day has more to do "
        yield "every day until a window is full.\n"


def _steps(cells: Sequence[Json]) -> Iterator[str]:
    """A row a step, a column an arm."""
    runs = {arm: [mine for mine, _ in compare.pairs(cells, arm)] for arm in _run(cells)}
    runs = {arm: mine for arm, mine in runs.items() if mine}
    if not runs:
        return
    wall, work = (
        {arm: compare.mean_steps(mine, key) for arm, mine in runs.items()}
        for key in ("steps_s", "steps_processor_s")
    )
    names = dict.fromkeys(name for steps in wall.values() for name in steps)
    shown = [n for n in names if max(steps.get(n, 0) for steps in wall.values()) >= 1]
    yield STEPS + f"| step | {' | '.join(f'`{arm}`' for arm in runs)} |\n"
    yield "|---" * (len(runs) + 1) + "|\n"
    for name in shown:
        told = [f"{wall[a].get(name, 0):.1f} ({work[a].get(name, 0):.1f})" for a in runs]
        yield f"| {name} | {' | '.join(told)} |\n"
    apart = {"loading of libraries": "loading_s", "checksums": "checksums_s", "all": "seconds"}
    means = {
        w: {a: statistics.fmean(c[k] for c in runs[a]) for a in runs} for w, k in apart.items()
    }
    whole = means.pop("all")
    for what, mean in means.items():
        yield f"| {what} | {' | '.join(f'{mean[arm]:.1f}' for arm in runs)} |\n"
    rest = {
        arm: whole[arm]
        - sum(wall[arm].get(n, 0) for n in shown)
        - sum(m[arm] for m in means.values())
        for arm in runs
    }
    yield f"| all else | {' | '.join(f'{rest[arm]:.1f}' for arm in runs)} |\n"
    yield f"| the command | {' | '.join(f'{whole[arm]:.1f}' for arm in runs)} |\n"


def _run(cells: Sequence[Json]) -> list[str]:
    """The arms that were run."""
    return [arm for arm in ARMS if any(cell["arm"] == arm for cell in cells)]
