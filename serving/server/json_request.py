"""JSON requests → tensors, as TensorFlow Serving reads them (`util/json_tensor.cc`)."""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import orjson

from serving.server.json_values import is_base64_object, tensor_of, wrong
from serving.server.servable import Signature
from serving.server.status import StatusError, invalid_argument

_PARSE_ERRORS = {
    "Expecting value": "Invalid value.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Illegal trailing comma before end of object": "Missing a name for object member.",
    "Illegal trailing comma before end of array": "Invalid value.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
    "Expecting ',' delimiter": "Missing a comma or } after an object member.",
    "Unterminated string starting at": "Missing a closing quotation mark in string.",
    "Invalid control character at": "Invalid encoding in string.",
    "Invalid \\escape": "Invalid escape character in string.",
    "Invalid \\uXXXX escape": "Incorrect hex digit after \\u escape in string.",
}
"""Python's words for a mistake, and RapidJSON's."""

_LARGEST_INTEGER = (1 << 64) - 1
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
"""An escape in a JSON text; the group is half a surrogate pair."""


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError("Number too big to be stored in double.")
    return value


def _integer(digits: str) -> int | float:
    """What exceeds 64 bits is a double, for RapidJSON as for orjson."""
    if len(digits) > len(str(_LARGEST_INTEGER)):
        return _float(digits)
    value = int(digits)
    return value if -(_LARGEST_INTEGER >> 1) - 1 <= value <= _LARGEST_INTEGER else float(value)


_DECODER = json.JSONDecoder(parse_float=_float, parse_int=_integer)


