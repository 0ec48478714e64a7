"""docs/benchmarks/serving.md, .json and pictures."""

from __future__ import annotations

import argparse
import itertools
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from page_parts import machine
from serving_parts import pictures
from serving_parts.tickets import BLOCK
from serving_parts.variants import BLOCKS, DENSE, VARIANTS

TARGETS = {  # removed -> at least so many times smaller: f32, bf16
    0.8: (7, 12),
    0.9: (11, 17),
    0.95: (16, 22),
    0.98: (23, 27),
}
FASTER = {  # (removed, batch) -> at least so many times faster, one thread
    (0.9, 256): 1.8,
    (0.95, 256): 3.0,
    (0.98, 256): 4.3,
    (0.9, 1024): 2.0,
    (0.95, 1024): 3.4,
    (0.98, 1024): 4.7,
}
WHOLE = ("whole", "request")  # kinds of the whole model's rows
Rows = list[dict]


def write_json(folder: Path, options: argparse.Namespace, rows: Rows) -> None:
    """Keeps what was measured, and on what."""
    folder.mkdir(parents=True, exist_ok=True)
    about = _about(options)
    _put(folder, {"about": about, "about_whole": about, "rows": rows})


def replace_whole(folder: Path, options: argparse.Namespace, rows: Rows) -> None:
    """Keeps the rows of the whole model in place of those before, and on what they were made."""
    made = read(folder)
    others = [r for r in made["rows"] if r["kind"] not in WHOLE]
    _put(folder, {**made, "about_whole": _about(options), "rows": [*others, *rows]})


def _about(options: argparse.Namespace) -> dict[str, Any]:
    import tensorflow as tf

    return {
        **machine.facts(),
        "tensorflow": tf.__version__,
        "recipe": options.recipe,
        "rounds": options.rounds,
        "load_average": round(os.getloadavg()[2], 1),
    }


def _put(folder: Path, made: dict[str, Any]) -> None:
    text = json.dumps(made, indent=1)
    (folder / "serving.json").write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> dict[str, Any]:
    """What `write_json` kept in a folder.

    Raises:
      SystemExit: there is nothing; says how to make it.
    """
    file = folder / "serving.json"
    if not file.is_file():
        raise SystemExit(
            f"serving: {file}: no such file; --whole and --page-only begin with one: measure once "
            "without them"
        )
    return json.loads(file.read_text(encoding="utf-8"))


def write(folder: Path) -> None:
    """The page and its pictures, from the .json alone; the prose file says what it means."""
    made = read(folder)
    about, rows = made["about"], made["rows"]
    networks = list(dict.fromkeys(r["network"] for r in rows if r["kind"] == "bytes"))
    parts = [_head(about), (Path(__file__).parent / "found.md").read_text(encoding="utf-8")]
    parts += [_targets(rows, networks[0]), _whole(made["about_whole"], rows)]
    for network in networks:
        parts += [f"## {network}\n", _quality(rows, network)]
        parts += [_sizes(rows, network), _loads(rows, network)]
        for threads in sorted({r["threads"] for r in _of(rows, "speed")}):
            parts.append(_speeds(rows, network, threads))
    parts += [f"![{what}]({name})\n" for name, what in pictures.draw(rows, networks, folder)]
    (folder / "serving.md").write_text("\n".join(parts), encoding="utf-8")


def _of(rows: Rows, kind: str, **wanted) -> Rows:
    return [r for r in rows if r["kind"] == kind and all(r.get(k) == v for k, v in wanted.items())]


