"""A row means the same as an Arrow row and as a tf.Example."""

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.encoding import encode, fits, held, natural_type
from schema.errors import DataError

INT, FLOAT, BYTES = pa.int64(), pa.float32(), pa.binary()
NAN = float("nan")
NEW_YORK = "America/New_York"


@pytest.fixture
def column(parse):
    """Encodes one column and reads it back; None is an absent feature."""

    def encode_and_parse(array, wanted=None):
        batch = pa.RecordBatch.from_arrays([array], ["x"])
        return [
            parse(example).get("x") for example in encode(held(batch, {"x": wanted} if wanted else {}, "part.parquet"))
        ]

    return encode_and_parse


def refused(array, wanted):
    with pytest.raises(DataError) as caught:
        encode(
            held(pa.RecordBatch.from_arrays([array], ["speed"]), {"speed": wanted} if wanted else {}, "part.parquet")
        )
    assert caught.value.where == "part.parquet"
    assert "'speed'" in caught.value.what
    assert "\n" not in str(caught.value)
    return caught.value


class TestMissing:
    @pytest.mark.parametrize(
        ("array", "wanted"),
        [
            (pa.array([None, 7], INT), INT),
            (pa.array([None, 7], INT), FLOAT),
            (pa.array([None, 7.0], pa.float64()), FLOAT),
            (pa.array([NAN, 7.0], pa.float64()), FLOAT),
            (pa.array([NAN, 7.0], pa.float32()), FLOAT),
            (pa.array([NAN, 7.0], pa.float64()), INT),
            (pa.array([NAN, 7.0], pa.float64()).dictionary_encode(), FLOAT),
            (pa.array([None, True]), INT),
            (pa.array([None, dt.date(2013, 1, 1)]), INT),
            (pa.array([None, Decimal("1.5")]), FLOAT),
            (pa.array([None, "7"]), BYTES),
            (pa.array(["", "7"]), BYTES),
            (pa.array(["", "7"], pa.large_string()), BYTES),
            (pa.array([b"", b"7"]), BYTES),
            (pa.array(["", "7"]).dictionary_encode(), BYTES),
            (pa.array([None, "7"]).dictionary_encode(), BYTES),
        ],
        ids=lambda each: str(each.type) if isinstance(each, pa.Array) else str(each),
    )
    def test_null_nan_and_the_empty_string_are_all_an_absent_feature(self, column, array, wanted):
        first, second = column(array, wanted)
        assert first is None
        assert second is not None

    @pytest.mark.parametrize("wanted", [INT, FLOAT, BYTES, None], ids=str)
    def test_a_column_without_any_value_fits_everything(self, column, wanted):
        assert column(pa.nulls(3), wanted) == [None, None, None]

    @pytest.mark.parametrize("wanted", [INT, FLOAT], ids=str)
    def test_a_column_of_nan_alone_is_all_absent(self, column, wanted):
        assert column(pa.array([NAN, NAN]), wanted) == [None, None]

    def test_a_zero_and_a_false_are_there(self, column):
        assert column(pa.array([0, None])) == [0, None]
        assert column(pa.array([0.0, None])) == [0.0, None]
        assert column(pa.array([False, None])) == [0, None]
        assert column(pa.array([" ", None])) == [b" ", None]


