"""One bucket of users or videos at a time: what the stages after parsing do to tables.

Tables have the columns that parsing.py gives them; ids are numbered within a bucket in sorted
order, so that nothing depends on the order of the files.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa

from ncs4cvr.components.log.columns import one_chunk
from ncs4cvr.components.log.hashing import hashes, mix
from ncs4cvr.components.log.history import (
    BEFORE_LOG,
    Timeline,
    actions,
    before_day,
    hits_and_trials,
    tally_value,
)
from ncs4cvr.components.log.parsing import DAY, HASH, LABEL, ORDER, TIME, USER, VIDEO
from ncs4cvr.components.log.plan import Column, Plan
from ncs4cvr.components.log.times import in_split, local_day, yyyymmdd
from ncs4cvr.schemas.log import Tally

CHUNK_ROWS = 8192  # examples encoded at a time; their histories are the widest thing in memory

#: How the values of each dtype travel.
ARROW = {"int": pa.int64(), "float": pa.float64(), "string": pa.string()}
BUCKET = "@bucket"  # the user bucket that asks for a video


def values(table: pa.Table, name: str) -> np.ndarray:
    """A column as a numpy array (objects where it holds text)."""
    return one_chunk(table[name]).to_numpy(zero_copy_only=False)


def numbered(*ids: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Ids of several tables as numbers 0, 1, ... in sorted order, and the ids by number."""
    codes, unique = pd.factorize(np.concatenate(ids), sort=True)
    return np.split(codes, np.cumsum([len(part) for part in ids])[:-1]), np.asarray(unique)


def labels_of(table: pa.Table) -> dict[str, np.ndarray]:
    """Label name -> its values."""
    return {n[len(LABEL) :]: values(table, n) for n in table.column_names if n.startswith(LABEL)}


def tidy(table: pa.Table, plan: Plan, when: str) -> tuple[pa.Table, pa.Table]:
    """Sorted by user and `when`, without rows equal to others in every raw column; and those.

    Ties are settled by values, never by the order of the files.
    """
    (user,), _ = numbered(values(table, USER))
    (video,), _ = numbered(values(table, VIDEO))
    action = actions(labels_of(table), plan.log.history_actions, table.num_rows)
    keys = (values(table, HASH), action, video, values(table, when), user)
    order = np.lexsort(keys)
    fresh = np.ones(len(order), bool)
    for key in keys:
        key = key[order]
        fresh[1:] &= key[1:] == key[:-1]
    fresh[1:] = ~fresh[1:]
    return table.take(pa.array(order[fresh])), table.take(pa.array(order[~fresh]))


def video_tallies(plan: Plan) -> list[Tally]:
    """The tallies of videos that a feature asks for."""
    return [
        t for t in plan.log.tallies if t.key == "video" and t.name in {c.name for c in plan.tallies}
    ]


def known_day(plan: Plan, rows: pa.Table) -> np.ndarray:
    """The day that video tallies go by: always that of the time.

    Log.day decides the split only. In real logs it lags, so that rows of "yesterday" may lie in an
    impression's future.
    """
    return local_day(values(rows, TIME), plan.log.utc_offset_hours)


def ask(plan: Plan, rows: pa.Table | None, past: pa.Table | None) -> pa.Table:
    """A user bucket's contribution to video tallies, and the (video, day) pairs it asks for."""
    tables = [table for table in (rows, past) if table is not None]
    (*codes,), videos = numbered(*(values(table, VIDEO) for table in tables))
    parts = []
    for table, code in zip(tables, codes, strict=True):
        day = known_day(plan, table) if table is rows else np.full(len(code), BEFORE_LOG)
        counted = {"code": code, DAY: day.astype(np.int32)}
        for i, tally in enumerate(video_tallies(plan)):
            hits, trials = hits_and_trials(tally, labels_of(table), len(code))
            counted |= {f"hits{i}": hits, f"trials{i}": trials}
        parts.append(pd.DataFrame(counted))
    sums = pd.concat(parts).groupby(["code", DAY], sort=True).sum().reset_index()
    video = pa.array(videos[sums.pop("code").to_numpy()], ARROW[plan.video_type])
    columns = {name: pa.array(sums[name].to_numpy()) for name in sums.columns}
    return pa.table({VIDEO: video, **columns})


def answer(plan: Plan, asked: pa.Table, videos: pa.Table | None) -> pa.Table:
    """Per asked (video, day): its tallies up to the day before, and the video's own columns."""
    (code,), _ = numbered(values(asked, VIDEO))
    day = values(asked, DAY)
    want = day != BEFORE_LOG
    columns = {VIDEO: asked[VIDEO], DAY: asked[DAY], BUCKET: asked[BUCKET]}
    for i, tally in enumerate(video_tallies(plan)):
        hits = before_day(code, day, values(asked, f"hits{i}"))
        trials = before_day(code, day, values(asked, f"trials{i}"))
        columns[tally.name] = pa.array(tally_value(tally, hits, trials))
    table = pa.table(columns).filter(pa.array(want))
    return joined(table, values(table, VIDEO), videos, plan.videos)


