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
SETTINGS = {  # as the table's columns
    "label share": "warm_label_share",
    "learning rate": "warm_learning_rate",
    "orders": "warm_orders",
}
WATCHED = "watched"  # of the metrics: the mean of the outputs' AUCs, as early stopping has it


def write_json(docs: Path, told: Json) -> None:
    """Keeps what was measured, and on what."""
    docs.mkdir(parents=True, exist_ok=True)
    (docs / "warm_start.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def write(docs: Path) -> None:
    """The page, from the .json alone."""
    told = json.loads((docs / "warm_start.json").read_text(encoding="utf-8"))
    (docs / "warm_start.md").write_text(page(told["about"], told["rows"]), encoding="utf-8")


def page(about: Json, rows: Sequence[Json]) -> str:
    """Its text."""
    means = by_arm(rows)
    seeds, days = about["seeds"], about["days"]
    aucs = [name for name in rows[0]["metrics"] if name.endswith("_auc")]
    of = " ".join(["", *(f"--set {s}" for s in about["set"])])
    dated = f" --date {about['run_date']}" if about["run_date"] else ""
    command = f"python benchmarks/warm_start.py {about['recipe']}{dated} --root FOLDER"
    command += f" --base {len(about['base'])}{of}"
    made = f"ncs4cvr run {about['recipe']}{dated} --root FOLDER{of}"
    share, rate, orders = chosen(rows)
    body = []
    for arm, metrics in means.items():
        less = differences(rows, arm, (FRESH, None, None, None))
        wide = f" ± {statistics.stdev(less):.4f}" if len(less) > 1 else ""
        best = "**" if arm == (WARM, share, rate, orders) else ""
        values = [f"{best}{metrics[name]:.4f}{best}" for name in (*aucs, WATCHED)]
        shown = "" if arm[0] == FRESH else f"{statistics.fmean(less):+.4f}{wide}"
        told = [f"{value:g}" for value in arm[1:]] if arm[0] == WARM else [""] * 3
        body.append([f"`{arm[0]}`", *told, *values, shown])
    head = [name.removesuffix("_auc").upper() for name in aucs]
    return "\n".join(
        [
            "# How a warm start learns\n",
            prose(
                f"`{made}`, then `{command}`: {about['date']}, {about['machine']}; "
                f"{len(seeds)} seeds ({', '.join(map(str, seeds))})."
            ),
            prose(
                f"Rows of the run's training and validation splits by day. A model is trained from "
                f"nothing on {_dates(about['base'])}; then it goes on day by day with the rows of "
                f"{_dates(days[:-1])}, and is judged each time on the next day, "
                f"{_dates(days[1:])}. No test row of this run is read, and where later runs are "
                "tested on later days, none of theirs. AUCs are means over seeds and days."
            ),
            prose(
                f"**Chosen: `warm_label_share={share:g}`, `warm_learning_rate={rate:g}`, "
                f"`warm_orders={orders}`**, by the mean of the AUCs."
            ),
            table(["arm", *SETTINGS, *head, "their mean", "less fresh's"], body),
            prose(
                f"`{STALE}`: the first model, never updated. `{FRESH}`: search and training from "
                "nothing on all days so far. All arms keep the first days' vocabularies. After ± "
                "is the standard deviation over seeds."
            ),
        ]
    )


def by_arm(rows: Sequence[Json]) -> dict[tuple, Json]:
    """(arm, label share, learning rate, orders) -> means of its metrics, as the rows come."""
    found: dict[tuple, list[Json]] = defaultdict(list)
    for row in rows:
        found[_arm(row)].append(row["metrics"])
    return {
        arm: {name: statistics.fmean(m[name] for m in every) for name in every[0]}
        for arm, every in found.items()
    }


def chosen(rows: Sequence[Json]) -> tuple[float, float, int]:
    """The warm start's label share, learning rate and orders whose mean of AUCs is highest."""
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
