from __future__ import annotations

from datetime import date, datetime, timezone

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from watched import category, number, time

from monitoring.rows import as_column, as_rows, column_type, is_number

NUMBER, WHOLE, CATEGORY, ID, TIME = (
    number("n"), number("w", is_whole=True), category("c"), category("i", is_whole=True), time("t")
)  # fmt: skip
steady = settings(max_examples=80, deadline=None, derandomize=True, database=None)


def test_numbers_and_times_are_floats_and_all_else_is_binary() -> None:
    assert [is_number(each) for each in (NUMBER, WHOLE, TIME, CATEGORY, ID)] == [True, True, True, False, False]
    assert column_type(TIME) == pa.float64()
    assert column_type(ID) == pa.binary()


def test_what_is_missing_is_null_whatever_it_was() -> None:
    assert as_column(pa.array([1.0, None, np.nan]), WHOLE).to_pylist() == [1.0, None, None]
    assert as_column(pa.array(["a", None, ""]), CATEGORY).to_pylist() == [b"a", None, None]
    assert as_column(pa.array([7.0, None, np.nan]), ID).to_pylist() == [b"7", None, None]
    assert as_column(pa.nulls(2), NUMBER).to_pylist() == [None, None]
    assert as_column(pa.nulls(2), CATEGORY).to_pylist() == [None, None]
    assert as_column(pa.array(["1", "", None, "nan"]), NUMBER).to_pylist() == [1.0, None, None, None]


def test_a_float_is_of_the_precision_that_a_tensor_has() -> None:
    assert as_column(pa.array([0.1, 1e39]), NUMBER).to_pylist() == [float(np.float32(0.1)), np.inf]
    assert as_column(pa.array([0.1, 1e39]), WHOLE).to_pylist() == [0.1, 1e39]


def test_text_in_a_numbers_place_is_missing() -> None:
    assert as_column(pa.array([b"12.5", b"n/a", b"\xff"]), WHOLE).to_pylist() == [12.5, None, None]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_times_are_seconds_since_1970_and_before(unit: str, zone: str | None) -> None:
    values = [datetime(2013, 6, 1, 12), datetime(1969, 12, 31, 23, 59), None]
    column = as_column(pa.array(values, pa.timestamp(unit, zone)), TIME)
    assert column.to_pylist() == [datetime(2013, 6, 1, 12, tzinfo=timezone.utc).timestamp(), -60.0, None]


def test_parts_of_a_second_are_kept() -> None:
    assert as_column(pa.array([-1500, 250], pa.timestamp("ms")), TIME).to_pylist() == [-1.5, 0.25]


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64()])
def test_a_date_is_its_midnight(kind: pa.DataType) -> None:
    column = as_column(pa.array([date(1970, 1, 2), date(1969, 12, 31), None], kind), TIME)
    assert column.to_pylist() == [86400.0, -86400.0, None]


def test_an_id_is_written_in_decimal_whatever_carries_it() -> None:
    for values in ([10, -3], [10.0, -3.0], ["10", "-3"], [b"10", b"-3"]):
        assert as_column(pa.array(values), ID).to_pylist() == [b"10", b"-3"]
    assert as_column(pa.array([2**63 + 5], pa.uint64()), ID).to_pylist() == [b"9223372036854775813"]
    assert as_column(pa.array([2.0**70, np.inf, 1.5, None]), ID).to_pylist() == [
        str(2**70).encode(), b"inf", b"1.5", None
    ]  # fmt: skip
    assert as_column(pa.array([True, False, None]), ID).to_pylist() == [b"1", b"0", None]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.binary(), pa.large_binary()])
def test_every_kind_of_text_is_the_same(kind: pa.DataType) -> None:
    values = pa.array(["JFK", "", None], pa.string()).cast(pa.binary())
    as_kind = values.cast(kind) if "large" not in str(kind) else pa.array(["JFK", "", None], kind)
    assert as_column(as_kind, CATEGORY).to_pylist() == [b"JFK", None, None]
    assert as_column(as_kind.dictionary_encode(), CATEGORY).to_pylist() == [b"JFK", None, None]


@steady
@given(st.lists(st.none() | st.binary(max_size=4), max_size=12), st.integers(0, 12))
def test_bytes_are_kept_in_any_slice(values: list[bytes | None], start: int) -> None:
    column = as_column(pa.array(values, pa.binary()).slice(start), CATEGORY)
    assert column.to_pylist() == [value or None for value in values[start:]]


@steady
@given(st.lists(st.none() | st.floats(width=32), max_size=12), st.integers(0, 12))
def test_floats_are_kept_in_any_slice(values: list[float | None], start: int) -> None:
    column = as_column(pa.array(values, pa.float64()).slice(start), NUMBER)
    assert column.to_pylist() == [None if v is None or np.isnan(v) else v for v in values[start:]]


def test_a_feature_that_rows_do_not_carry_is_all_missing() -> None:
    rows = as_rows({"c": pa.array(["x", "y"]), "other": pa.array([1, 2])}, [CATEGORY, NUMBER], 2)
    assert rows.schema == pa.schema({"c": pa.binary(), "n": pa.float64()})
    assert rows.column("n").null_count == 2


def test_no_rows() -> None:
    assert len(as_rows({}, [CATEGORY, NUMBER], 0)) == 0
    assert len(as_rows({"c": pa.array([], pa.string())}, [CATEGORY], 0)) == 0
