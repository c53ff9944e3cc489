"""Tensors that a gRPC client sends to a real server, right and wrong."""

import grpc
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2

from serving.server.tensors import decode


@pytest.fixture(scope="module")
def predict(server):
    """Asks a signature of the zoo, and gives its outputs."""
    with grpc.insecure_channel(server.grpc, options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict",
            request_serializer=predict_pb2.PredictRequest.SerializeToString,
            response_deserializer=predict_pb2.PredictResponse.FromString,
        )

        def ask(signature_name, **inputs):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = "zoo"
            request.model_spec.signature_name = signature_name
            for name, each in inputs.items():
                request.inputs[name].CopyFrom(each)
            return {name: decode(each, name) for name, each in call(request, timeout=20).outputs.items()}

        yield ask


def proto(data_type, shape, **fields):
    made = tensor_pb2.TensorProto(dtype=data_type, **fields)
    made.tensor_shape.SetInParent()
    for side in shape:
        made.tensor_shape.dim.add().size = side
    return made


@pytest.mark.parametrize(
    "dtype",
    ["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool", "float16"],
)
def test_every_type_comes_back(predict, dtype):
    array = np.array([0, 1, 100]).astype(dtype)
    found = predict(f"echo_{dtype}", x=tf.make_tensor_proto(array))["y"]
    assert found.dtype == array.dtype
    assert found.tolist() == array.tolist()


def test_bytes_come_back(predict):
    values = [b"", b"\xff\0", "é".encode()]
    assert predict("echo_text", text=tf.make_tensor_proto(values))["text"].tolist() == values


def assert_refused(error):
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, error.details()


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"x": proto(types_pb2.DT_FLOAT, [-1], float_val=[1])}, "tensor parsing error: x"),
        ({"x": proto(types_pb2.DT_FLOAT, [1 << 40])}, "more than the 67108864 elements allowed"),
        ({"x": proto(types_pb2.DT_FLOAT, [0, 1 << 62])}, "more than the 67108864 elements allowed"),
        ({"x": proto(types_pb2.DT_FLOAT, [1] * 40, float_val=[1])}, "tensor parsing error: x"),
        ({"x": proto(types_pb2.DT_VARIANT, [1])}, "tensor parsing error: x"),
        ({"x": proto(types_pb2.DT_DOUBLE, [1])}, "Expects arg[0] to be float but double is provided"),
        ({"x": proto(types_pb2.DT_STRING, [1])}, "Expects arg[0] to be float but string is provided"),
        ({}, "input size does not match signature: 0!=1"),
        ({"y": proto(types_pb2.DT_FLOAT, [1])}, "not found in request"),
        ({"x": proto(types_pb2.DT_FLOAT, [1]), "y": proto(types_pb2.DT_FLOAT, [1])}, "Sent extra: {y}"),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_mistakes(predict, inputs, told):
    with pytest.raises(grpc.RpcError) as raised:
        predict("echo_float32", **inputs)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert told in raised.value.details()


_VALUES = {
    "float_val": st.floats(width=32), "int_val": st.integers(-(1 << 31), (1 << 31) - 1),
    "string_val": st.binary(max_size=4), "int64_val": st.integers(-(1 << 63), (1 << 63) - 1),
    "half_val": st.integers(0, 1 << 16),
}  # fmt: skip


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(
    signature_name=st.sampled_from(["echo_float32", "echo_int8", "echo_int64", "echo_float16"]),
    data_type=st.sampled_from([1, 3, 6, 7, 9, 19]) | st.integers(0, 130),
    shape=st.lists(st.integers(-1, 3) | st.sampled_from([1 << 30, 1 << 62, (1 << 63) - 1]), max_size=3),
    fields=st.fixed_dictionaries({}, optional={name: st.lists(each, max_size=3) for name, each in _VALUES.items()}),
    content=st.just(b"") | st.binary(max_size=9),
)
def test_any_proto_is_answered_or_refused(predict, signature_name, data_type, shape, fields, content):
    try:
        found = predict(signature_name, x=proto(data_type, shape, tensor_content=content, **fields))["y"]
    except grpc.RpcError as error:
        assert_refused(error)
    else:
        assert list(found.shape) == shape
