"""Bytes, load, memory and speed of the dense part's variants: rows of serving.json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from serving_parts import cpp, variants
from serving_parts.tickets import Size, Trained
from serving_parts.variants import BLOCKS, DENSE, VARIANTS

CALLS = {1: 40, 16: 20, 64: 10, 256: 4, 1024: 2}  # in a row, in every round
WARMUP = 3


@dataclass(frozen=True)
class DensePart:
    """One network at one sparsity, with tickets of single connections and in blocks."""

    size: Size
    removed: float
    single: Trained
    blocks: Trained
    exports: Path

    def folder(self, variant: str) -> Path:
        """Of a variant's SavedModel, exported at the first call."""
        name = f"{self.size.name}-{round(100 * self.removed)}-{variant.replace(' ', '-')}"
        self.exports.mkdir(parents=True, exist_ok=True)
        variants.export(variant, self.trained(variant).towers, self.exports / name)
        return self.exports / name

    def trained(self, variant: str) -> Trained:
        """What a variant exports."""
        return self.blocks if variant == BLOCKS else self.single

    def row(self, kind: str, variant: str, **more) -> dict:
        """One row."""
        network = "-".join(map(str, (self.size.inputs, *self.size.hidden)))
        facts = {"kind": kind, "network": network, "removed": self.removed, "variant": variant}
        return {**facts, **more}

    def sizes(self) -> list[dict]:
        """Bytes, how many times smaller than dense, payload against the limit."""
        dense = variants.size(self.folder(DENSE))["bytes"]
        rows = []
        for variant in VARIANTS:
            found = variants.size(self.folder(variant))
            more = {"smaller": dense / found["bytes"]}
            if "limit" in found:
                more["of_limit"] = (found["tickets"] + found["values"]) / found["limit"]
            rows.append(self.row("bytes", variant, **found, **more))
        return rows

    def quality(self) -> list[dict]:
        """What validation says of single connections and of blocks."""
        return [self.row("quality", v, **self.trained(v).metrics) for v in ("packed auto", BLOCKS)]

    def loads(self, program: Path, times: int) -> list[dict]:
        """Seconds to load, and memory that is held then: each in processes of its own, in turns."""
        taken: dict[str, list] = {variant: [] for variant in VARIANTS}
        for _ in range(times):
            for variant in VARIANTS:
                case = self._case(variant, 1, 1)
                scores = cpp.run(program, [case], threads=(1, 1))
                before, after = scores.memory_kib["start"][0], scores.memory_kib["end"]
                load = scores.load_seconds[case.folder]
                taken[variant].append((load, after[0] - before, after[1]))
        rows = []
        for variant, runs in taken.items():
            load, held, peak = np.median(np.array(runs), axis=0)
            more = {"load_s": load, "held_mb": held / 1024, "peak_mb": peak / 1024}
            rows.append(self.row("load", variant, **more))
        return rows

    def speeds(self, program: Path, rounds: int, threads: int) -> list[dict]:
        """Milliseconds a request of every variant and batch, in turns; ratios round by round."""
        peak_folder = self.exports / "peak"
        peak_flops = variants.export_peak(peak_folder)
        keys = [(variant, batch) for variant in VARIANTS for batch in CALLS]
        cases = [self._case(variant, batch, CALLS[batch]) for variant, batch in keys]
        x = np.ones((variants.PEAK_SIDE, variants.PEAK_SIDE), np.float32)
        cases.append(cpp.case(str(peak_folder), "serving_default", {"x": x}))
        scores = cpp.run(program, cases, rounds, WARMUP, (threads, threads))
        *seconds, at_peak = scores.seconds
        peak = peak_flops / float(np.min(at_peak))
        taken = dict(zip(keys, seconds, strict=True))
        rows = []
        for (variant, batch), each in taken.items():
            mid = np.median(each, axis=1)
            ratio = float(np.median(np.median(taken[DENSE, batch], axis=1) / mid))
            work = variants.flops(variant, self.single.towers) * batch
            more = {
                "threads": threads,
                "batch": batch,
                "p50_ms": 1e3 * float(np.median(each)),
                "p99_ms": 1e3 * float(np.percentile(each, 99)),
                "faster": ratio,
                **self._to_best(taken, variant, batch),
                "of_peak": work / float(np.median(each)) / peak,
            }
            rows.append(self.row("speed", variant, **more))
        return rows

    def _to_best(self, taken: dict, variant: str, batch: int) -> dict[str, float]:
        """Time against the better of the packed sparse and the packed dense variant.

        The median over the rounds, and the lower end of its interval of 95 % by order statistics.
        """
        mids = {v: np.median(taken[v, batch], axis=1) for v in VARIANTS}
        best = min(("packed sparse", "packed dense"), key=lambda v: float(np.median(mids[v])))
        ratios = np.sort(mids[variant] / mids[best])
        low = max(int((len(ratios) - 1.96 * len(ratios) ** 0.5) / 2), 0)
        return {"to_best": float(np.median(ratios)), "to_best_low": float(ratios[low])}

    def _case(self, variant: str, batch: int, calls: int) -> cpp.Case:
        rng = np.random.default_rng(batch)
        x = rng.normal(size=(batch, self.size.inputs)).astype(np.float32)
        return cpp.case(str(self.folder(variant)), "serving_default", {"x": x}, calls)
