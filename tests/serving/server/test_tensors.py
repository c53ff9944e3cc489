"""TensorProto ⇄ NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving.server.status import Code, StatusError
from serving.server.tensors import FIELDS, MOST_ELEMENTS, data_type_of, decode, encode, type_name, value_type

LISTED = sorted(FIELDS)


def proto(data_type, shape, **fields):
    made = tensor_pb2.TensorProto(dtype=data_type, **fields)
    made.tensor_shape.SetInParent()
    for side in shape:
        made.tensor_shape.dim.add().size = side
    return made


def refusal(given_proto):
    with pytest.raises(StatusError) as raised:
        decode(given_proto, "x")
    assert raised.value.code is Code.INVALID_ARGUMENT
    return raised.value.message


def assert_refused(error):
    assert error.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize("as_content", [False, True])
@pytest.mark.parametrize("data_type", LISTED, ids=type_name)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (2, 0, 1)], ids=str)
def test_arrays_survive_the_journey(data_type, shape, as_content):
    dtype = FIELDS[data_type][1]
    size = int(np.prod(shape))
    values = (
        np.array([b"\xff\0" * each for each in range(size)], object)
        if dtype.kind == "O"
        else np.arange(size).astype(dtype)
    )
    made = tensor_pb2.TensorProto()
    encode(values.reshape(shape), made, as_content)
    found = decode(made, "x")
    assert found.dtype == dtype
    assert found.shape == shape
    assert found.tolist() == values.reshape(shape).tolist()
    assert tf.make_ndarray(made).tolist() == found.tolist()
    assert data_type_of(found) == made.dtype == data_type


@pytest.mark.parametrize("dtype", [np.float16, np.complex64, np.complex128, tf.bfloat16.as_numpy_dtype], ids=str)
def test_rare_types_survive_too(dtype):
    made = tensor_pb2.TensorProto()
    encode(np.array([[1], [2]], dtype), made)
    found = decode(made, "x")
    assert found.dtype == dtype
    assert found.tolist() == [[1], [2]]


@pytest.mark.parametrize("shape", [[4], [2, 2]], ids=str)
def test_fewer_values_than_elements_repeat_the_last(shape):
    assert decode(proto(types_pb2.DT_FLOAT, shape, float_val=[1, 2]), "x").ravel().tolist() == [1, 2, 2, 2]
    assert decode(proto(types_pb2.DT_STRING, shape, string_val=[b"a"]), "x").ravel().tolist() == [b"a"] * 4
    assert decode(proto(types_pb2.DT_INT8, shape), "x").ravel().tolist() == [0] * 4
    assert decode(proto(types_pb2.DT_STRING, shape), "x").ravel().tolist() == [b""] * 4


@pytest.mark.parametrize(
    ("data_type", "value", "wrapped"),
    [
        (types_pb2.DT_INT8, 300, 44),
        (types_pb2.DT_UINT8, -1, 255),
        (types_pb2.DT_INT16, 1 << 16, 0),
        (types_pb2.DT_UINT16, -2, 65534),
    ],
    ids=str,
)
def test_small_integers_wrap_as_in_tensorflow(data_type, value, wrapped):
    assert decode(proto(data_type, [1], int_val=[value]), "x").tolist() == [wrapped]
    assert decode(proto(data_type, [2, 1], int_val=[value]), "x").tolist() == [[wrapped], [wrapped]]


@pytest.mark.parametrize(
    "given_proto",
    [
        proto(types_pb2.DT_FLOAT, [-1], float_val=[1]),
        proto(types_pb2.DT_FLOAT, [-1, -1], float_val=[1]),
        proto(types_pb2.DT_FLOAT, [1], float_val=[1, 2]),
        proto(types_pb2.DT_STRING, [0], string_val=[b"a"]),
        proto(types_pb2.DT_FLOAT, [], float_val=[1, 2]),
        proto(types_pb2.DT_FLOAT, [2], tensor_content=b"\0" * 7),
        proto(types_pb2.DT_FLOAT, [1] * 33, float_val=[1]),
        proto(types_pb2.DT_FLOAT, [1] * 300, tensor_content=b"\0" * 4),
        proto(types_pb2.DT_INVALID, [1]),
        proto(types_pb2.DT_RESOURCE, [1], resource_handle_val=[{"name": "x"}]),
        proto(types_pb2.DT_VARIANT, [1], variant_val=[{"type_name": "x"}]),
        proto(types_pb2.DT_FLOAT_REF, [1], float_val=[1]),
        proto(1000, [1]),
        proto(types_pb2.DT_STRING, [1], tensor_content=b"\xff\xff\xff\xffa"),
        proto(types_pb2.DT_HALF, [3], tensor_content=b"\0"),
    ],
    ids=lambda each: f"{each.dtype}-{len(each.tensor_shape.dim)}",
)
def test_what_is_no_tensor(given_proto, capfd):
    assert refusal(given_proto) == "tensor parsing error: x"


def test_an_unknown_rank_is_no_tensor():
    made = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT, float_val=[1])
    made.tensor_shape.unknown_rank = True
    assert refusal(made) == "tensor parsing error: x"


@pytest.mark.parametrize("data_type", [types_pb2.DT_FLOAT, types_pb2.DT_STRING, types_pb2.DT_HALF], ids=type_name)
@pytest.mark.parametrize(
    "shape",
    [[MOST_ELEMENTS + 1], [1 << 33], [(1 << 63) - 1] * 3, [0, 1 << 62], [1 << 62, 0], [1 << 40, 0, 1 << 40]],
    ids=str,
)
def test_a_few_bytes_do_not_become_gigabytes(data_type, shape):
    assert f"has more than the {MOST_ELEMENTS} elements allowed" in refusal(proto(data_type, shape))


def test_types_are_named_as_in_cpp():
    names = [
        type_name(each) for each in (types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE, types_pb2.DT_INT64, types_pb2.DT_BOOL)
    ]
    assert names == ["float", "double", "int64", "bool"]
    assert value_type(types_pb2.DT_FLOAT_REF) == types_pb2.DT_FLOAT
    assert value_type(types_pb2.DT_FLOAT) == types_pb2.DT_FLOAT


_FIELDS = {
    "float_val": st.floats(width=32), "double_val": st.floats(), "int_val": st.integers(-(1 << 31), (1 << 31) - 1),
    "int64_val": st.integers(-(1 << 63), (1 << 63) - 1), "uint32_val": st.integers(0, (1 << 32) - 1),
    "bool_val": st.booleans(), "string_val": st.binary(max_size=4), "half_val": st.integers(-(1 << 31), (1 << 31) - 1),
}  # fmt: skip
_SIDES = st.integers(-2, 4) | st.sampled_from([1 << 27, 1 << 31, 1 << 62, (1 << 63) - 1])


@given(
    st.integers(0, 34),
    st.lists(_SIDES, max_size=4),
    st.fixed_dictionaries({}, optional={name: st.lists(each, max_size=4) for name, each in _FIELDS.items()}),
    st.binary(max_size=9),
)
def test_any_proto_is_an_array_or_a_status(data_type, shape, fields, content):
    made = proto(data_type, shape, tensor_content=content, **fields)
    try:
        found = decode(made, "x")
    except StatusError as error:
        assert_refused(error)
    else:
        assert list(found.shape) == shape


@given(
    arrays.arrays(st.sampled_from([np.float32, np.int8, np.uint64, np.bool_]), arrays.array_shapes(max_dims=3)),
    st.booleans(),
)
def test_any_array_survives(array, as_content):
    made = tensor_pb2.TensorProto()
    encode(array, made, as_content)
    np.testing.assert_array_equal(decode(made, "x"), array)
