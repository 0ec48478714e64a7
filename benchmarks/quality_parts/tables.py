"""The page's tables, as lines of Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ncs4cvr.schemas.recipe import Recipe
from quality_parts import sizes
from quality_parts.models import TOLERANCE
from quality_parts.results import OURS, by_model, judged_outputs, mean_and_sd

Rows = Sequence[Mapping[str, Any]]


def table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(line) + " |" for line in lines),
        "",
    ]


def decimal(value: float, places: int = 4, signed: bool = False) -> str:
    """.7535 rather than 0.7535."""
    text = f"{value:{'+' if signed else ''}.{places}f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def head(report: Any, judged: Any, split: str, machine: str) -> list[str]:
    """What was run, on what."""
    seeds = sorted({c.recipe.seed for c in report.cells})
    recipe = report.plan.recipe
    count, users = len(judged.users), int(judged.users.max()) + 1
    by = "every row is its own user" if users == count else f"{users:,} users"
    lines = [
        f"## {recipe.name}",
        "",
        f"{machine}.",
        f"Seeds {', '.join(map(str, seeds))}. {split.capitalize()} split: {count:,} rows, {by}.",
        "",
    ]
    for name, why in report.left_out.items():
        lines += [f"Left out: {name}. {why[0].upper()}{why[1:]}.", ""]
    return lines


def quality(recipe: Recipe, rows: Rows, split: str = "test") -> list[str]:
    """AUC and GAUC of every output: mean and standard deviation over seeds."""
    names = [f"{o}_auc" for o in judged_outputs(recipe)]
    names += [f"{o}_gauc" for o in judged_outputs(recipe) if f"{o}_gauc" in rows[0]["metrics"]]
    names += [n for n in rows[0]["metrics"] if n.endswith("_mse")]
    title = f"{split.capitalize()} split, mean ± standard deviation over seeds:"
    return [title, "", *_metrics(rows, names, split)]


def probabilities(recipe: Recipe, rows: Rows) -> list[str]:
    """Log loss, ECE and calibration of every output."""
    names = [
        f"{o}_{m}"
        for m in ("log_loss", "calibration_error", "calibration")
        for o in judged_outputs(recipe)
    ]
    return ["### Probabilities", "", *_metrics(rows, names)]


def _metrics(rows: Rows, names: Sequence[str], split: str = "test") -> list[str]:
    lines = []
    for model, own in by_model(rows, split).items():
        cells = []
        for name in names:
            mean, sd = mean_and_sd([row["metrics"][name] for row in own])
            cells.append(decimal(mean) + (f" ± {decimal(sd)}" if len(own) > 1 else ""))
        lines.append([f"**{model}**" if model == OURS else model, *cells])
    return table(["model", *(_title(n) for n in names)], lines)


KINDS = {
    "calibration_error": "ECE",
    "calibration": "calibration",
    "log_loss": "log loss",
    "gauc": "GAUC",
    "auc": "AUC",
    "mse": "MSE",
}


def _title(metric: str) -> str:
    """never_married_auc -> never_married AUC."""
    kind = next(k for k in KINDS if metric.endswith(f"_{k}"))
    return f"{metric.removesuffix(f'_{kind}')} {KINDS[kind]}"


def compared(recipe: Recipe, differences: Rows, ours: str = OURS) -> list[str]:
    """A model minus each other, with the interval; bold where it excludes 0."""
    if not differences:
        return []
    lines = _differences(recipe, differences)
    return [
        f"AUC of {ours} minus that of the other model, 95 % interval, and in how many seeds it is "
        "higher:",
        "",
        *table(["against", *(f"{o} AUC" for o in judged_outputs(recipe))], lines),
    ]


def _differences(recipe: Recipe, differences: Rows, prefix: str = "") -> list[list[str]]:
    outputs = judged_outputs(recipe)
    found = {(d["against"], d["output"]): d for d in differences}
    lines = []
    for name in dict.fromkeys(d["against"] for d in differences):
        cells = []
        for output in outputs:
            d = found[name, output]
            text = decimal(d["difference"], 5, signed=True)
            text = f"**{text}**" if d["low"] > 0 or d["high"] < 0 else text
            span = f"[{decimal(d['low'], 5, True)}, {decimal(d['high'], 5, True)}]"
            cells.append(f"{text} {span}, {d['seeds_above']} of {d['seeds']}")
        lines.append([prefix + name, *cells])
    return lines


def costs(rows: Rows) -> list[str]:
    """Parameters, FLOPs, speed and memory."""
    lines = []
    for model, own in by_model(rows).items():

        def mean(field: str, own: Rows = own) -> float:
            return mean_and_sd([row[field] for row in own])[0]

        live = "" if mean("live_params") == mean("dense_params") else f"{mean('live_params'):,.0f}"
        live_flops = "" if not live else f"{mean('live_flops') / 1e3:,.0f}"
        flops = f"{mean('flops') / 1e3:,.0f}" if model != "lightgbm" else "(trees)"
        lines.append(
            [
                model,
                f"{mean('embedding_params'):,.0f}",
                f"{mean('dense_params'):,.0f}",
                live,
                flops,
                live_flops,
                f"{mean('examples_per_s'):,.0f}",
                f"{mean('peak_mb'):,.0f}",
                f"{mean('seconds'):.0f}",
                f"{mean('best_epoch'):.1f}",
            ]
        )
    header = ["model", "embeddings", "dense", "live", "kFLOPs", "live kFLOPs"]
    header += ["examples/s", "peak MB", "seconds", "best epoch"]
    return ["### Costs", "", *table(header, lines)]


def search(costs: Rows) -> list[str]:
    """What the ticket search costs beside one joint training of the same model."""
    lines = [
        [
            c["model"],
            "{:.0f} ± {:.0f}".format(*c["search_seconds"]),
            "{:.0f} ± {:.0f}".format(*c["joint_seconds"]),
            "{:.2f} ± {:.2f}".format(*c["ratio"]),
            "{:.0f} ± {:.0f}".format(*c["soft_label_seconds"]),
            f"{c['search_rows']:,.0f}",
            f"{c['joint_rows']:,.0f}",
            f"{decimal(c['watched'][0])} ± {decimal(c['watched'][1])}",
        ]
        for c in costs
    ]
    if not lines:
        return []
    header = ["model", "search, s", "joint training, s", "ratio", "soft labels, s more"]
    header += ["rows x copies searched", "rows trained jointly", "validation of the joint model"]
    return ["### What the search costs", "", *table(header, lines)]


def curve(recipe: Recipe, rows: Rows, differences: Mapping[str, Rows], made: str) -> list[str]:
    """AUC against sparsity, and the differences to controls and shared-bottom at each."""
    outputs = judged_outputs(recipe)
    lines = [
        line
        for ours, found in differences.items()
        for line in _differences(recipe, found, f"{ours} - ")
    ]
    return [
        f"## {recipe.name}: sparsity",
        "",
        made,
        "",
        *_metrics(rows, [f"{o}_auc" for o in outputs]),
        *table(["difference", *(f"{o} AUC" for o in outputs)], lines),
    ]


def settings(report: Any) -> list[str]:
    """Every model's settings and its distance from the budget."""
    budget = report.plan.budget
    lines = []
    for model in report.models:
        cell = report.plan.cell(model, 1)
        if cell.kind == "boost":
            told, share = ", ".join(f"{k} {v}" for k, v in cell.options), ""
        else:
            told = _told(cell.recipe)
            share = f"{sizes.dense_parameters(cell.recipe, report.plan.inputs) / budget:.1%}"
        lines.append([model.name, model.says, share, told])
    tuned = sorted(report.plan.chosen)
    how = f"Tuned on validation: {', '.join(tuned)}." if tuned else "Nothing is tuned: defaults."
    return [
        "### Settings",
        "",
        f"The budget is {budget:,} dense parameters, met within {TOLERANCE:.0%}. {how}",
        "",
        *table(["model", "what it is", "of the budget", "settings"], lines),
    ]


def _told(recipe: Recipe) -> str:
    fields = ["hidden", "tower", "learning_rate", "dropout"]
    if recipe.sharing in ("mmoe", "ple", "snr"):
        fields.append("experts")
    if recipe.sharing == "snr":
        fields.append("snr_penalty")
    if recipe.sharing == "ncs4cvr":
        fields += ["keep", "rounds", "search_epochs", "warmup_steps", "prune_scope", "early_bird"]
    told = []
    for name in fields:
        value = getattr(recipe, name)
        text = "-".join(map(str, value)) if isinstance(value, tuple) else str(value)
        if text:
            told.append(f"{name} {text}")
    return ", ".join(told)
