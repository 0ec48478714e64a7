"""What was counted on the way: merged across workers, checked, and written as counts.json.

A tally sheet is {"counts": {kind of file: {what: how many}}, "first": {kind: [[unit, row, text]]}}.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ncs4cvr.components.log.records import LogError
from ncs4cvr.schemas.log import Log

SHOWN = 5  # dead letters, and kinds of them, that an error message shows
OUTSIDE = "no split"  # where rows on days of no split are counted
Sheet = dict[str, Any]


class RowsLost(RuntimeError):
    """Rows read are not rows written plus duplicates plus dead letters."""


def sheet(kind: str, counts: Mapping[str, int], first: Iterable[list[Any]] = ()) -> Sheet:
    """The tally sheet of one step on files of one kind."""
    return {"counts": {kind: dict(counts)}, "first": {kind: sorted(first)[:SHOWN]}}


def merge(sheets: Iterable[Sheet]) -> Sheet:
    """Adds up tally sheets, in any order and grouping."""
    counts: dict[str, Counter[str]] = {}
    first: dict[str, list[Any]] = {}
    for one in sheets:
        for kind, numbers in one["counts"].items():
            counts.setdefault(kind, Counter()).update(numbers)
        for kind, rows in one["first"].items():
            first[kind] = sorted(first.get(kind, []) + [list(row) for row in rows])[:SHOWN]
    return {"counts": {kind: dict(c) for kind, c in counts.items()}, "first": first}


def check_totals(totals: Sheet, log: Log) -> None:
    """Raises LogError if the log as a whole is unfit: broken rows, a split without rows or hits."""
    for kind, counts in totals["counts"].items():
        bad, rows = counts.get("bad", 0), counts.get("rows", 0)
        if bad > log.max_bad_share * rows:
            kinds = Counter(_starting(counts, "dead:")).most_common(SHOWN)
            many = "\n".join(f"  {n:,} row{'s' * (n > 1)}: {why}" for why, n in kinds)
            first = "\n".join(f"  {text}" for _, _, text in totals["first"].get(kind, []))
            raise LogError(
                f"{kind}: {bad:,} of {rows:,} rows are broken, more than max_bad_share "
                f"{log.max_bad_share:.2%} allows:\n{many}\nThe first:\n{first}\n"
                "Mend the files, correct the log's columns, or raise Log.max_bad_share."
            )
    events = totals["counts"].get("events", {})
    for split in log.splits:
        days = f"{split.first} to {split.last}"
        if not events.get(f"split:{split.name}"):
            raise LogError(
                f"split {split.name!r} ({days}) has no rows; choose days that the log covers "
                "(and check time_unit and utc_offset_hours)"
            )
        for label in log.labels:
            if not events.get(f"positive:{split.name}:{label.name}"):
                raise LogError(
                    f"split {split.name!r} ({days}) has no positive of label {label.name!r} "
                    f"(column {log.column(label.column)!r}); choose longer splits or drop the label"
                )


def check_met(totals: Sheet, log: Log) -> None:
    """Raises LogError where no event has a row in the users' or in the videos' file."""
    for kind, key, pattern in (("users", log.user, log.users), ("videos", log.video, log.videos)):
        counts = totals["counts"].get(kind, {})
        if counts.get("asked") and not counts.get("met"):
            raise LogError(
                f"{kind}: {pattern} has none of the {counts['asked']:,} {kind} that the events "
                f"have in {log.column(key)!r}; ids must be written alike in both (007 and 7, or U1 "
                f"and u1, differ): mend them, or leave out Log.{kind} and the features of it"
            )


def report(totals: Sheet, log: Log) -> dict[str, Any]:
    """The contents of counts.json. Raises RowsLost if a row went astray.

    events: rows = examples + duplicates + dead + history_only + later; an orphan is a conversion
    without the label it is given (kept ones are examples, dropped ones dead). What was neither dead
    nor a duplicate is counted three times, by who parses, who drops duplicates and who writes; per
    split rows = examples + duplicates.
    """
    result: dict[str, Any] = {}
    for kind, counts in totals["counts"].items():
        told: dict[str, Any] = {"rows": counts.get("rows", 0)}
        told["dead"] = _starting(counts, "dead:")
        if kind in ("users", "videos"):
            told["duplicate_keys"] = counts.get("duplicates", 0)
            if "asked" in counts:  # different ones in the events, and how many have a row here
                told |= {"asked": counts["asked"], "met": counts.get("met", 0)}
            written = counts.get("kept", 0)
        else:
            told["duplicates"] = counts.get("duplicates", 0)
        if kind == "history":
            written = told["kept"] = counts.get("kept", 0)
        if kind == "events":
            told["history_only"] = counts.get("history_only", 0)
            told["orphans"] = _starting(counts, "orphan:")
            told["split_orphans"] = {
                s.name: _starting(counts, f"orphans:{s.name}:") for s in log.splits
            }
            told["examples"] = {s.name: counts.get(f"example:{s.name}", 0) for s in log.splits}
            told["later"] = counts.get("later", 0)
            written = sum(told["examples"].values()) + told["history_only"] + told["later"]
        accounted = written + counts.get("duplicates", 0) + sum(told["dead"].values())
        if accounted != told["rows"]:
            raise RowsLost(
                f"{kind}: {told['rows']:,} rows were read but {accounted:,} are accounted for: "
                f"{told}; this is a defect of ncs4cvr, please report it"
            )
        if kind == "events":
            told["splits"] = _per_split(counts, told, log)
        result[kind] = told
    return result


def _per_split(
    counts: Mapping[str, int], told: Mapping[str, Any], log: Log
) -> dict[str, dict[str, int]]:
    """Split -> its rows that were no dead letters, and what became of them."""
    living = told["rows"] - sum(told["dead"].values()) - told["later"]
    rows = {split.name: counts.get(f"split:{split.name}", 0) for split in log.splits}
    written = {**told["examples"], OUTSIDE: told["history_only"]}
    splits = {}
    for name, read in {**rows, OUTSIDE: living - sum(rows.values())}.items():
        duplicates = counts.get(f"duplicate:{name}", 0)
        if read != written[name] + duplicates:
            raise RowsLost(
                f"events of {name!r}: {read:,} rows were read, {written[name]:,} written and "
                f"{duplicates:,} dropped as duplicates; this is a defect of ncs4cvr, please "
                "report it"
            )
        splits[name] = {"rows": read, "written": written[name], "duplicates": duplicates}
    return splits


def check_written(
    counts: Mapping[str, Any], letters: Mapping[str, int], examples: Mapping[str, int]
) -> None:
    """Raises RowsLost where files hold other numbers of rows than counts.json says.

    Args:
      counts: the contents of counts.json.
      letters: kind of file -> the dead letters found in files.
      examples: split -> the examples found in files.
    """
    wrong = [
        f"{kind}: {dead:,} dead letters counted, {letters.get(kind, 0):,} kept"
        for kind, dead in ((kind, sum(told["dead"].values())) for kind, told in counts.items())
        if letters.get(kind, 0) != dead
    ]
    wrong += [
        f"{split}: {written:,} examples counted, {examples.get(split, 0):,} found"
        for split, written in counts["events"]["examples"].items()
        if examples.get(split, 0) != written
    ]
    if wrong:
        raise RowsLost(
            f"rows went astray after they were counted: {'; '.join(wrong)}. A file was changed, or "
            "lost, or this is a defect of ncs4cvr; run again, and report it if it comes back"
        )


def describe_rows(counts: Mapping[str, Any]) -> list[str]:
    """counts.json for people: a line of sums for every kind of file, and why letters are dead."""
    lines = []
    for kind, one in counts.items():
        if kind == "events":
            written = [f"{n:,} {split}" for split, n in one["examples"].items()]
            written.append(f"{one['history_only']:,} of {OUTSIDE}")
            if one["later"]:
                written.append(f"{one['later']:,} after the splits")
        else:
            kept = one["rows"] - sum(one["dead"].values())
            written = [f"{kept - one.get('duplicates', one.get('duplicate_keys', 0)):,} kept"]
        twice = one.get("duplicates", one.get("duplicate_keys", 0))
        lines.append(
            f"rows of {kind}: {one['rows']:,} = {' + '.join(written)} + {twice:,} duplicates "
            f"+ {sum(one['dead'].values()):,} dead letters"
        )
        if lacking := one.get("asked", 0) - one.get("met", 0):
            lines.append(f"  {lacking:,} of {one['asked']:,} {kind} of the events are not in it")
        dead = sorted(one["dead"].items(), key=lambda pair: -pair[1])
        lines += [f"  {n:,} dead: {reason}" for reason, n in dead[:SHOWN]]
        if len(dead) > SHOWN:
            lines.append(f"  and {len(dead) - SHOWN} more reasons")
    return lines


def _starting(counts: Mapping[str, int], prefix: str) -> dict[str, int]:
    return {k[len(prefix) :]: n for k, n in sorted(counts.items()) if k.startswith(prefix)}
