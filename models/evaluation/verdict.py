"""Is a model good enough to be pushed? Everything the answer rests on, and the answer in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ncs4cvr.models.evaluation.gates import Seen, as_text, fallen, lacking, unkept
from ncs4cvr.models.evaluation.intervals import LEVEL, all_draws, measure
from ncs4cvr.models.evaluation.metrics import grouped_auc, own_rows
from ncs4cvr.schemas.recipe import Recipe
from ncs4cvr.schemas.tasks import Gate, Product, Task

BLESSED, FIRST, TOO_FEW, NOT_BLESSED = (
    "blessed",
    "first model",
    "too few to judge",
    "not blessed",
)
DECILES = 10
LARGEST_SLICES = 50  # of a column
FEWEST = 10  # positives, and negatives, below which a slice's interval says nothing
Scores = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Rows:
    """The rows that a model is judged on.

    labels: label -> [rows]. users: [rows], numbers 0, 1, ... slices: column -> [rows] of text.
    """

    labels: Mapping[str, np.ndarray]
    users: np.ndarray
    slices: Mapping[str, np.ndarray]


def verdict(
    recipe: Recipe, rows: Rows, scores: Scores, before: Scores | None, alone: str = ""
) -> dict[str, Any]:
    """What verdict.json holds; `ncs4cvr.components.model_gate` says what that is.

    Args:
      recipe: its outputs, gates and slices.
      rows: the test split.
      scores: output -> [rows].
      before: the same of the last blessed model; None where there is none. Outputs that it does not
        have are not compared.
      alone: why there is none; "" where no model was blessed.
    """
    draws = all_draws(int(rows.users.max(initial=-1)) + 1)
    outputs, seen = {}, {}
    for output in recipe.outputs:
        old = None if before is None else before.get(output.name)
        one, told = _output(recipe, output, rows, scores[output.name], old, draws)
        seen[output.name], outputs[output.name] = one, told
    gates, failed, too_few = [], [], []
    for gate in recipe.gates:
        one, told = seen[gate.output], outputs[gate.output]
        missing = list(lacking(gate, one))
        wrong = [] if missing else [*unkept(gate, one), *fallen(gate, one, told["slices"])]
        too_few += missing
        failed += wrong
        gates.append({**_plain(gate), "holds": not missing + wrong, "why": missing + wrong})
    word = NOT_BLESSED if failed else TOO_FEW if too_few else FIRST if before is None else BLESSED
    reasons = list(dict.fromkeys(failed + too_few))  # two gates may lack the same positives
    return {
        "verdict": word,
        "blessed": word in (FIRST, BLESSED),
        "why": _why(recipe, word, reasons, seen, alone or "no blessed model to compare with"),
        "reasons": reasons,
        "compared": before is not None,
        "rows": len(rows.users),
        "users": draws.shape[1],
        "replicates": len(draws),
        "level": LEVEL,
        "outputs": outputs,
        "gates": gates,
    }


def _output(
    recipe: Recipe,
    output: Task | Product,
    rows: Rows,
    scores: np.ndarray,
    before: np.ndarray | None,
    draws: np.ndarray,
) -> tuple[Seen, dict[str, Any]]:
    """An output's measurements, for the gates and in plain values."""
    metric = recipe.metric_of(output)
    mine = own_rows(output, rows.labels)
    y, p = rows.labels[output.label][mine].astype(np.float64), scores[mine].astype(np.float64)
    q = None if before is None else before[mine].astype(np.float64)
    users = rows.users[mine]

    def look(part: np.ndarray | slice, fewest: int = 0) -> Seen:
        old = None if q is None else q[part]
        positives = None if metric == "mse" else int(y[part].sum())
        negatives = None if positives is None else len(y[part]) - positives
        few = positives is not None and min(positives, negatives or 0) < fewest
        drawn = draws[:0] if few else draws
        found = measure(metric, y[part], p[part], old, drawn, users[part])
        return Seen(found, positives, negatives, _ratio(p[part], y[part]))

    slices, tables = [], []
    for column, values in rows.slices.items():
        for value, part in _parts(values[mine]):
            slices.append((column, look(part, FEWEST)))
            tables.append({"column": column, "slice": value, **_told(slices[-1][1], len(part))})
    whole = look(slice(None))
    told = {
        "label": output.label,
        "given": output.given if isinstance(output, Task) else "",
        "metric": metric,
        **_told(whole, len(y)),
        "share": _mean(y),
        "gauc": _gauc(metric, y, p, users),
        "gauc_before": None if q is None else _gauc(metric, y, q, users),
        "calibration": {"predicted": _mean(p), "observed": _mean(y), "ratio": whole.calibration},
        "deciles": _deciles(p, y),
        "slices": [{**table, "allowed": None, "holds": None} for table in tables],
    }
    seen = Seen(whole.measured, whole.positives, whole.negatives, whole.calibration, tuple(slices))
    return seen, told


