"""TensorProto ⇄ NumPy, and how TensorFlow calls its types.

`tf.make_ndarray` and `tf.make_tensor_proto` cost a multiple of what is here, check less, and compress what clients
expect as plain lists (`Tensor::AsProtoField`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving.server.status import StatusError, invalid_argument

MOST_ELEMENTS = 1 << 26
"""A TensorProto may claim any shape while it carries one value, which then repeats: a few bytes must not become a
tensor of gigabytes."""

FIELDS: dict[int, tuple[str, np.dtype]] = {
    types_pb2.DT_FLOAT: ("float_val", np.dtype(np.float32)),
    types_pb2.DT_DOUBLE: ("double_val", np.dtype(np.float64)),
    types_pb2.DT_INT32: ("int_val", np.dtype(np.int32)),
    types_pb2.DT_INT16: ("int_val", np.dtype(np.int16)),
    types_pb2.DT_INT8: ("int_val", np.dtype(np.int8)),
    types_pb2.DT_UINT8: ("int_val", np.dtype(np.uint8)),
    types_pb2.DT_UINT16: ("int_val", np.dtype(np.uint16)),
    types_pb2.DT_INT64: ("int64_val", np.dtype(np.int64)),
    types_pb2.DT_UINT32: ("uint32_val", np.dtype(np.uint32)),
    types_pb2.DT_UINT64: ("uint64_val", np.dtype(np.uint64)),
    types_pb2.DT_BOOL: ("bool_val", np.dtype(np.bool_)),
    types_pb2.DT_STRING: ("string_val", np.dtype(object)),
}
"""The field of a TensorProto that carries the values of a type, and the type in NumPy."""

_DATA_TYPES = {dtype: data_type for data_type, (_, dtype) in FIELDS.items()}
_REF = 100
_WIRE_BYTES = 4
_MOST_SIDES = 32
"""NumPy's limit on the rank of an array."""


def value_type(data_type: int) -> int:
    """The type that a reference type (of a TF1 variable) refers to."""
    return data_type - _REF if data_type > _REF else data_type


def type_name(data_type: int) -> str:
    """As TensorFlow's C++ prints it: `float`, `int64`, `string`, …"""
    names = {types_pb2.DT_FLOAT: "float", types_pb2.DT_DOUBLE: "double"}
    if data_type in names:
        return names[data_type]
    return str(types_pb2.DataType.Name(data_type)).removeprefix("DT_").lower()


def data_type_of(array: np.ndarray) -> int:
    """The DataType of an array."""
    known = _DATA_TYPES.get(array.dtype)
    return tf.as_dtype(array.dtype).as_datatype_enum if known is None else known


def decode(proto: tensor_pb2.TensorProto, name: str) -> np.ndarray:
    """A TensorProto as an array; strings become an object array of bytes.

    Args:
        proto: With values in its field or in `tensor_content`; fewer values than elements repeat the last one.
        name: Of the input, for the message.

    Raises:
        StatusError: The shape is unknown, negative or too large, or the values do not fit it.
    """
    field, dtype = FIELDS.get(proto.dtype, ("", None))
    if dtype is not None and not proto.tensor_content:
        values = getattr(proto, field)[:]
        sides = proto.tensor_shape.dim
        if len(sides) == 1 and sides[0].size == len(values) and not proto.tensor_shape.unknown_rank:
            return _array(values, dtype)  # the usual: a value for each row
    return _decode_any(proto, name, field, dtype)


def _decode_any(proto: tensor_pb2.TensorProto, name: str, field: str, dtype: np.dtype | None) -> np.ndarray:
    shape = [dim.size for dim in proto.tensor_shape.dim]
    size = math.prod(shape)
    if proto.tensor_shape.unknown_rank or len(shape) > _MOST_SIDES or any(side < 0 for side in shape):
        raise invalid_argument(f"tensor parsing error: {name}")
    if (size or math.prod(filter(None, shape))) > MOST_ELEMENTS:  # NumPy has no [0, 1 << 62] either
        raise StatusError(*_too_large(name, shape))
    if dtype is None or (proto.tensor_content and dtype.kind == "O"):
        return _decode_rare(proto, name)
    if proto.tensor_content:
        if len(proto.tensor_content) != size * dtype.itemsize:
            raise invalid_argument(f"tensor parsing error: {name}")
        return np.frombuffer(proto.tensor_content, dtype).reshape(shape)
    values = getattr(proto, field)[:]
    if len(values) > size:
        raise invalid_argument(f"tensor parsing error: {name}")
    last = values[-1] if values else b"" if dtype.kind == "O" else 0
    full = np.full(size, last, object) if dtype.kind == "O" else np.repeat(_array([last], dtype), size)
    full[: len(values)] = _array(values, dtype)
    return full.reshape(shape)


def _array(values: list[Any], dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "O":
        array = np.empty(len(values), object)
        array[:] = values
        return array
    if dtype.itemsize < _WIRE_BYTES and dtype.kind in "iu":  # carried as 32 bits, of which the low ones count
        return np.array(values, np.int64).astype(dtype)
    return np.array(values, dtype)


def _too_large(name: str, shape: list[int]) -> tuple[Any, str]:
    error = invalid_argument(f"Tensor {name} of shape {shape} has more than the {MOST_ELEMENTS} elements allowed")
    return error.code, error.message


def _decode_rare(proto: tensor_pb2.TensorProto, name: str) -> np.ndarray:
    """Half, bfloat16, complex, and strings in `tensor_content`."""
    try:
        with tf.device("cpu"):
            array: np.ndarray = tf.io.parse_tensor(proto.SerializeToString(), tf.as_dtype(proto.dtype)).numpy()
    except (tf.errors.OpError, TypeError, ValueError):
        raise invalid_argument(f"tensor parsing error: {name}") from None
    return array


def encode(array: np.ndarray, proto: tensor_pb2.TensorProto, as_content: bool = False) -> None:
    """Writes an array into an empty TensorProto: into the field of its type, or into `tensor_content`."""
    data_type = data_type_of(array)
    field, dtype = FIELDS.get(data_type, ("", None))
    if dtype is None:
        _encode_rare(array, data_type, proto)
        return
    proto.dtype = data_type
    shape = proto.tensor_shape
    shape.SetInParent()
    for side in array.shape:
        shape.dim.add().size = side
    if as_content and dtype.kind != "O":
        proto.tensor_content = array.tobytes()
    else:
        getattr(proto, field).extend(array.ravel().tolist())


def _encode_rare(array: np.ndarray, data_type: int, proto: tensor_pb2.TensorProto) -> None:
    if data_type in (types_pb2.DT_HALF, types_pb2.DT_BFLOAT16):
        encode(array.view(np.uint16), proto)
        proto.half_val.extend(proto.int_val)
        proto.ClearField("int_val")
        proto.dtype = data_type
    else:
        proto.CopyFrom(tf.make_tensor_proto(array))