class TestNumbers:
    def test_whole_numbers_fit_float(self, column):
        assert column(pa.array([1, 2, -3]), FLOAT) == [1.0, 2.0, -3.0]

    def test_whole_floats_fit_int(self, column):
        assert column(pa.array([1.0, NAN, -3.0]), INT) == [1, None, -3]

    @pytest.mark.parametrize("value", [1.5, 1e30, float("inf")])
    def test_a_float_that_is_not_whole_does_not_fit_int_and_is_shown(self, value):
        error = refused(pa.array([2.0, value]), INT)
        assert error.expected == "int64"
        assert f"{value:g}" in error.received

    def test_a_decimal_is_a_number(self, column):
        prices = pa.array([Decimal("1.50"), Decimal("-2.25")])
        assert column(prices) == [1.5, -2.25]
        assert column(pa.array([Decimal("2.00")]), INT) == [2]
        refused(prices, INT)

    def test_a_decimal_is_not_confused_with_its_neighbours_by_the_scale(self, column):
        assert column(pa.array([Decimal("123456.7")], pa.decimal128(20, 10))) == [np.float32(123456.7)]

    @pytest.mark.parametrize("kind", [pa.int8(), pa.int16(), pa.int32(), pa.uint8(), pa.uint32(), pa.uint64()], ids=str)
    def test_integers_of_every_width_are_int(self, column, kind):
        assert column(pa.array([5, None, 100], kind)) == [5, None, 100]

    def test_an_integer_beyond_int64_does_not_fit(self):
        assert str(2**63) in refused(pa.array([2**63], pa.uint64()), None).received

    def test_a_float_beyond_float32_does_not_become_infinite(self):
        refused(pa.array([1.0, 1e300]), FLOAT)

    def test_booleans_are_0_and_1(self, column):
        assert column(pa.array([True, False, None])) == [1, 0, None]
        assert column(pa.array([True, False, None]), FLOAT) == [1.0, 0.0, None]


class TestTimes:
    MOMENT = dt.datetime(2013, 1, 1, 5, 15)
    SECONDS = 1357017300
    """2013-01-01 05:15:00 UTC."""

    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    def test_a_naive_timestamp_is_wall_clock_seconds(self, column, unit):
        assert column(pa.array([self.MOMENT, None], pa.timestamp(unit))) == [self.SECONDS, None]

    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    def test_a_zoned_timestamp_is_seconds_in_utc(self, column, unit):
        moments = pa.array([self.MOMENT.replace(tzinfo=dt.timezone.utc)], pa.timestamp(unit, "UTC"))
        assert column(moments) == [self.SECONDS]
        assert column(moments.cast(pa.timestamp(unit, NEW_YORK))) == [self.SECONDS]

    @pytest.mark.parametrize("kind", [pa.date32(), pa.date64()], ids=str)
    def test_a_date_is_its_midnight(self, column, kind):
        dates = pa.array([dt.date(1970, 1, 2), dt.date(1969, 12, 31), None], kind)
        assert column(dates) == [86_400, -86_400, None]

    def test_a_fraction_of_a_second_is_left_out(self, column):
        assert column(pa.array([self.MOMENT.replace(microsecond=999_999)])) == [self.SECONDS]

    def test_a_fraction_of_a_second_before_1970_belongs_to_the_second_it_is_in(self, column):
        assert column(pa.array([dt.datetime(1969, 12, 31, 23, 59, 59, 500_000)])) == [-1]


class TestText:
    def test_strings_and_bytes_are_bytes(self, column):
        assert column(pa.array(["é", "b"])) == ["é".encode(), b"b"]
        assert column(pa.array([b"\xff\x00", b"b"])) == [b"\xff\x00", b"b"]
        assert column(pa.array(["a"], pa.large_string())) == [b"a"]
        assert column(pa.array([b"a"], pa.large_binary())) == [b"a"]

    def test_a_dictionary_is_its_values(self, column):
        assert column(pa.array(["b", "a", None, "b"]).dictionary_encode()) == [b"b", b"a", None, b"b"]
        assert column(pa.array([3, 1, 3]).dictionary_encode(), FLOAT) == [3.0, 1.0, 3.0]

    @pytest.mark.parametrize(
        ("array", "wanted"),
        [
            (pa.array(["1"]), INT),
            (pa.array(["1"]), FLOAT),
            (pa.array([1]), BYTES),
            (pa.array([1.0]), BYTES),
            (pa.array([True]), BYTES),
            (pa.array([dt.date(2013, 1, 1)]), BYTES),
            (pa.array(["1"]).dictionary_encode(), INT),
        ],
        ids=lambda each: str(each.type) if isinstance(each, pa.Array) else str(each),
    )
    def test_text_and_numbers_do_not_become_each_other(self, array, wanted):
        error = refused(array, wanted)
        assert "wrong type" in error.what
        assert (error.expected, error.received) == (str(wanted), str(array.type))

    @pytest.mark.parametrize("array", [pa.array([[1]]), pa.array([{"a": 1}])], ids=["list", "struct"])
    @pytest.mark.parametrize("wanted", [None, INT, BYTES], ids=str)
    def test_a_nested_column_fits_nothing(self, array, wanted):
        assert "wrong type" in refused(array, wanted).what