def _head(about: dict) -> str:
    return f"""# Serving: packed exports against dense ones

`python benchmarks/serving.py --rounds {about["rounds"]}` on the examples of
`ncs4cvr run {about["recipe"]}`, {about["date"]}, {about["machine"]}, TensorFlow
{about["tensorflow"]}, seed 1, load average {about["load_average"]}. Every row is in
[serving.json](serving.json).

- **What is measured.** Dense parts alone, without embeddings: two tasks' masked layers. Tickets
  come from one search by magnitude with rewinding on the run's examples, an epoch a round; under
  the tickets of each sparsity a joint model was trained for an epoch.
- **How.** A C++ program without Python loads the SavedModels as TF Serving does and makes requests
  in turns, in an order drawn anew every round; ratios are taken round by round, their median is
  shown. One thread within and between operations unless it says two. Share of peak is against a
  chain of {1024} x {1024} products in the same turns; a sparse product is credited with the
  operations of the dense one.
- **Variants.** *dense two-pass*: each task's mask folded into a kernel of its own. *dense
  shared-bottom*: one pass for both tasks, half the operations, another model. *packed*: tickets
  over one value table, decoded at load; *auto* lets the exporting machine choose sparse or dense
  products by batch size. *packed block*: auto, too, of tickets that keep or prune {BLOCK}
  neighbouring outputs of an input together (`ticket_block={BLOCK}`), searched and trained alike.
"""


