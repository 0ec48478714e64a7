"""Raw cells become moments and days, whole columns at a time; columns.py has all else."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ncs4cvr.components.log.columns import (
    Converted,
    cell_by_cell,
    decoded,
    kind_of,
    mask_of,
    to_int,
)
from ncs4cvr.schemas.log import Split

DAY_MS = 86_400_000
EPOCH = dt.date(1970, 1, 1)
LAST_MS = 253_402_300_799_999  # the end of the year 9999: moments lie this far from 1970 at most
#: 2022-05-06T12:34:56.789+08:00; any number of decimals, no zone, or 20220506T123456Z.
MOMENT = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d|\d{8}(?=T))"
    r"([T ](?P<hour>\d\d)(:?(?P<minute>\d\d)(:?(?P<second>\d\d)([.,](?P<fraction>\d+))?)?)?"
    r"(?P<zone>Z|[+-]\d\d(:?\d\d)?)?)?",
    re.ASCII | re.IGNORECASE,
)
TICKS = {"s": 1_000, "ms": 1}  # milliseconds


def expected_time(unit: str) -> str:
    """What a cell of `to_time_ms` must be."""
    return f"a time in {unit} since 1970, or an ISO time"


def to_time_ms(raw: pa.Array, unit: str, utc_offset_hours: float) -> Converted:
    """Milliseconds since 1970 UTC from numbers of `unit` (s or ms), timestamps or ISO texts.

    A timestamp or text without a zone is local time, `utc_offset_hours` ahead of UTC.
    """
    offset = int(utc_offset_hours * 3_600_000)
    if kind_of(raw.type) == "time":
        return _timestamp_to_ms(raw, offset)
    if kind_of(raw.type) == "string":
        raw = decoded(raw)  # text of TFRecord files is bytes
    whole, bad = to_int(raw)
    whole, far = _not_beyond(whole, unit)
    scaled = pc.multiply(whole, TICKS[unit])
    if not bad.any():
        return scaled, far

    def parse(cell: Any) -> int:
        if isinstance(cell, float) or (unit == "s" and str(cell).replace(".", "", 1).isdigit()):
            moment = round(float(cell) * TICKS[unit])
            if abs(moment) > LAST_MS:
                raise ValueError(cell)
            return moment
        text = str(cell).strip()
        if text.isdigit():  # a number out of range; newer Pythons would find a date in it
            raise ValueError(cell)
        when, zoned = _parse_moment(text)
        return when - (0 if zoned else offset)

    rest = raw.filter(pa.array(bad))
    found, still = cell_by_cell(rest, parse, pa.int64())
    values = scaled.fill_null(0).to_numpy(zero_copy_only=False).copy()
    null = mask_of(scaled.is_null())
    values[bad] = found.fill_null(0).to_numpy(zero_copy_only=False)
    null[bad] = still
    bad = bad.copy()
    bad[bad] = still
    within, beyond = _not_beyond(pa.array(values, pa.int64(), mask=null), "ms")
    return within, bad | far | beyond


def _parse_moment(text: str) -> tuple[int, bool]:
    """Milliseconds of an ISO 8601 date and time, and whether it names its zone.

    Not by `fromisoformat`: what that reads differs between versions of Python.
    """
    found = MOMENT.fullmatch(text)
    if not found:
        raise ValueError(text)
    date, fraction, zone = found["date"].replace("-", ""), found["fraction"], found["zone"]
    hour, minute, second = (int(found[part] or 0) for part in ("hour", "minute", "second"))
    when = dt.datetime(int(date[:4]), int(date[4:6]), int(date[6:]), hour, minute, second)
    ms = (when - dt.datetime(1970, 1, 1)) // dt.timedelta(milliseconds=1)
    ms += int((fraction or "")[:3].ljust(3, "0"))
    return ms - _ahead_minutes(zone or "Z") * 60_000, bool(zone)


def _ahead_minutes(zone: str) -> int:
    """Minutes that +08:00, +0530, -03 or Z is ahead of UTC."""
    if zone in "Zz":
        return 0
    ahead = int(zone[1:3]) * 60 + int(zone[3:].replace(":", "") or 0)
    return -ahead if zone[0] == "-" else ahead


def zone_hours(text: str) -> float | None:
    """Hours that the zone of an ISO time is ahead of UTC; None where it names none.

    >>> zone_hours("2022-05-06T12:34:56+05:30")
    5.5
    """
    found = MOMENT.fullmatch(text.strip())
    return _ahead_minutes(found["zone"]) / 60 if found and found["zone"] else None


def _timestamp_to_ms(raw: pa.Array, offset: int) -> Converted:
    far = np.zeros(len(raw), bool)
    if pa.types.is_timestamp(raw.type) and raw.type.unit == "s":  # others cannot overflow below
        raw, far = _not_beyond(raw, "s")
    ms = raw.cast(pa.timestamp("ms", getattr(raw.type, "tz", None)), safe=False).cast(pa.int64())
    ms, beyond = _not_beyond(ms, "ms")
    naive = getattr(raw.type, "tz", None) is None
    return pc.subtract(ms, offset if naive else 0), far | beyond


def _not_beyond(moments: pa.Array, unit: str) -> Converted:
    """Moments of years that no calendar has are null, and wrong."""
    numbers = moments.cast(pa.int64())
    last = LAST_MS // TICKS[unit]
    far = mask_of(pc.or_(pc.greater(numbers, last), pc.less(numbers, -last)))
    if not far.any():
        return moments, far
    return pc.if_else(pa.array(far), pa.scalar(None, moments.type), moments), far


def to_day(raw: pa.Array) -> Converted:
    """Days since 1970 from YYYYMMDD numbers, ISO dates or date columns."""
    if kind_of(raw.type) == "time":
        return raw.cast(pa.date32()).cast(pa.int32()), np.zeros(len(raw), bool)
    codes = decoded(raw).dictionary_encode()
    days, _ = cell_by_cell(codes.dictionary, _parse_day, pa.int32())
    days = days.take(codes.indices)
    return days, mask_of(pc.and_not(pc.is_null(days), pc.is_null(codes.indices)))


def local_day(time_ms: np.ndarray, utc_offset_hours: float) -> np.ndarray:
    """Days since 1970 of moments, by a clock that many hours ahead of UTC."""
    days = (time_ms + int(utc_offset_hours * 3_600_000)) // DAY_MS
    # Moments beyond any calendar would overflow; they are refused as lying in the future.
    return np.clip(days, -(2**31) + 1, 2**31 - 1).astype(np.int32)


def day_number(iso: str) -> int:
    """Days since 1970 of an ISO date."""
    return (dt.date.fromisoformat(iso) - EPOCH).days


def in_split(days: np.ndarray, split: Split) -> np.ndarray:
    """Whether each day (since 1970) is one of the split's."""
    return (days >= day_number(split.first)) & (days <= day_number(split.last))


def yyyymmdd(days: np.ndarray) -> np.ndarray:
    """Days since 1970 as YYYYMMDD numbers."""
    unique, index = np.unique(days, return_inverse=True)
    named = [int((EPOCH + dt.timedelta(days=int(day))).strftime("%Y%m%d")) for day in unique]
    return np.array(named, np.int64)[index]


def _parse_day(cell: str) -> int:
    digits = cell.strip().removesuffix(".0")
    if len(digits) == 8 and digits.isdigit():
        digits = f"{digits[:4]}-{digits[4:6]}-{digits[6:]}"
    return day_number(digits[:10] if digits[10:11] in ("T", " ") else digits)