def parse(body: bytes) -> dict[str, Any]:
    """A request's JSON object.

    NaN, Infinity and bytes after the first value are accepted, as TensorFlow Serving does: what orjson refuses is
    tried again with the standard decoder.

    Raises:
        StatusError: It is not JSON, not an object, or nested too deeply.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = _parse_leniently(body)
    if type(document) is not dict:
        raise wrong(document, "Is not object")
    return document


def _parse_leniently(body: bytes) -> Any:
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    text = body.decode("utf-8", "surrogateescape").lstrip(" \t\r\n\ufeff")
    try:
        document, end = _DECODER.raw_decode(text)
    except json.JSONDecodeError as error:
        told = _PARSE_ERRORS.get(error.msg.removesuffix(": "), error.msg)
        raise invalid_argument(f"JSON Parse error: {told} at offset: {error.pos}") from None
    except (RecursionError, ValueError) as error:  # ValueError: of `_float`
        told = "Nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise invalid_argument(f"JSON Parse error: {told}") from None
    if ("\\ud" in text or "\\uD" in text) and any(each[1] for each in _ESCAPE.finditer(text, 0, end)):
        raise invalid_argument("JSON Parse error: The surrogate pair in string is invalid.")
    return document


def signature_name(document: Mapping[str, Any]) -> str:
    """The signature that a request asks for, "" for the default.

    Raises:
        StatusError: It is not a text.
    """
    name = document.get("signature_name", "")
    if type(name) is not str:
        raise wrong(document, "not formatted correctly. 'signature_name' key must be a string value.")
    return name


class Rows:
    """The `instances` of a predict request, not yet tensors: rows of several requests are converted together."""

    def __init__(self, rows: list[Any], signature: Signature) -> None:
        self.rows = rows
        self.signature = signature
        self.size = len(rows)

    def arrays(self) -> list[np.ndarray]:
        """The tensors, in the order of the signature's inputs.

        Raises:
            StatusError: A row does not fit the signature.
        """
        return scalar_columns(self.rows, self.signature) or _columns_of(self.rows, self.signature)


def instances(document: dict[str, Any], signature: Signature) -> Rows | None:
    """The rows of a request in row format; None for a request in column format.

    Raises:
        StatusError: There is neither format, or both, or no row.
    """
    has_rows, has_columns = "instances" in document, "inputs" in document
    if has_rows and has_columns:
        raise wrong(document, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ")
    if has_columns:
        return None
    if not has_rows:
        raise invalid_argument("Missing 'inputs' or 'instances' key")
    rows = document["instances"]
    if type(rows) is not list:
        raise wrong(document, "Expecting 'instances' to be an list/array")
    if not rows:
        raise wrong(document, "No values in 'instances' array")
    return Rows(rows, signature)


def scalar_columns(rows: Sequence[Any], signature: Signature) -> list[np.ndarray] | None:
    """The tensors of rows that are objects of plain values; None for all else, which the exact way decides on.

    Inputs of one type are converted as one matrix: a small array costs what it costs to make, not what it holds.
    """
    width = len(signature.inputs)
    for row in rows:
        if type(row) is not dict or len(row) != width:
            return None
    columns: list[np.ndarray] = [_NO_COLUMN] * width
    for dtype, positions, take in signature.inputs_by_dtype:
        try:
            values = list(map(take, rows))
        except KeyError:
            return None
        matrix = _matrix(values, dtype)
        if matrix is None:
            return None
        for position, column in zip(positions, matrix, strict=True):
            columns[position] = column
    return columns


_NO_COLUMN = np.empty(0)


def _matrix(rows: list[tuple[Any, ...]], dtype: np.dtype | None) -> np.ndarray | None:
    """Values of one type, row by row, as [columns, rows]."""
    values = list(chain.from_iterable(rows))
    kinds = set(map(type, values))
    is_number = dtype is not None and (
        (dtype.kind == "f" and kinds <= _NUMBERS) or (dtype == np.int64 and kinds == _INTEGERS)
    )
    try:
        if is_number:
            return np.fromiter(values, dtype, len(values)).reshape(len(rows), -1).T.copy()
        if dtype is not None and dtype.kind == "O" and kinds == _TEXTS:
            matrix = np.empty((len(rows[0]), len(rows)), object)
            matrix[:] = [[text.encode() for text in column] for column in zip(*rows, strict=True)]
            return matrix
    except (OverflowError, UnicodeEncodeError):
        pass
    return None


_NUMBERS, _TEXTS, _INTEGERS = {float, int}, {str}, {int}


def _columns_of(rows: list[Any], signature: Signature) -> list[np.ndarray]:
    """Rows of any shape, with TensorFlow Serving's own complaints."""
    inputs = {each.name: each for each in signature.inputs}
    first = rows[0]
    if len(inputs) > 1 and (not isinstance(first, dict) or is_base64_object(first)):
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    are_objects = isinstance(first, dict) and not is_base64_object(first)
    if not are_objects:
        with contextlib.suppress(StatusError):
            return [tensor_of(rows, signature.inputs[0].data_type)]
    tensors: dict[str, list[np.ndarray]] = {name: [] for name in inputs}
    for position, row in enumerate(rows):
        is_object = isinstance(row, dict) and not is_base64_object(row)
        if is_object != are_objects:
            raise invalid_argument(
                f"Expecting object but got list at item {position} of input list"
                if are_objects
                else f"Expecting value/list but got object at item {position} of input list"
            )
        for name, value in row.items() if are_objects else [(next(iter(inputs)), row)]:
            key = f" key: {name}" if are_objects else ""
            _add(tensors, inputs, name, value, f"Failed to process element: {position}{key} of 'instances' list.")
        if are_objects and set(row) != set(inputs):
            raise wrong(
                row,
                f"keys must be equal to: {','.join(sorted(inputs))}",
                f"Failed to process element: {position} of 'instances' list. JSON object:",
            )
    return [np.stack(tensors[name]) for name in inputs]


def _add(tensors: dict[str, list[np.ndarray]], inputs: Mapping[str, Any], name: str, value: Any, where: str) -> None:
    try:
        if name not in inputs:
            raise invalid_argument(f"JSON object: does not have named input: {name}")
        tensor = tensor_of(value, inputs[name].data_type)
        others = tensors[name]
        if others and others[0].size != tensor.size:
            raise invalid_argument(f"Expecting tensor size: {others[0].size} but got: {tensor.size}")
        if others and others[0].shape != tensor.shape:
            raise invalid_argument(f"Expecting shape {_shape(others[0])} but got: {_shape(tensor)}")
    except StatusError as error:
        raise invalid_argument(f"{where} Error: {error}") from None
    others.append(tensor)


def _shape(array: np.ndarray) -> str:
    return f"[{','.join(map(str, array.shape))}]"


def columns(document: dict[str, Any], signature: Signature) -> list[np.ndarray]:
    """The tensors of a request in column format, in the order of the signature's inputs.

    Raises:
        StatusError: A value is missing or does not fit its input.
    """
    given, inputs = document["inputs"], signature.inputs
    if not isinstance(given, dict) or is_base64_object(given):
        if len(inputs) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        return [tensor_of(given, inputs[0].data_type)]
    arrays = []
    for each in inputs:
        if each.name not in given:
            raise invalid_argument(f"Missing named input: {each.name} in 'inputs' object.")
        arrays.append(tensor_of(given[each.name], each.data_type))
    return arrays
