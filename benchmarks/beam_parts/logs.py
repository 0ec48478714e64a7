"""Logs of many sizes, made of the real one."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

#: Field of schemas.log.Log -> its file's stem; those with users are copied, videos are not.
FILES = {
    "events": "events",
    "users": "user_features",
    "videos": "video_features_basic",
    "history": "history",
}
USER = "user_id"
GROUP_ROWS = 1 << 16  # a row group is what one worker reads at once


def copy_of(table: pa.Table, number: int, shift: int) -> pa.Table:
    """The same rows of other users: ids are moved by `number` times `shift`; 0 changes nothing."""
    if not number or USER not in table.column_names:
        return table
    ids = pc.add(table[USER].cast(pa.int64()), number * shift)
    return table.set_column(table.schema.get_field_index(USER), USER, ids)


def part_of(table: pa.Table, share: float) -> pa.Table:
    """The rows of such a share of the users, those whose id ends in the lowest numbers."""
    if share >= 1 or USER not in table.column_names:
        return table
    ids = table[USER].cast(pa.int64())
    last = pc.subtract(ids, pc.multiply(pc.divide(ids, 1000), 1000))
    return table.filter(pc.less(last, round(share * 1000)))


def write(source: Path, scale: float, folder: Path) -> int:
    """Writes a log of `scale` times the source's users; returns its impressions.

    Below 1 it is a part of the users with all that is theirs, above it whole copies: every copy has
    users of its own, with the events, the history and the features of the original's, and the same
    videos. A file a copy.
    """
    tables = {name: pq.read_table(source / f"{stem}.parquet") for name, stem in FILES.items()}
    known = [t[USER] for t in tables.values() if USER in t.column_names]
    shift = 1 + max(pc.max(ids).as_py() for ids in known)
    folder.mkdir(parents=True, exist_ok=True)
    rows = 0
    for name, table in tables.items():
        table = part_of(table, scale)
        for number in range(max(1, round(scale)) if USER in table.column_names else 1):
            part = copy_of(table, number, shift)
            pq.write_table(part, folder / f"{name}-{number:03}.parquet", row_group_size=GROUP_ROWS)
            rows += part.num_rows if name == "events" else 0
    return rows