ALL_KINDS = [
    pa.array([1]),
    pa.array([1], pa.uint8()),
    pa.array([1.0]),
    pa.array([1.0], pa.float32()),
    pa.array([True]),
    pa.array([Decimal("1")]),
    pa.array([dt.date(2013, 1, 1)]),
    pa.array([dt.datetime(2013, 1, 1)]),
    pa.array([0], pa.timestamp("s", NEW_YORK)),
    pa.array(["a"]),
    pa.array([b"a"]),
    pa.array(["a"]).dictionary_encode(),
    pa.array([1]).dictionary_encode(),
    pa.nulls(1),
    pa.array([[1]]),
]


@pytest.mark.parametrize("wanted", [INT, FLOAT, BYTES], ids=str)
@pytest.mark.parametrize("array", ALL_KINDS, ids=lambda array: str(array.type))
def test_what_fits_can_be_encoded_and_what_does_not_cannot(array, wanted):
    # The checks before a run ask `fits`; the run itself must not disagree.
    if fits(array.type, wanted):
        assert len(encode(held(pa.RecordBatch.from_arrays([array], ["x"]), {"x": wanted}, "f"))) == 1
    else:
        refused(array, wanted)


@pytest.mark.parametrize("array", ALL_KINDS, ids=lambda array: str(array.type))
def test_a_natural_type_always_fits(array):
    natural = natural_type(array.type)
    assert natural in (INT, FLOAT, BYTES, None)
    assert natural is None or fits(array.type, natural)


def test_columns_keep_their_own_rows_when_others_are_missing(parse):
    batch = pa.RecordBatch.from_arrays(
        [pa.array([1, None, 3, None]), pa.array([None, 2.5, NAN, 4.5]), pa.array(["a", "", None, "d"])],
        ["n", "f", "s"],
    )
    assert [parse(example) for example in encode(held(batch, {}, "f"))] == [
        {"n": 1, "s": b"a"},
        {"f": 2.5},
        {"n": 3},
        {"f": 4.5, "s": b"d"},
    ]


def test_a_slice_of_a_batch_is_its_own_rows(parse):
    batch = pa.RecordBatch.from_arrays([pa.array([1.0, NAN, 3.0, 4.0]), pa.array(["a", "b", "", "d"])], ["f", "s"])
    assert [parse(example) for example in encode(held(batch.slice(1, 2), {}, "f"))] == [{"s": b"b"}, {"f": 3.0}]


def test_no_rows_are_no_examples():
    assert encode(held(pa.RecordBatch.from_arrays([pa.array([], INT)], ["n"]), {}, "f")) == []


ROW = st.fixed_dictionaries(
    {
        "int": st.none() | st.integers(-(2**63), 2**63 - 1),
        "float": st.none() | st.floats(width=32),
        "bytes": st.none() | st.binary(max_size=20),
        "text": st.none() | st.text(max_size=20),
    }
)


@settings(max_examples=50, deadline=None, derandomize=True, database=None)
@given(st.lists(ROW, min_size=1, max_size=20))
def test_every_value_that_is_there_comes_back_the_same(parse, rows):
    types = {"int": INT, "float": FLOAT, "bytes": BYTES, "text": pa.string()}
    batch = pa.RecordBatch.from_arrays(
        [pa.array([row[name] for row in rows], kind) for name, kind in types.items()], list(types)
    )
    expected = [
        {
            name: value.encode() if isinstance(value, str) else value
            for name, value in row.items()
            if value is not None and value not in ("", b"") and value == value
        }
        for row in rows
    ]
    assert [parse(example) for example in encode(held(batch, {"text": BYTES}, "f"))] == expected
