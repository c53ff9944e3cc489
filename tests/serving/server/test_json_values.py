"""One JSON value, one tensor."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorflow.core.framework import types_pb2

from serving.server.json_values import decode_base64, is_base64_object, quote, tensor_of, type_of
from serving.server.status import Code, StatusError

FLOATS = (types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE)
INTEGERS = {
    types_pb2.DT_INT8: (-(1 << 7), (1 << 7) - 1),
    types_pb2.DT_INT16: (-(1 << 15), (1 << 15) - 1),
    types_pb2.DT_INT32: (-(1 << 31), (1 << 31) - 1),
    types_pb2.DT_INT64: (-(1 << 63), (1 << 63) - 1),
    types_pb2.DT_UINT8: (0, (1 << 8) - 1),
    types_pb2.DT_UINT32: (0, (1 << 32) - 1),
    types_pb2.DT_UINT64: (0, (1 << 64) - 1),
}


def refusal(value, data_type):
    with pytest.raises(StatusError) as raised:
        tensor_of(value, data_type)
    return raised.value


def assert_bad_request(error, *codes):
    assert error.code in (Code.INVALID_ARGUMENT, *codes)
    assert len(error.message) < 5_000


@pytest.mark.parametrize("data_type", FLOATS, ids=types_pb2.DataType.Name)
@pytest.mark.parametrize("value", [0, -3, 2.5, 1e10, math.inf, (1 << 64) - 1], ids=str)
def test_any_number_is_a_float(value, data_type):
    array = tensor_of(value, data_type)
    assert array.shape == ()
    assert array == pytest.approx(value)


def test_nan_stays_nan():
    assert np.isnan(tensor_of([math.nan], types_pb2.DT_FLOAT)).all()


@pytest.mark.parametrize("data_type", INTEGERS, ids=types_pb2.DataType.Name)
def test_integers_up_to_the_limits_of_their_type(data_type):
    least, most = INTEGERS[data_type]
    assert tensor_of([least, most], data_type).tolist() == [least, most]
    for value in (least - 1, most + 1):
        error = refusal(value, data_type)
        assert error.code is Code.INVALID_ARGUMENT
        assert f"JSON Value: {value} Type: Number is not of expected type: " in error.message


@pytest.mark.parametrize("data_type", INTEGERS, ids=types_pb2.DataType.Name)
@pytest.mark.parametrize(
    ("value", "told"),
    [(1.0, "1.0 Type: Number"), (True, "true Type: True"), ("1", '"1" Type: String'), (None, "null Type: Null")],
    ids=str,
)
def test_an_integer_must_be_written_as_one(value, told, data_type):
    assert f"JSON Value: {told} is not of expected type" in refusal(value, data_type).message


@pytest.mark.parametrize("value", [0, 1, 1.0, "true", None], ids=repr)
def test_only_true_and_false_are_bool(value):
    assert tensor_of([True, False], types_pb2.DT_BOOL).tolist() == [True, False]
    assert refusal(value, types_pb2.DT_BOOL).message.endswith("is not of expected type: bool")


@pytest.mark.parametrize("value", [True, "1", None, {}, {"b64": "AA=="}], ids=repr)
@pytest.mark.parametrize("data_type", FLOATS, ids=types_pb2.DataType.Name)
def test_what_is_no_number_is_no_float(value, data_type):
    assert f" Type: {type_of(value)} is not of expected type: " in refusal(value, data_type).message


@pytest.mark.parametrize(
    ("value", "expected"),
    [("", b""), ("a\0b", b"a\0b"), ("é", "é".encode()), ("\udcff", b"\xff"), ({"b64": "/wA="}, b"\xff\0")],
    ids=repr,
)
def test_texts_and_base64_are_strings(value, expected):
    assert tensor_of(value, types_pb2.DT_STRING).item() == expected
    assert tensor_of([[value], [value]], types_pb2.DT_STRING).tolist() == [[expected], [expected]]


@pytest.mark.parametrize(
    "value",
    [{}, {"b64": 1}, {"b64": None}, {"b64": "AA==", "x": 1}, {"b65": "AA=="}, {"b64": {"b64": "AA=="}}],
    ids=str,
)
def test_other_objects_are_no_strings(value):
    assert not is_base64_object(value)
    assert refusal(value, types_pb2.DT_STRING).message.endswith("not formatted correctly for base64 data")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", b""), ("YQ==", b"a"), ("YQ", b"a"), ("YWI", b"ab"), ("YWJj", b"abc"), ("+/+/", b"\xfb\xff\xbf")],
)
def test_base64_with_and_without_padding(text, expected):
    assert decode_base64(text) == expected


@pytest.mark.parametrize("text", ["Y", "a?==", "YQ=a", "é", "\udcff", "====A", "YWJjZ"])
def test_what_is_no_base64(text):
    with pytest.raises(StatusError, match="Unable to base64 decode"):
        decode_base64(text)


@pytest.mark.parametrize(
    "data_type", [types_pb2.DT_HALF, types_pb2.DT_BFLOAT16, types_pb2.DT_COMPLEX64, types_pb2.DT_UINT16]
)
def test_types_that_json_cannot_carry(data_type):
    error = refusal([1], data_type)
    assert error.code is Code.UNIMPLEMENTED
    assert error.message.startswith("Conversion of JSON Value: 1 to type: ")


@pytest.mark.parametrize(
    ("value", "shape"),
    [(1, ()), ([], (0,)), ([[]], (1, 0)), ([[], []], (2, 0)), ([[[1, 2]], [[3, 4]]], (2, 1, 2))],
    ids=str,
)
def test_lists_of_equal_lengths_have_a_shape(value, shape):
    for data_type in (types_pb2.DT_FLOAT, types_pb2.DT_INT64):
        assert tensor_of(value, data_type).shape == shape


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([[1], [2, 3]], "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        ([[], [1]], "Encountered list at unexpected size: 1 at level: 1 expected size: 0"),
        ([[1], 2], "JSON Value: 2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ([1, [2]], "Encountered list at unexpected level: 1 expected < 1"),
        ([[1, 2], [3, [4]]], "Encountered list at unexpected level: 2 expected < 2"),
        ([1, {}], "JSON Value: {} Type: Object is not of expected type: float"),
        ([1, None, "a"], "JSON Value: null Type: Null is not of expected type: float"),
    ],
    ids=str,
)
def test_the_first_mistake_in_reading_order_is_told(value, told):
    assert refusal(value, types_pb2.DT_FLOAT).message == told


@pytest.mark.parametrize("depth", [31, 32, 33, 900])
def test_nesting_deeper_than_numpy_can_is_refused(depth):
    value = 1
    for _ in range(depth):
        value = [value]
    if depth <= 31:  # one side more counts the rows
        assert tensor_of(value, types_pb2.DT_FLOAT).ndim == depth
    else:
        assert f"nested {depth} lists deep" in refusal(value, types_pb2.DT_FLOAT).message


def test_a_value_is_quoted_as_rapidjson_prints_it():
    assert quote({"a": [1, 2.5, None], "b": {}, "c": [], "d": {"e": True}}) == (
        '{\n    "a": [1, 2.5, null],\n    "b": {},\n    "c": [],\n    "d": {\n        "e": true\n    }\n}'
    )


@pytest.mark.parametrize("value", ["x" * 10_000, [0] * 10_000, {"k" * 10_000: 1}, [["é" * 10_000]] * 100])
def test_a_long_value_is_quoted_in_part(value):
    assert len(quote(value)) < 600


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just({"b64": "YQ=="})
_VALUES = st.recursive(_SCALARS, lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(), each, max_size=2))


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
@given(_VALUES, st.sampled_from([*FLOATS, *INTEGERS, types_pb2.DT_BOOL, types_pb2.DT_STRING, types_pb2.DT_HALF]))
def test_any_value_is_a_tensor_or_a_status(value, data_type):
    try:
        array = tensor_of(value, data_type)
    except StatusError as error:
        assert_bad_request(error, Code.UNIMPLEMENTED)
        return
    if data_type in INTEGERS or data_type == types_pb2.DT_BOOL:
        assert array.tolist() == value


@given(st.recursive(st.none() | st.floats() | st.text(st.characters()), st.lists))
def test_any_value_can_be_quoted(value):
    quote(value).encode()
