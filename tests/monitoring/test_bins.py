from __future__ import annotations

from datetime import datetime, timedelta
from time import process_time

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitoring.bins import (
    HOURS,
    MISSING,
    OTHER,
    UNSEEN,
    WEEKDAYS,
    Bins,
    Kind,
    bytes_of,
    category_bins,
    number_bins,
    readable,
    text_of,
    time_bins,
)

steady = settings(max_examples=100, deadline=None, derandomize=True, database=None)
NUMBERS = st.floats(allow_nan=False)
_400_YEARS = 146097 * 86400
"""Of the calendar, in seconds: it repeats."""
CENTS = st.integers(-500_000, 500_000).map(lambda cents: cents / 100)


def labels_of(bins: Bins, values: list[object], kind: pa.DataType | None = None) -> list[str]:
    return [bins.labels[index] for index in bins.indices(pa.array(values, kind))]


def assert_each_row_is_in_one_bin(bins: Bins, column: pa.Array) -> None:
    indices = bins.indices(column)
    assert indices.shape == (len(column),)
    counts = np.bincount(indices, minlength=len(bins.labels))
    assert len(counts) == len(bins.labels)
    assert counts[-1] == column.null_count
    assert bins.labels[-2:] == (UNSEEN, MISSING)


@steady
@given(st.lists(NUMBERS, min_size=1, max_size=80), st.lists(st.none() | NUMBERS, max_size=20))
def test_every_number_falls_in_exactly_one_bin(training: list[float], values: list[float | None]) -> None:
    bins = number_bins("n", np.array(training))
    if bins.kind is Kind.NUMBERS:
        assert (np.diff(bins.edges) >= 0).all()
        assert np.isfinite(bins.edges).all()
    assert_each_row_is_in_one_bin(bins, pa.array(values, pa.float64()))
    assert UNSEEN not in labels_of(bins, list(training), pa.float64())


@steady
@given(
    st.dictionaries(st.binary(min_size=1, max_size=3), st.integers(1, 9)), st.lists(st.none() | st.binary(max_size=3))
)
def test_every_category_falls_in_exactly_one_bin(training: dict[bytes, int], values: list[bytes | None]) -> None:
    bins = category_bins("c", training)
    column = pa.array(values, pa.binary())
    assert_each_row_is_in_one_bin(bins, column)
    for value, label in zip(values, labels_of(bins, list(values), pa.binary()), strict=True):
        assert (label == UNSEEN) == (value is not None and value not in training)


@steady
@given(st.lists(st.none() | NUMBERS, max_size=20))
def test_every_time_falls_in_exactly_one_bin(values: list[float | None]) -> None:
    for bins in time_bins("t"):
        assert_each_row_is_in_one_bin(bins, pa.array(values, pa.float64()))


@steady
@given(st.lists(CENTS, min_size=1, max_size=200))
def test_a_value_stays_in_its_bin_when_it_is_rounded(values: list[float]) -> None:
    exact = np.array(values)
    single = exact.astype(np.float32).astype(np.float64)
    for training in (exact, single):
        bins = number_bins("n", training)
        expected = bins.indices(pa.array(training))
        for rounded in (exact, single, single.round(2)):
            assert bins.indices(pa.array(rounded)).tolist() == expected.tolist()


def test_bins_hold_equal_shares_of_the_training_rows() -> None:
    values = np.random.default_rng(0).lognormal(0, 2, 10_000)
    bins = number_bins("n", values)
    counts = np.bincount(bins.indices(pa.array(values)), minlength=len(bins.labels))
    inner = counts[1:-3]
    assert counts[[0, -3, -2, -1]].tolist() == [0, 0, 0, 0]
    assert len(inner) == 20
    assert inner.min() > 490
    assert inner.max() < 510


def test_what_is_outside_the_training_rows_is_in_the_outermost_bins() -> None:
    bins = number_bins("n", np.arange(100.0))
    last = len(bins.labels) - 3
    assert bins.indices(pa.array([-5.0, -np.inf, 0.0, 99.0, 105.0, np.inf])).tolist() == [0, 0, 1, last - 1, last, last]
    assert bins.labels[0].startswith("below")
    assert bins.labels[last].startswith("above")


def test_a_value_at_an_edge_is_in_the_bin_above() -> None:
    bins = number_bins("n", np.arange(100.0))
    assert bins.indices(pa.array(bins.edges)).tolist() == list(range(1, len(bins.edges) + 1))


def test_a_frequent_value_has_a_bin_of_its_own() -> None:
    values = np.concatenate([np.zeros(3000), np.random.default_rng(1).normal(0, 1, 7000)])
    bins = number_bins("n", values)
    counts = np.bincount(bins.indices(pa.array(values)), minlength=len(bins.labels))
    assert 3000 in counts
    assert counts[bins.indices(pa.array([0.0]))[0]] == 3000