def _table(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def _targets(rows: Rows, network: str) -> str:
    lines = []
    for removed, (f32, bf16) in TARGETS.items():
        for variant in ("packed sparse", "packed auto", BLOCKS, "packed bf16"):
            least = bf16 if variant == "packed bf16" else f32
            for r in _of(rows, "bytes", network=network, removed=removed, variant=variant):
                met = "met" if r["smaller"] >= least else "**missed**"
                lines.append(
                    [
                        f"{variant}, {removed:.0%} removed, bytes",
                        f"{least}x smaller",
                        f"{r['smaller']:.1f}x, payload {r['of_limit']:.3f} of its limit",
                        met,
                    ]
                )
    for (removed, batch), least in FASTER.items():
        wanted = {"network": network, "removed": removed, "batch": batch, "threads": 1}
        for variant in ("packed auto", BLOCKS):
            for r in _of(rows, "speed", variant=variant, **wanted):
                met = "met" if r["faster"] >= least else "**missed**"
                lines.append(
                    [
                        f"{variant}, {removed:.0%} removed, batch {batch}",
                        f"{least}x faster",
                        f"{r['faster']:.2f}x",
                        met,
                    ]
                )
    auto = _of(rows, "speed", variant="packed auto")
    worst = max(auto, key=lambda r: r["to_best"])
    within = sum(r["to_best"] <= 1.03 for r in auto)
    clear = sum(r["to_best_low"] > 1.03 for r in auto)
    lines.append(
        [
            "packed auto against the better of sparse and dense, all points",
            "at most 1.03",
            f"{within} of {len(auto)} points; surely above it (95 %) at {clear}; worst "
            f"{worst['to_best']:.2f} ({worst['network']}, {worst['removed']:.0%}, batch "
            f"{worst['batch']}, {worst['threads']} threads)",
            "met" if within == len(auto) else "**missed**",
        ]
    )
    sizes = [int(size) for size in network.split("-")]
    flops = 2 * 2 * sum(a * b for a, b in itertools.pairwise(sizes)) * 1024  # both tasks
    dense = _of(rows, "speed", network=network, batch=1024, threads=1, variant=DENSE)[0]
    rate = flops / dense["p50_ms"] / 1e6
    told = f"{network}, against dense two-pass, which makes {rate:.0f} GFLOP/s on a core at 1,024."
    return f"## Targets\n\n{told}\n\n" + _table(["what", "target", "measured", ""], lines)


def _whole(about: dict, rows: Rows) -> str:
    found, requests = (_of(rows, kind) for kind in WHOLE)
    if not found:
        return ""
    aucs = [k for k in found[0] if k.endswith("_auc")]
    head = ["export", "bytes", "smaller", "graph", "load, s", "held, MB", *aucs]
    lines = [
        [
            r["variant"],
            f"{r['bytes']:,}",
            f"{r['smaller']:.2f}x",
            f"{r['graph']:,}",
            f"{r['load_s']:.2f}",
            f"{r['held_mb']:.0f}",
            *(f"{r[a]:.5f}" for a in aucs),
        ]
        for r in found
    ]
    head2 = ["export", "signature", "threads", "p50, ms", "p99, ms", "faster"]
    lines2 = [
        [
            r["variant"],
            r["signature"],
            str(r["threads"]),
            f"{r['p50_ms']:.2f}",
            f"{r['p99_ms']:.2f}",
            f"{r['faster']:.2f}x",
        ]
        for r in requests
    ]
    return (
        f"## The whole model of `{found[0]['recipe']}`\n\n{about['date']}, {about['machine']}, "
        f"TensorFlow {about['tensorflow']}, load average {about['load_average']}. Embeddings and "
        "vocabularies included; AUC on the test split.\n\n"
        + _table(head, lines)
        + f"\nOne request of 1 user and {requests[0]['candidates']} candidates, against "
        f"`predict` of as many rows by the dense export:\n\n" + _table(head2, lines2)
    )


def _quality(rows: Rows, network: str) -> str:
    outputs = ("ctr", "cvr", "ctcvr")
    lines = []
    for removed in _shares(rows, network):
        mine = {r["variant"]: r for r in _of(rows, "quality", network=network, removed=removed)}
        cells = [f"{mine[v][f'{o}_auc']:.4f}" for o in outputs for v in ("packed auto", BLOCKS)]
        lines.append([f"{removed:.0%}", *cells])
    head = [f"{o.upper()}, {kind}" for o in outputs for kind in ("single", "blocks")]
    return (
        "AUC on the validation split, one seed, after one epoch under tickets of single "
        "connections and in blocks:\n\n" + _table(["removed", *head], lines)
    )


def _sizes(rows: Rows, network: str) -> str:
    head = ["removed", *VARIANTS, "payload / limit", "graph, bytes"]
    lines = []
    for removed in _shares(rows, network):
        mine = {r["variant"]: r for r in _of(rows, "bytes", network=network, removed=removed)}
        cells = [f"{mine[v]['bytes']:,} ({mine[v]['smaller']:.1f}x)" for v in VARIANTS]
        packed = mine["packed auto"]
        lines.append(
            [f"{removed:.0%}", *cells, f"{packed['of_limit']:.3f}", f"{packed['graph']:,}"]
        )
    return "Bytes of the SavedModel, and how many times smaller than dense two-pass:\n\n" + _table(
        head, lines
    )


def _loads(rows: Rows, network: str) -> str:
    lines = []
    for removed in _shares(rows, network):
        mine = {r["variant"]: r for r in _of(rows, "load", network=network, removed=removed)}
        lines.append(
            [f"{removed:.0%}"]
            + [f"{mine[v]['load_s']:.2f} s, {mine[v]['held_mb']:.0f} MB" for v in VARIANTS]
        )
    return "Seconds to load, and memory held after one request:\n\n" + _table(
        ["removed", *VARIANTS], lines
    )


def _speeds(rows: Rows, network: str, threads: int) -> str:
    mine = _of(rows, "speed", network=network, threads=threads)
    by = {(r["removed"], r["batch"], r["variant"]): r for r in mine}
    lines = []
    for removed, batch in dict.fromkeys((r["removed"], r["batch"]) for r in mine):
        dense = by[removed, batch, DENSE]
        cells = [f"{by[removed, batch, v]['faster']:.2f}x" for v in VARIANTS[1:]]
        auto = by[removed, batch, "packed auto"]
        lines.append(
            [
                f"{removed:.0%}",
                str(batch),
                f"{dense['p50_ms']:.3f} ({dense['p99_ms']:.3f})",
                f"{dense['of_peak']:.0%}",
                *cells,
                f"{auto['to_best']:.2f}",
            ]
        )
    return (
        f"Speed with {threads} thread{'s' if threads > 1 else ''}: median ms of dense "
        "two-pass (p99), its share of the machine's peak, how many times faster the others are:\n\n"
        + _table(["removed", "batch", "dense, ms", "of peak", *VARIANTS[1:], "auto / best"], lines)
    )


def _shares(rows: Rows, network: str) -> list[float]:
    return sorted({r["removed"] for r in _of(rows, "bytes", network=network)})
