"""The page's pictures: bytes and speed by sparsity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from quality_parts.pictures import COLORS, STYLE
from serving_parts.variants import PACKED, SHARED

LINES = dict(zip([*PACKED, SHARED], [*COLORS, "#3b4650"], strict=True))


def draw(rows: list[dict], networks: Sequence[str], folder: Path) -> list[tuple[str, str]]:
    """Writes them; returns (file name, what it shows)."""
    drawn = []
    with plt.rc_context(STYLE):
        for name, what, figure in (
            ("serving_bytes.png", "How many times smaller, by sparsity", _bytes(rows, networks)),
            ("serving_speed.png", "How many times faster, by sparsity", _speed(rows, networks)),
        ):
            figure.savefig(folder / name)
            plt.close(figure)
            drawn.append((name, what))
    return drawn


def _line(axis, rows: list[dict], variant: str, value: str) -> None:
    mine = sorted((100 * r["removed"], r[value]) for r in rows if r["variant"] == variant)
    if mine:
        axis.plot(*zip(*mine, strict=True), "o-", color=LINES[variant], label=variant, ms=4)


def _bytes(rows: list[dict], networks: Sequence[str]):
    figure, axes = plt.subplots(
        1, len(networks), figsize=(5 * len(networks), 3.6), layout="constrained", squeeze=False
    )
    for axis, network in zip(axes[0], networks, strict=True):
        mine = [r for r in rows if r["kind"] == "bytes" and r["network"] == network]
        for variant in LINES:
            _line(axis, mine, variant, "smaller")
        axis.set(title=f"{network}: times smaller", xlabel="connections removed, %")
    axes[0][0].legend()
    return figure


def _speed(rows: list[dict], networks: Sequence[str]):
    speeds = [r for r in rows if r["kind"] == "speed" and r["threads"] == 1]
    batches = sorted({r["batch"] for r in speeds})
    figure, axes = plt.subplots(
        len(networks),
        len(batches),
        figsize=(2.9 * len(batches), 3.2 * len(networks)),
        layout="constrained",
        squeeze=False,
        sharey="row",
    )
    for line, network in zip(axes, networks, strict=True):
        for axis, batch in zip(line, batches, strict=True):
            mine = [r for r in speeds if r["network"] == network and r["batch"] == batch]
            for variant in LINES:
                _line(axis, mine, variant, "faster")
            axis.axhline(1, color="#8a97a3", lw=1)
            axis.set(title=f"batch {batch}", xlabel="removed, %")
        line[0].set_ylabel(f"{network}\ntimes faster, one thread")
    axes[0][0].legend(fontsize=7)
    return figure