def test_numbers_of_few_values_are_counted_value_by_value() -> None:
    bins = number_bins("n", np.array([0.1, 2.0, 1.0, 1.0]))
    assert bins.kind is Kind.VALUES
    assert bins.values == ("0.1", "1.0", "2.0")
    assert labels_of(bins, [float(np.float32(0.1)), 2.0, 1.1, -1.0, 9.0, None, np.inf]) == [
        "0.1", "2.0", UNSEEN, UNSEEN, UNSEEN, MISSING, UNSEEN
    ]  # fmt: skip


def test_infinite_numbers_are_values_like_others() -> None:
    few = number_bins("n", np.array([-np.inf, 1.0, np.inf]))
    assert labels_of(few, [np.inf, 1.0, -np.inf, 5.0]) == ["inf", "1.0", "-inf", UNSEEN]
    many = number_bins("n", np.array([-np.inf, *range(100), np.inf]))
    assert np.isfinite(many.edges).all()
    assert (np.diff(many.edges) > 0).all()
    assert len(set(many.indices(pa.array([-np.inf, 50.0, np.inf])).tolist())) == 3


def test_categories_by_rows_and_then_by_value() -> None:
    bins = category_bins("c", {b"b": 2, b"a": 2, b"z": 9, b"\xff\x00": 1})
    assert bins.values == ("z", "a", "b", text_of(b"\xff\x00"))
    assert bins.indices(pa.array([b"z", b"\xff\x00", b"\xff", None, b""], pa.binary())).tolist() == [0, 3, 5, 6, 5]


def test_rare_categories_share_a_bin() -> None:
    bins = category_bins("c", {f"v{number:03}".encode(): 1000 - number for number in range(200)})
    assert len(bins.values) + len(bins.others) == 200
    assert labels_of(bins, [b"v000", b"v199", b"v200"]) == ["v000", OTHER, UNSEEN]


def test_a_category_without_a_training_value_knows_none() -> None:
    assert labels_of(category_bins("c", {}), [b"a", None], pa.binary()) == [UNSEEN, MISSING]


@steady
@given(st.integers(-(10**11), 10**11), st.floats(0, 0.99))
def test_hours_and_weekdays_of_any_time(seconds: int, part: float) -> None:
    hours, weekdays = time_bins("t")
    when = datetime(1970, 1, 1) + timedelta(seconds=seconds % _400_YEARS)
    column = pa.array([seconds + part])
    assert HOURS[hours.indices(column)[0]] == f"{when.hour}:00"
    assert weekdays.indices(column)[0] == when.weekday()


def test_the_second_before_1970() -> None:
    hours, weekdays = time_bins("t")
    assert labels_of(hours, [-1.0, -0.5, 0.0]) == ["23:00", "23:00", "0:00"]
    assert labels_of(weekdays, [-1.0, -0.5, 0.0]) == ["Wed", "Wed", "Thu"]
    assert weekdays.labels[:7] == WEEKDAYS


def test_a_time_that_is_none_is_no_midnight() -> None:
    for bins in time_bins("t"):
        assert labels_of(bins, [1e300, -1e300, np.inf, -np.inf, None]) == [UNSEEN] * 4 + [MISSING]


@steady
@given(st.binary())
def test_a_category_keeps_every_byte(value: bytes) -> None:
    assert bytes_of(text_of(value)) == value
    assert readable(text_of(value)) == value.decode("utf-8", "replace")
    readable(text_of(value)).encode("utf-8")


@pytest.mark.parametrize("kind", Kind)
def test_a_million_rows_take_no_loop(kind: Kind) -> None:
    random = np.random.default_rng(0)
    rows = 1_000_000
    values = {
        Kind.NUMBERS: random.normal(size=rows),
        Kind.RELATION: random.normal(size=rows),
        Kind.VALUES: random.integers(0, 5, rows).astype(float),
        Kind.CATEGORIES: random.integers(0, 500, rows).astype("S3"),
        Kind.HOURS: random.integers(0, 10**9, rows).astype(float),
        Kind.WEEKDAYS: random.integers(0, 10**9, rows).astype(float),
    }[kind]
    column = pa.array(values, pa.binary() if kind is Kind.CATEGORIES else pa.float64())
    hours, weekdays = time_bins("t")
    bins = {
        Kind.CATEGORIES: category_bins("c", {str(value).encode(): 1 for value in range(500)}),
        Kind.HOURS: hours,
        Kind.WEEKDAYS: weekdays,
        Kind.RELATION: Bins("r", Kind.RELATION, edges=(-1.0, 0.0, 1.0)),
    }.get(kind) or number_bins("n", values[:10_000].astype(float))
    assert bins.kind is kind
    before = process_time()
    bins.indices(column)
    assert process_time() - before < 2  # some 0.1 s; a loop takes more than 5 s
