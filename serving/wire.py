"""Protobuf's encoding, for messages around parts that are encoded already.

See https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from tensorflow.core.framework import tensor_pb2, types_pb2

_LENGTH_DELIMITED = 2
_TENSOR_CONTENT = tensor_pb2.TensorProto.DESCRIPTOR.fields_by_name["tensor_content"].number
_STRING_VAL = tensor_pb2.TensorProto.DESCRIPTOR.fields_by_name["string_val"].number


def field(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content


def tensor(array: np.ndarray, data_type: int) -> bytes:
    """A TensorProto, as `tensor_content` for numbers: a fraction of what making the proto costs."""
    header = _tensor_header(data_type, array.shape)
    if data_type == types_pb2.DT_STRING:
        return header + b"".join(field(_STRING_VAL, value) for value in array.ravel().tolist())
    return header + field(_TENSOR_CONTENT, array.tobytes())


@lru_cache(maxsize=1024)
def _tensor_header(data_type: int, shape: tuple[int, ...]) -> bytes:
    proto = tensor_pb2.TensorProto(dtype=data_type)
    proto.tensor_shape.SetInParent()
    for side in shape:
        proto.tensor_shape.dim.add().size = side
    return bytes(proto.SerializeToString())


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
