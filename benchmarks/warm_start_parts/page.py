"""docs/benchmarks/warm_start.md and .json."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from page_parts.markdown import prose, table
from warm_start_parts.chain import FRESH, STALE, WARM

Json = dict[str, Any]
SETTINGS = {"label share": "warm_label_share", "learning rate": "warm_learning_rate"}
FILE = "warm_start.json"
WATCHED = "watched"  # of the metrics: the mean of the outputs' AUCs, as early stopping has it


HEAD = f"""# How a warm start learns

Rows of a run's training and validation splits by day. A model is trained from nothing on the first
days; then it goes on day by day, and is judged each time on the next day. No test row is read. AUCs
are means over seeds and days; the best pair has the highest mean of all AUCs.

The run is made first, `ncs4cvr run kuairand --date 2022-05-02 --root FOLDER`; the commands below
want the same `--root`, and take the grid as `--shares` and `--rates`.

`{STALE}`: the first model, never updated. `{FRESH}`: search and training from nothing on all days
so far. All arms keep the same vocabularies. After ± is the standard deviation over seeds.

"""


def write_json(docs: Path, told: Json) -> None:
    """Keeps what was measured, and on what, in place of what the same command found before."""
    docs.mkdir(parents=True, exist_ok=True)
    others = [run for run in _stored(docs) if _command(run["about"]) != _command(told["about"])]
    runs = sorted([*others, told], key=lambda run: _command(run["about"]))
    (docs / FILE).write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")


def write(docs: Path) -> None:
    """The page, from the .json alone."""
    sections = (section(run["about"], run["rows"]) for run in _stored(docs))
    (docs / FILE).with_suffix(".md").write_text(HEAD + "\n".join(sections), encoding="utf-8")


def _stored(docs: Path) -> list[Json]:
    file = docs / FILE
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else []


def section(about: Json, rows: Sequence[Json]) -> str:
    """What one command found."""
    seeds, days, base = about["seeds"], about["days"], about["base"]
    aucs = [name for name in rows[0]["metrics"] if name.endswith("_auc")]
    best = chosen(rows)
    body = []
    for arm, metrics in by_arm(rows).items():
        less = differences(rows, arm, (FRESH, None, None))
        wide = f" ± {statistics.stdev(less):.4f}" if len(less) > 1 else ""
        bold = "**" if arm == (WARM, *best) else ""
        values = [f"{bold}{metrics[name]:.4f}{bold}" for name in (*aucs, WATCHED)]
        shown = "" if arm[0] == FRESH else f"{statistics.fmean(less):+.4f}{wide}"
        told = [f"{value:g}" for value in arm[1:]] if arm[0] == WARM else [""] * 2
        body.append([f"`{arm[0]}`", *told, *values, shown])
    head = [name.removesuffix("_auc").upper() for name in aucs]
    settings = zip(SETTINGS.values(), best, strict=True)
    return "\n".join(
        [
            f"## `{about['recipe']}`: a first model of {len(base)} days\n",
            prose(
                f"`{_command(about)}`, {about['date']}, {about['machine']}; {len(seeds)} seeds "
                f"({', '.join(map(str, seeds))}). The first model is of {_dates(base)}; the days "
                f"that it goes on with are {_dates(days[:-1])}, it is judged on {_dates(days[1:])}."
            ),
            prose(f"**Best: {', '.join(f'`{name}={v:g}`' for name, v in settings)}.**"),
            table(["arm", *SETTINGS, *head, "their mean", "less fresh's"], body),
        ]
    )


def _command(about: Json) -> str:
    dated = f" --date {about['run_date']}" if about["run_date"] else ""
    settings = "".join(f" --set {setting}" for setting in about["set"])
    base = len(about["base"])
    return f"python benchmarks/warm_start.py {about['recipe']}{dated} --base {base}{settings}"


def by_arm(rows: Sequence[Json]) -> dict[tuple, Json]:
    """(arm, label share, learning rate) -> means of its metrics, as the rows come."""
    found: dict[tuple, list[Json]] = defaultdict(list)
    for row in rows:
        found[_arm(row)].append(row["metrics"])
    return {
        arm: {name: statistics.fmean(m[name] for m in every) for name in every[0]}
        for arm, every in found.items()
    }


def chosen(rows: Sequence[Json]) -> tuple[float, float]:
    """The warm start's label share and learning rate whose mean of AUCs is highest."""
    warm = {arm: m[WATCHED] for arm, m in by_arm(rows).items() if arm[0] == WARM}
    return max(warm, key=lambda arm: warm[arm])[1:]


def differences(rows: Sequence[Json], arm: tuple, other: tuple) -> list[float]:
    """Of two arms' mean AUC over the days, seed by seed."""
    found: dict[tuple, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        found[_arm(row)][row["seed"]].append(row["metrics"][WATCHED])
    return [
        statistics.fmean(values) - statistics.fmean(found[other][seed])
        for seed, values in found[arm].items()
    ]


def _arm(row: Json) -> tuple:
    return row["arm"], *(row.get(name) for name in SETTINGS.values())


def _dates(days: Sequence[int]) -> str:
    told = [f"{d // 10000}-{d // 100 % 100:02d}-{d % 100:02d}" for d in (days[0], days[-1])]
    return told[0] if days[0] == days[-1] else f"{told[0]} to {told[1]}"
