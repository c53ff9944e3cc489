"""One JSON value → one tensor, and what is said of a value that does not fit (`util/json_tensor.cc`)."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
from tensorflow.core.framework import types_pb2

from serving.server.status import Code, StatusError, invalid_argument
from serving.server.tensors import FIELDS, type_name

_MOST_SIDES = 31
"""NumPy's limit on the rank of an array is 32, and one side more counts the rows."""

_LONGEST_QUOTE = 256
"""Bytes of a value that are quoted in a message."""

_UNCONVERTIBLE = {types_pb2.DT_UINT16}


def tensor_of(value: Any, data_type: int) -> np.ndarray:
    """A plain value or nested lists of equal lengths as an array.

    Raises:
        StatusError: The lengths differ, or a value is not of the type: any number is a float, an integer must be
            written as one and be in range, {"b64": …} and texts are strings.
    """
    shape = _shape_of(value)
    if len(shape) > _MOST_SIDES:
        raise invalid_argument(f"JSON Value is nested {len(shape)} lists deep, which is deeper than {_MOST_SIDES}")
    array = _convert(value, shape, data_type)
    if array is None:
        _find_mistake(value, 0, shape, data_type)
        raise invalid_argument(f"JSON Value does not fit the type {type_name(data_type)}")
    return array


def _shape_of(value: Any) -> list[int]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return shape


def _convert(value: Any, shape: list[int], data_type: int) -> np.ndarray | None:
    if data_type not in FIELDS or data_type in _UNCONVERTIBLE:
        return None
    leaves = [value] if not shape else value
    for side in shape[1:]:
        if not all(type(each) is list and len(each) == side for each in leaves):
            return None
        leaves = list(chain.from_iterable(leaves))
    flat = _leaves(leaves, FIELDS[data_type][1])
    return None if flat is None else flat.reshape(shape)


def _leaves(values: list[Any], dtype: np.dtype) -> np.ndarray | None:
    kinds = set(map(type, values))
    if dtype.kind == "f":
        return np.array(values, dtype) if kinds <= {int, float} else None
    if dtype.kind == "b":
        return np.array(values, dtype) if kinds <= {bool} else None
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        fits = kinds <= {int} and (not values or (min(values) >= limits.min and max(values) <= limits.max))
        return np.array(values, dtype) if fits else None
    if not kinds <= {str, dict} or not all(type(each) is str or is_base64_object(each) for each in values):
        return None
    flat = np.empty(len(values), object)
    flat[:] = [as_bytes(each) if type(each) is str else decode_base64(each["b64"]) for each in values]
    return flat


def _find_mistake(value: Any, level: int, shape: list[int], data_type: int) -> None:
    """Raises what TensorFlow Serving would at the first value that does not fit, in reading order."""
    if not isinstance(value, list):
        if level != len(shape):
            raise wrong(
                value, f"found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {len(shape)}"
            )
        if data_type not in FIELDS or data_type in _UNCONVERTIBLE:
            raise StatusError(
                Code.UNIMPLEMENTED, f"Conversion of JSON Value: {quote(value)} to type: {type_name(data_type)}"
            )
        if data_type == types_pb2.DT_STRING and isinstance(value, dict) and not is_base64_object(value):
            raise wrong(value, "not formatted correctly for base64 data")
        if _leaves([value], FIELDS[data_type][1]) is None:
            raise wrong(value, f"Type: {type_of(value)} is not of expected type: {type_name(data_type)}")
        return
    if level >= len(shape):
        raise invalid_argument(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid_argument(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for each in value:
        _find_mistake(each, level + 1, shape, data_type)


def is_base64_object(value: Any) -> bool:
    """Whether a value is {"b64": text} and nothing else."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get("b64"), str)


def decode_base64(text: str) -> bytes:
    """Base64 in the standard alphabet, with or without padding.

    Raises:
        StatusError: It is not base64.
    """
    plain = text.rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise invalid_argument("Unable to base64 decode") from None


def as_bytes(text: str) -> bytes:
    """The bytes that stood in the request, which need not have been UTF-8.

    Raises:
        StatusError: An escape stands for half a surrogate pair.
    """
    if text.isascii():
        return text.encode()
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise invalid_argument("JSON Parse error: The surrogate pair in string is invalid.") from None


def type_of(value: Any) -> str:
    """The type of a value as RapidJSON calls it."""
    if value is None:
        return "Null"
    if isinstance(value, bool):
        return str(value)
    names = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}
    return names[type(value)]


def wrong(value: Any, told: str, prefix: str = "JSON Value:") -> StatusError:
    """The value and what is wrong with it."""
    return invalid_argument(f"{prefix} {quote(value)} {told}")


def quote(value: Any) -> str:
    """The beginning of a value, printed as RapidJSON's PrettyWriter does."""
    text = ""
    for token in _tokens(value, 0):
        if len(text) >= _LONGEST_QUOTE:
            break
        text += token
    return text


def _tokens(value: Any, level: int) -> Iterator[str]:
    if isinstance(value, dict) and value:
        yield "{"
        for position, (key, item) in enumerate(value.items()):
            yield ("," if position else "") + "\n" + "    " * (level + 1) + _scalar(key) + ": "
            yield from _tokens(item, level + 1)
        yield "\n" + "    " * level + "}"
    elif isinstance(value, list) and value:
        yield "["
        for position, item in enumerate(value):
            if position:
                yield ", "
            yield from _tokens(item, level + 1)
        yield "]"
    else:
        yield _scalar(value)


def _scalar(value: Any) -> str:
    text = json.dumps(value[:_LONGEST_QUOTE] if isinstance(value, str) else value, ensure_ascii=False)
    return text.encode("utf-8", "replace").decode()