def joined(
    table: pa.Table, keys: np.ndarray, other: pa.Table | None, columns: tuple[Column, ...]
) -> pa.Table:
    """`table` with the columns of `other`'s first row whose key is the row's, else with nulls.

    columns: those of `other`, its key first.
    """
    if other is None:
        empty = {column.name: pa.array([], ARROW[column.dtype]) for column in columns}
        return joined(table, keys, pa.table(empty), columns)
    index = pd.Index(values(other, columns[0].name))
    first = np.flatnonzero(~index.duplicated())
    found = index[first].get_indexer(keys)
    rows = np.full(len(found), -1)
    rows[found >= 0] = first[found[found >= 0]]
    take = pa.array(rows, mask=rows < 0)
    for column in columns[1:]:
        table = table.append_column(column.name, one_chunk(other[column.name]).take(take))
    return table


def examples(
    plan: Plan,
    rows: pa.Table,
    past: pa.Table | None,
    users: pa.Table | None,
    answers: pa.Table,
) -> Iterator[tuple[str, dict[str, pa.Array]]]:
    """(split, columns) of a user bucket, some thousand rows at a time, in a shuffled order.

    The order is that of a hash of user, video and time: training reads rows one after another.
    """
    past = past if past is not None else _no_past(plan)
    (event_user, past_user), _ = numbered(values(rows, USER), values(past, USER))
    (event_video, past_video), videos = numbered(values(rows, VIDEO), values(past, VIDEO))
    line = Timeline.merge(event_user, values(rows, TIME), past_user, values(past, ORDER))
    names = plan.log.history_actions
    done = [actions(labels_of(table), names, table.num_rows) for table in (past, rows)]
    sequences = {
        "history_video": np.concatenate([past_video, event_video])[line.source],
        "history_action": np.concatenate(done)[line.source],
    }
    ids = pa.array(videos, ARROW[plan.video_type])
    rows = _with_user_tallies(plan, rows, past, line)
    rows = joined(rows, values(rows, USER), users, plan.users)
    rows = _with_answers(plan, rows, answers)
    day = values(rows, DAY)
    shuffled = np.lexsort((values(rows, HASH), _shuffle_key(rows)))
    for split in plan.log.splits:
        mine = shuffled[in_split(day[shuffled], split)]
        for start in range(0, len(mine), CHUNK_ROWS):
            chunk = mine[start : start + CHUNK_ROWS]
            columns = _plain_columns(plan, rows.take(pa.array(chunk)))
            columns |= _history_columns(plan, line, chunk, sequences, ids)
            yield split.name, columns


def _no_past(plan: Plan) -> pa.Table:
    types = {USER: ARROW[plan.user_type], VIDEO: ARROW[plan.video_type], ORDER: pa.int64()}
    return pa.table({name: pa.array([], kind) for name, kind in types.items()})


def _shuffle_key(rows: pa.Table) -> np.ndarray:
    key = mix(values(rows, TIME)) + hashes(rows[VIDEO])
    return mix(mix(key.view(np.int64)).view(np.int64) + hashes(rows[USER]).view(np.int64))


def _with_user_tallies(plan: Plan, rows: pa.Table, past: pa.Table, line: Timeline) -> pa.Table:
    for tally in plan.log.tallies:
        if tally.key != "user" or tally.name not in {c.name for c in plan.tallies}:
            continue
        counted = [hits_and_trials(tally, labels_of(t), t.num_rows) for t in (past, rows)]
        hits, trials = (line.before(np.concatenate(part)) for part in zip(*counted, strict=True))
        rows = rows.append_column(tally.name, pa.array(tally_value(tally, hits, trials)))
    return rows


def _with_answers(plan: Plan, rows: pa.Table, answers: pa.Table) -> pa.Table:
    (row_code, code), _ = numbered(values(rows, VIDEO), values(answers, VIDEO))

    def pair(code: np.ndarray, day: np.ndarray) -> np.ndarray:
        return (code.astype(np.int64) << 32) + day

    index = pd.Index(pair(code, values(answers, DAY)))
    found = pa.array(index.get_indexer(pair(row_code, known_day(plan, rows))))
    for name in answers.column_names:
        if name not in (VIDEO, DAY, BUCKET):
            rows = rows.append_column(name, one_chunk(answers[name]).take(found))
    return rows


def _plain_columns(plan: Plan, rows: pa.Table) -> dict[str, pa.Array]:
    """Every column of the examples but the histories."""
    log = plan.log
    columns = {
        log.user: rows[USER],
        log.video: rows[VIDEO],
        log.time: rows[TIME],
        "day": pa.array(yyyymmdd(values(rows, DAY))),
    }
    for label in log.labels:
        kind = pa.float32() if label.over else pa.int64()
        columns[label.name] = rows[LABEL + label.name].cast(kind)
    for column in (*plan.events, *plan.users[1:], *plan.videos[1:], *plan.tallies):
        cells = rows[column.name]
        columns[column.name] = cells.cast(pa.float32()) if column.dtype == "float" else cells
    return {name: one_chunk(column) for name, column in columns.items()}


def _history_columns(
    plan: Plan, line: Timeline, chunk: np.ndarray, sequences: dict[str, np.ndarray], ids: pa.Array
) -> dict[str, pa.Array]:
    """The history lists that a feature asks for."""
    offsets, positions = line.last(chunk, plan.log.history_length)
    columns: dict[str, pa.Array] = {}
    for name in plan.history:
        if name == "history_video":
            flat = ids.take(pa.array(sequences[name][positions]))
        elif name == "history_action":
            flat = pa.array(sequences[name][positions])
        else:
            then = line.time[positions]
            if name == "history_gap_s":
                now = np.repeat(line.time[line.now[chunk]], np.diff(offsets))
                then = np.where(then > 0, (now - then) // 1000, -1)
            flat = pa.array(then)
        columns[name] = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), flat)
    return columns
