"""What a pass over the examples costs training, which transforms them as it reads."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from page_parts.markdown import prose, table


def measured(record: Any, split: str) -> dict[str, float]:
    """A pass over a split of a run's examples, from files: rows, wall and processor seconds."""
    import tensorflow_transform as tft

    from ncs4cvr.models.learning import batches

    made = record.components()
    (examples,) = made["VideoLogExampleGen"].outputs["examples"]
    (graph,) = made["Transform"].outputs["transform_graph"]
    batches.CACHE_BYTES = 0  # as of a log that does not fit into memory
    files = f"{examples.uri}/Split-{split}/*"
    reader = batches.Batches(files, tft.TFTransformOutput(graph.uri))
    reader.count()  # builds the graph
    began, worked = time.perf_counter(), time.process_time()
    rows = reader.count()
    wall, cpu = time.perf_counter() - began, time.process_time() - worked
    return {"rows": rows, "wall_s": round(wall, 3), "cpu_s": round(cpu, 3)}


def part(cells: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Of the page."""
    rows = [
        [
            f"x {cell['scale']:g}",
            f"{found['rows']:,}",
            f"{found['wall_s']:.1f}",
            f"{found['cpu_s']:.1f}",
            f"{found['rows'] / found['wall_s']:,.0f}",
            f"{1e6 * found['cpu_s'] / found['rows']:.1f}",
        ]
        for cell in cells
        if (found := cell.get("reading"))
    ]
    if not rows:
        return
    yield "## Reading in training\n"
    yield prose(
        """Transform learns from the rows and writes none of them: training transforms what it reads
        (models/learning/batches.py), without Beam. A pass over the training split, from files,
        after one that built the graph:"""
    )
    head = ["log", "rows", "seconds", "processor seconds", "rows/s", "processor µs a row"]
    yield table(head, rows)
