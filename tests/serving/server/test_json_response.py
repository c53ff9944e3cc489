"""Tensors and results → JSON."""

import base64
import json
import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from serving.server import json_response
from serving.server.status import Code, StatusError


def texts(*values):
    array = np.empty(len(values), object)
    array[:] = values
    return array


def rows(**outputs):
    return json_response.predictions({name: np.asarray(value) for name, value in outputs.items()})


def columns(**outputs):
    return json_response.columns({name: np.asarray(value) for name, value in outputs.items()})


def test_one_output_drops_its_name():
    assert rows(y=np.array([2.5, 3], np.float32)) == b'{"predictions":[2.5,3.0]}'
    assert columns(y=np.array([[1], [2]])) == b'{"outputs":[[1],[2]]}'


def test_several_outputs_keep_their_names():
    outputs = {"a": np.array([1, 2]), "b": np.array([[0.5, 1], [2, 3]], np.float32)}
    assert rows(**outputs) == b'{"predictions":[{"a":1,"b":[0.5,1.0]},{"a":2,"b":[2.0,3.0]}]}'
    assert columns(**outputs) == b'{"outputs":{"a":[1,2],"b":[[0.5,1.0],[2.0,3.0]]}}'


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (np.float32(0.2), "0.2"),
        (np.float32(0.1) + np.float32(0.2), "0.3"),
        (np.float64(0.1) + np.float64(0.2), "0.30000000000000004"),
        (np.float32(5), "5.0"),
        (np.float32(-0.0), "-0.0"),
        (np.int8(-5), "-5"),
        (np.uint64((1 << 64) - 1), "18446744073709551615"),
        (np.int64(-(1 << 63)), "-9223372036854775808"),
        (np.bool_(True), "true"),
        (np.float32("nan"), "NaN"),
        (np.float64("inf"), "Infinity"),
        (np.float32("-inf"), "-Infinity"),
    ],
    ids=str,
)
def test_numbers_are_printed_in_their_own_precision(value, printed):
    for content in (
        rows(y=np.array([value])),
        rows(y=np.array([value]), z=np.array([0]))[:-2].replace(b',"z":0', b"").replace(b'{"y":', b"") + b"}",
        columns(y=np.array([value])),
    ):
        assert printed in content.decode()
    assert columns(y=np.array(value)) == f'{{"outputs":{printed}}}'.encode()


def test_nan_beside_texts_named_null():
    content = rows(y=np.array([[math.nan, 1.0]], np.float32), null=texts(b"null"))
    assert content == b'{"predictions":[{"y":[NaN,1.0],"null":"null"}]}'
    assert rows(null=texts(b"null", b'"null')) == b'{"predictions":["null","\\"null"]}'


def test_texts_and_bytes():
    values = texts(b"a", 'é\n"'.encode(), b"\xff\0")
    content = columns(text=values, text_bytes=values)
    assert b'"\xff\\u0000"' in content
    found = json.loads(content.decode("utf-8", "surrogateescape"))["outputs"]
    assert found["text"] == ["a", 'é\n"', "\udcff\0"]
    assert [base64.b64decode(each["b64"]) for each in found["text_bytes"]] == list(values)


def test_the_suffix_bytes_means_nothing_for_numbers():
    assert rows(y_bytes=np.array([1])) == b'{"predictions":[1]}'


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0), (2, 0, 3)], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.int64, object], ids=str)
def test_empty_outputs(shape, dtype):
    array = np.empty(shape, dtype)
    assert json.loads(rows(y=array)) == {"predictions": [[]] * shape[0]}
    assert json.loads(columns(y=array, z=np.array([1]))) == {"outputs": {"y": [[]] * shape[0], "z": [1]}}


def refusal(act, **outputs):
    with pytest.raises(StatusError) as raised:
        act(**outputs)
    assert raised.value.code is Code.INVALID_ARGUMENT
    return raised.value.message


def test_rows_need_a_first_dimension_of_one_size():
    assert refusal(rows, y=np.float32(1)) == "Tensor name: y has no shape information "
    told = refusal(rows, a=np.zeros(2), b=np.zeros(3))
    assert told == "Tensor name: b has inconsistent batch size: 3 expecting: 2"
    assert columns(y=np.float32(1)) == b'{"outputs":1.0}'


@pytest.mark.parametrize("dtype", [np.float16, np.complex64, np.uint16], ids=str)
def test_types_that_json_cannot_carry(dtype):
    for act in (rows, columns):
        assert refusal(act, y=np.zeros(1, dtype)).startswith("Failed to write JSON value for tensor type: ")


def test_classifications():
    classes, scores = np.array([[b"a", b"b"]], object), np.array([[0.25, math.nan]], np.float32)
    assert json_response.classifications(classes, scores) == b'{"results":[[["a",0.25],["b",NaN]]]}'
    assert json_response.classifications(None, scores[:, :1]) == b'{"results":[[["",0.25]]]}'
    assert json_response.classifications(classes, None) == b'{"results":[[["a",0.0],["b",0.0]]]}'
    assert json_response.classifications(np.array([[b"\xff"]], object), None) == b'{"results":[[["\xff",0.0]]]}'


def test_no_classifications():
    with pytest.raises(StatusError, match="Cannot convert empty ClassificationResults to JSON"):
        json_response.classifications(None, np.zeros((0, 2), np.float32))


def test_regressions():
    assert json_response.regressions(np.array([[1], [0.2]], np.float32)) == b'{"results":[1.0,0.2]}'
    assert json_response.regressions(np.array([math.inf], np.float32)) == b'{"results":[Infinity]}'


@pytest.mark.parametrize("message", ["plain", 'with "quotes" and \n', "é", "\udcff\ud800"], ids=ascii)
def test_an_error_is_one_key(message):
    found = json.loads(json_response.error(message))
    assert found == {"error": message.encode("utf-8", "replace").decode()}


_SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)


@given(arrays.arrays(st.sampled_from([np.float32, np.float64]), _SHAPES))
def test_every_float_reads_back_as_itself(array):
    for content in (rows(y=array), columns(y=array)):
        found = np.array(next(iter(json.loads(content).values())), array.dtype).reshape(array.shape)
        np.testing.assert_array_equal(found, array)


@given(st.integers(0, (1 << 32) - 1))
def test_every_bit_pattern_of_float32_reads_back(bits):
    array = np.frombuffer(struct.pack("<I", bits), np.float32)
    np.testing.assert_array_equal(np.array(json.loads(rows(y=array))["predictions"], np.float32), array)


@given(st.lists(st.tuples(st.binary(max_size=6), st.floats(width=32)), min_size=1, max_size=4))
def test_any_bytes_and_floats_read_back(pairs):
    values = texts(*(text for text, _ in pairs))
    content = rows(t=values, t_bytes=values, y=np.array([number for _, number in pairs], np.float32))
    for (text, number), row in zip(
        pairs, json.loads(content.decode("utf-8", "surrogateescape"))["predictions"], strict=True
    ):
        assert row["t"].encode("utf-8", "surrogateescape") == text
        assert base64.b64decode(row["t_bytes"]["b64"]) == text
        assert row["y"] == pytest.approx(number, nan_ok=True, rel=1e-6)
