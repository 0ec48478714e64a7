"""Cells of every kind become numbers, text, times and days, or are named as broken."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ncs4cvr.components.log.columns import to_flag, to_float, to_int, to_string
from ncs4cvr.components.log.hashing import hashes, row_hashes
from ncs4cvr.components.log.times import to_day, to_time_ms, yyyymmdd

DAY_MS = 86_400_000


def check(converted, values, bad=()):
    column, wrong = converted
    assert column.to_pylist() == values
    assert np.flatnonzero(wrong).tolist() == list(bad)


def test_whole_numbers_come_from_numbers_and_text():
    check(to_int(pa.array([1, None, 3], pa.int8())), [1, None, 3])
    check(to_int(pa.array([2**64 - 1, 5], pa.uint64())), [None, 5], [0])
    check(to_int(pa.array([1.0, float("nan"), 2.5, float("inf")])), [1, None, None, None], [2, 3])
    check(to_int(pa.array([True, False])), [1, 0])
    text = [" 7 ", "12.0", "", "NaN", "x", "1_0", "9223372036854775807", "9223372036854775808"]
    check(to_int(pa.array(text)), [7, 12, None, None, None, None, 2**63 - 1, None], [4, 5, 7])


def test_flags_may_be_the_words_true_and_false():
    words = ["true", " False ", "TRUE", "1", "0.0", "", "null", "yes", "2"]
    check(to_flag(pa.array(words)), [1, 0, 1, 1, 0, None, None, None, 2], [7])
    check(to_flag(pa.array([b"true", b"0", None])), [1, 0, None])
    check(to_flag(pa.array([True, False])), [1, 0])


@pytest.mark.parametrize("beside", ["7", "x"])
def test_a_cell_means_the_same_whatever_stands_in_its_block(beside):
    ends = [7] if beside == "7" else [None]
    wrong = [] if beside == "7" else [2]
    check(to_int(pa.array(["0x10", "1_0", beside])), [None, None, *ends], [0, 1, *wrong])
    check(to_float(pa.array(["1_0", "0x10", beside])), [None, None, *ends], [0, 1, *wrong])


def test_times_hash_alike_in_every_unit_and_down_to_the_nanosecond():
    seconds = hashes(pa.array([1, None], pa.timestamp("s")))
    assert hashes(pa.array([10**9, None], pa.timestamp("ns"))).tolist() == seconds.tolist()
    fine = hashes(pa.array([10**9, 10**9 + 1], pa.timestamp("ns")))
    assert fine[0] != fine[1]
    assert len(hashes(pa.array([2**62], pa.timestamp("s")))) == 1  # no calendar, no crash


@pytest.mark.parametrize(
    ("raw", "unit"),
    [
        (pa.array([2**60, -(2**60), 1]), "s"),
        (pa.array([2**62, -(2**62), 1_000]), "ms"),
        (pa.array([str(2**60), str(-(2**60)), "1"]), "s"),
        (pa.array([str(2**60), "-9e18", "1970-01-01T00:00:01"]), "ms"),
        (pa.array([2**62, -(2**62), 1], pa.timestamp("s")), "ms"),
        (pa.array([2**62, -(2**62), 1_000], pa.timestamp("ms")), "ms"),
    ],
)
def test_times_of_years_that_no_calendar_has_are_wrong(raw, unit):
    check(to_time_ms(raw, unit, 0), [None, None, 1_000], [0, 1])


def test_floats_are_finite_or_missing():
    check(to_float(pa.array(["1.5", "", "nan", "inf", "x"])), [1.5] + [None] * 4, [3, 4])
    check(to_float(pa.array([1.5, float("nan"), float("-inf")])), [1.5, None, None], [2])


def test_text_keeps_whole_numbers_whole_and_names_what_is_no_utf8():
    check(to_string(pa.array(["a", "", None])), ["a", None, None])
    check(to_string(pa.array([1.0, float("nan")])), ["1", None])
    check(to_string(pa.array([1.5, 2.0])), ["1.5", "2"])
    check(to_string(pa.array([Decimal("2.50"), Decimal("2.00")])), ["2.5", "2"])
    check(to_string(pa.array([b"ok", b"\xff"])), ["ok", None], [1])


def test_decimals_keep_all_their_digits():
    """As databases write ids: NUMBER(38, 0)."""
    ids = pa.array([Decimal(2**62 + 1), Decimal(2**62), Decimal(2**63), None], pa.decimal128(38, 0))
    check(to_int(ids), [2**62 + 1, 2**62, None, None], [2])
    check(to_string(ids), [str(2**62 + 1), str(2**62), str(2**63), None])
    assert len(set(row_hashes(pa.table({"a": ids})).tolist())) == 4
    parts = pa.array([Decimal("2.50"), Decimal("-3.00")], pa.decimal128(10, 2))
    check(to_int(parts), [None, -3], [0])
    floats = row_hashes(pa.table({"a": [2.5, -3.0]}))
    assert row_hashes(pa.table({"a": parts})).tolist() == floats.tolist()


@pytest.mark.parametrize(
    ("kind", "cells"),
    [
        (pa.struct([("x", pa.int64())]), [{"x": 1}, {"x": 2}, None, {"x": 1}]),
        (pa.map_(pa.string(), pa.int64()), [[("k", 1)], [("k", 2)], None, [("k", 1)]]),
        (pa.list_(pa.int64(), 2), [[1, 2], [2, 1], None, [1, 2]]),
        (pa.binary(4), [b"abcd", b"abc\xff", None, b"abcd"]),
        (pa.time32("s"), [1, 2, None, 1]),
        (pa.time64("ns"), [1, 2, None, 1]),
        (pa.duration("us"), [1, 2, None, 1]),
    ],
)
def test_cells_of_any_type_hash_alike_only_if_they_are(kind, cells):
    hashed = row_hashes(pa.table({"a": pa.array(cells, kind)})).tolist()
    assert hashed[0] == hashed[3]
    assert len(set(hashed)) == 3


@pytest.mark.parametrize(
    ("raw", "unit", "hours", "ms"),
    [
        ([1_650_812_741_436], "ms", 0, 1_650_812_741_436),
        ([1_650_812_741], "s", 0, 1_650_812_741_000),
        ([1_650_812_741.5], "s", 0, 1_650_812_741_500),
        (["1650812741.5"], "s", 0, 1_650_812_741_500),
        (["1970-01-02 00:00:00"], "ms", 0, DAY_MS),
        (["1970-01-02T08:00:00"], "ms", 8, DAY_MS),
        (["1970-01-02T00:00:00Z"], "ms", 8, DAY_MS),
        ([dt.datetime(1970, 1, 2, 8)], "ms", 8, DAY_MS),
        ([dt.datetime(1970, 1, 2, tzinfo=dt.timezone.utc)], "ms", 8, DAY_MS),
    ],
)
def test_times_become_milliseconds_of_utc(raw, unit, hours, ms):
    check(to_time_ms(pa.array(raw), unit, hours), [ms])


def test_a_time_that_is_none_is_broken_and_spoils_no_other():
    raw = pa.array(["5", "soon", None, "1970-01-02"])
    check(to_time_ms(raw, "ms", 0), [5, None, None, DAY_MS], [1])


@pytest.mark.parametrize(
    "text",
    [
        "2022-05-06T12:34:56.789Z",
        "2022-05-06 12:34:56.789z",
        "2022-05-06T12:34:56,789012345+00",
        "2022-05-06T20:34:56.789+08:00",
        "2022-05-06T20:34:56.789+0800",
        "2022-05-06T07:04:56.789-0530",
        "20220506T123456.789Z",
        "2022-05-06T20:34:56.7890",  # local, eight hours ahead
    ],
)
def test_one_moment_in_many_forms_of_iso(text):
    check(to_time_ms(pa.array([text]), "ms", 8), [1_651_840_496_789])


@pytest.mark.parametrize(
    "text", ["2022-02-30", "2022-05-06T24:00", "2022-05-06+08:00", "2022-5-6", "12:34", "2022-W18"]
)
def test_what_is_no_moment_is_broken_on_every_python(text):
    check(to_time_ms(pa.array([text]), "ms", 0), [None], [0])


BINARY = (pa.binary(), pa.large_binary())


@pytest.mark.parametrize("kind", BINARY)
def test_bytes_are_the_times_and_days_that_they_are_as_text(kind):
    texts = [b"2022-05-06T12:34:56.789Z", b" 2022-05-06 ", b"1651840496789", None, b"", b"soon"]
    times = [1_651_840_496_789, 1_651_795_200_000, 1_651_840_496_789, None, None, None]
    check(to_time_ms(pa.array([*texts, b"\xff"], kind), "ms", 0), [*times, None], [5, 6])
    check(to_time_ms(pa.array([b"1651795200.25"], kind), "s", 8), [1_651_795_200_250])
    check(to_day(pa.array([b"1970-01-02", b"\xff", None], kind)), [1, None, None], [1])


def test_days_come_from_numbers_iso_dates_and_date_columns():
    for raw in ([19700102], ["1970-01-02"], ["19700102"], [dt.date(1970, 1, 2)]):
        check(to_day(pa.array(raw)), [1])
    check(to_day(pa.array(["1970-01-02", "1970-13-01", None])), [1, None, None], [1])
    assert yyyymmdd(np.array([0, 18_993])).tolist() == [19700101, 20220101]


def test_rows_hash_alike_only_if_all_cells_agree_whatever_the_order_of_columns():
    table = pa.table({"a": [1, 1, 2, None], "b": ["x", "x", "x", "x"]})
    hashed = row_hashes(table)
    assert hashed[0] == hashed[1]
    assert len(set(hashed.tolist())) == 3
    assert row_hashes(table.select(["b", "a"])).tolist() == hashed.tolist()
    swapped = pa.table({"a": [1, 2], "b": [2, 1]})
    assert len(set(row_hashes(swapped).tolist())) == 2
    assert hashes(pa.array([7], pa.int16())) == hashes(pa.array([7], pa.int64()))


def test_rows_hash_alike_whatever_types_their_block_gave_their_cells():
    """One odd row turns a block of TFRecord or Parquet into text, of pandas into floats."""
    alike = [
        pa.table({"a": pa.array(cells, kind)})
        for cells, kind in (
            ([5, -7, 0, None], pa.int32()),
            ([5.0, -7.0, 0.0, None], pa.float64()),
            (["5", "-7", "0", None], pa.string()),
            ([b"5", b"-7", b"0", None], pa.binary()),
        )
    ]
    assert len({tuple(row_hashes(table).tolist()) for table in alike}) == 1
    halves = [row_hashes(pa.table({"a": cells})) for cells in ([2.5, -0.1], ["2.5", "-0.1"])]
    assert halves[0].tolist() == halves[1].tolist()
    texts = pa.table({"a": ["5", "05", "5.0", "+5", "-0", "5 ", "2.5", "2.50"]})
    assert len(set(row_hashes(texts).tolist())) == 8


def to_ms(raw):
    return to_time_ms(raw, "ms", 8)


ANY_TEXT = st.one_of(
    st.text(max_size=20),
    st.integers().map(str),
    st.floats().map(repr),
    st.datetimes().map(str),
    st.text("0123456789+-.eExX_ naif", max_size=8),
    st.none(),
)


@pytest.mark.parametrize("convert", [to_int, to_float, to_string, to_day, to_ms])
@settings(max_examples=100, deadline=None, derandomize=True)
@given(cells=st.lists(ANY_TEXT, max_size=6))
def test_any_text_converts_is_missing_or_is_named_and_its_neighbours_do_not_matter(convert, cells):
    values, bad = convert(pa.array(cells, pa.string()))
    alone = [convert(pa.array([cell], pa.string())) for cell in cells]
    assert values.to_pylist() == [one[0][0].as_py() for one in alone]
    assert bad.tolist() == [bool(one[1][0]) for one in alone]
    assert not any(value is not None for value, wrong in zip(values.to_pylist(), bad) if wrong)


@pytest.mark.parametrize("kind", BINARY)
@pytest.mark.parametrize("convert", [to_int, to_float, to_string, to_day, to_ms])
@settings(max_examples=50, deadline=None, derandomize=True)
@given(cells=st.lists(ANY_TEXT, max_size=6))
def test_any_text_converts_from_its_bytes_as_from_itself(convert, kind, cells):
    values, bad = convert(pa.array(cells, pa.string()))
    coded = [None if cell is None else cell.encode() for cell in cells]
    of_bytes, bad_bytes = convert(pa.array(coded, kind))
    assert of_bytes.to_pylist() == values.to_pylist()
    assert bad_bytes.tolist() == bad.tolist()


@pytest.mark.parametrize("convert", [to_int, to_float, to_string, to_ms])
@settings(max_examples=100, deadline=None, derandomize=True)
@given(numbers=st.lists(st.one_of(st.none(), st.floats()), max_size=6))
def test_any_number_converts_alone_as_among_others_is_missing_or_is_named(convert, numbers):
    values, bad = convert(pa.array(numbers, pa.float64()))
    alone = [convert(pa.array([number], pa.float64()))[0][0].as_py() for number in numbers]
    assert values.to_pylist() == alone
    assert len(values) == len(bad) == len(numbers)
    assert not any(value is not None for value, wrong in zip(values.to_pylist(), bad) if wrong)