def _told(seen: Seen, rows: int) -> dict[str, Any]:
    found = seen.measured
    compared = found.before is not None or found.befores is not None
    return {
        "rows": rows,
        "positives": seen.positives,
        "value": found.value,
        "interval": found.interval(),
        "before": {
            "value": found.before,
            "difference": found.difference,
            "interval": found.difference_interval(),
        }
        if compared
        else None,
    }


def _parts(values: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """The values of a slice column and their rows, the most frequent first."""
    names, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    for code in np.argsort(-counts, kind="stable")[:LARGEST_SLICES]:
        yield str(names[code]), np.flatnonzero(codes == code)


def _deciles(p: np.ndarray, y: np.ndarray) -> list[dict[str, Any]]:
    """Rows sorted by prediction, in ten parts of the same size."""
    order = np.argsort(p, kind="stable")
    return [
        {"rows": len(part), "predicted": _mean(p[part]), "observed": _mean(y[part])}
        for part in np.array_split(order, min(DECILES, len(order)) or 1)
    ]


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _ratio(p: np.ndarray, y: np.ndarray) -> float | None:
    return float(p.mean() / y.mean()) if len(y) and y.any() else None


def _gauc(metric: str, y: np.ndarray, p: np.ndarray, users: np.ndarray) -> float | None:
    if metric != "auc" or not len(y):
        return None
    found = grouped_auc(y, p, users)
    return None if np.isnan(found) else found


def _plain(gate: Gate) -> dict[str, Any]:
    return {
        "metric": gate.metric,
        "at_least": gate.at_least,
        "at_most": gate.at_most,
        "worse_by": gate.worse_by if gate.worse_by >= 0 else None,
        "confidence": gate.confidence,
        "slice_worse_by": gate.slice_worse_by if gate.slice_worse_by >= 0 else None,
        "slices": list(gate.slices),
        "min_positives": int(gate.min_positives),
    }


def _why(
    recipe: Recipe, word: str, reasons: list[str], seen: Mapping[str, Seen], alone: str
) -> str:
    """The verdict in one line."""
    if reasons:
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        return f"{word}: {reasons[0]}{more}"
    told = []
    for gate in recipe.gates:
        found = seen[gate.output].measured
        if gate.metric.endswith("_auc") and found.value is not None:
            text = f"{gate.metric} {found.value:.4f} {as_text(found.interval())}"
            if found.difference is not None and gate.worse_by >= 0:
                text += (
                    f", {found.difference:+.4f} {as_text(found.difference_interval())} to before"
                )
            told.append((gate.worse_by < 0, text))
    told.sort(key=lambda pair: pair[0])  # compared ones first, else in the recipe's order
    n = len(recipe.gates)
    holds = "its gate holds" if n == 1 else f"all {n} gates hold"
    nothing = f"{alone}, " if word == FIRST else ""
    return f"{word}: {nothing}{holds}" + (f"; {told[0][1]}" if told else "")
