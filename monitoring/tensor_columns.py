"""Tensors of many requests as columns.

Most requests have one row, so what a tensor costs is what a row costs. The values of many requests are kept as the
bytes that they came as, and become one array when all are there.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from models.features import Feature
from monitoring.rows import as_column

_NUMBERS: dict[int, tuple[str, type[np.generic]]] = {
    types_pb2.DT_FLOAT: ("float_val", np.float32),
    types_pb2.DT_DOUBLE: ("double_val", np.float64),
    types_pb2.DT_INT32: ("int_val", np.int32),
    types_pb2.DT_INT64: ("int64_val", np.int64),
    types_pb2.DT_BOOL: ("bool_val", np.bool_),
}
"""The field and the type of the numbers that requests are made of; any other type is read the long way."""
_SIZES = {data_type: np.dtype(dtype).itemsize for data_type, (_, dtype) in _NUMBERS.items()}

Values = tuple[int, Any]
"""A DataType of `_NUMBERS` with the values' bytes, DT_STRING with the texts, or DT_INVALID: no such tensor."""
_ABSENT: Values = (types_pb2.DT_INVALID, b"")


class UnreadableLog(Exception):
    """Why a logged request cannot become rows, as a problem's words."""


class TensorColumn:
    """One feature's values, in the order of the requests; they may come in different types."""

    def __init__(self) -> None:
        self._types: list[int] = []
        self._values: dict[int, list[Any]] = defaultdict(list)

    def add(self, values: Values) -> None:
        """Adds a request's values."""
        data_type, content = values
        self._types.append(data_type)
        self._values[data_type].append(content)

    def array(self, rows: Sequence[int], feature: Feature) -> pa.Array:
        """All that was added, as the feature's column.

        Args:
            rows: Of each request.
            feature: Whose values these are.
        """
        types = np.repeat(self._types, rows)
        arrays = [
            as_column(_array(data_type, contents, int((types == data_type).sum())), feature)
            for data_type, contents in sorted(self._values.items())
        ]
        if len(arrays) == 1:
            return arrays[0]
        position = np.empty(len(types), np.int64)
        position[np.argsort(types, kind="stable")] = np.arange(len(types))
        return pa.concat_arrays(arrays).take(pa.array(position))


def _array(data_type: int, contents: list[Any], rows: int) -> pa.Array:
    if data_type == types_pb2.DT_INVALID:
        return pa.nulls(rows)
    if data_type == types_pb2.DT_STRING:
        return pa.array(list(chain.from_iterable(contents)), pa.binary())
    return pa.array(np.frombuffer(b"".join(contents), _NUMBERS[data_type][1]))


def size(tensor: tensor_pb2.TensorProto) -> int:
    """How many values a tensor claims to have."""
    return math.prod(dimension.size for dimension in tensor.tensor_shape.dim)


def values(tensor: tensor_pb2.TensorProto, rows: int) -> Values:
    """A tensor's values, one a row.

    Raises:
        UnreadableLog: It has another number of values, or a type that is neither number nor text.
    """
    data_type = tensor.dtype
    if data_type == types_pb2.DT_STRING:
        texts = tensor.string_val
        if len(texts) == rows:
            return data_type, list(texts)
    elif data_type in _NUMBERS:
        content = tensor.tensor_content
        if len(content) == rows * _SIZES[data_type]:
            return data_type, content
        name, dtype = _NUMBERS[data_type]
        numbers = getattr(tensor, name)
        if len(numbers) == rows:
            return data_type, np.fromiter(numbers, dtype, rows).tobytes()
    elif data_type == types_pb2.DT_INVALID:
        return _ABSENT
    return _parsed(tensor, rows)


def _parsed(tensor: tensor_pb2.TensorProto, rows: int) -> Values:
    """As the server reads it: rare types, and values that stand for many."""
    if size(tensor) != rows:
        raise UnreadableLog("a request whose tensors do not hold one value a row")
    try:
        dtype = tf.as_dtype(tensor.dtype)
        parsed = tf.io.parse_tensor(tensor.SerializeToString(), dtype).numpy()
    except (tf.errors.OpError, TypeError, ValueError, NotImplementedError):
        raise UnreadableLog("a request with a tensor that cannot be read") from None
    array = np.asarray(parsed, dtype.as_numpy_dtype).ravel()  # a text without a shape comes as mere bytes
    if dtype == tf.string:
        return types_pb2.DT_STRING, array.tolist()
    if dtype.is_floating:
        return types_pb2.DT_DOUBLE, array.astype(np.float64).tobytes()
    if dtype.is_integer or dtype.is_bool:
        return types_pb2.DT_INT64, array.astype(np.int64).tobytes()
    raise UnreadableLog("a request with a tensor that is neither numbers nor text")


def numbers(read: Values) -> list[float]:
    """The values as numbers.

    Raises:
        UnreadableLog: They are none.
    """
    data_type, content = read
    if data_type not in _NUMBERS:
        raise UnreadableLog("a tensor that holds no numbers")
    return list(map(float, np.frombuffer(content, _NUMBERS[data_type][1]).tolist()))
