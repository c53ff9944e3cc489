"""Tensors and results → JSON responses, as TensorFlow Serving writes them (`util/json_tensor.cc`).

Floats are printed in the shortest form that reads back as the same float, with `.0` on whole numbers; NaN and
Infinity stand unquoted; a string output whose name ends in `_bytes` comes back as {"b64": …}.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import orjson

from serving.server.status import invalid_argument
from serving.server.tensors import data_type_of, type_name

_BYTES_SUFFIX = "_bytes"
_NUMBERS = {np.dtype(name) for name in ("f4", "f8", "i1", "i2", "i4", "i8", "u1", "u4", "u8", "?")}


def predictions(outputs: Mapping[str, np.ndarray]) -> bytes:
    """The response to a request in row format.

    Raises:
        StatusError: An output has no first dimension, or the first dimensions differ.
    """
    size = -1
    for name, array in outputs.items():
        if array.ndim == 0:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
        if size not in (-1, len(array)):
            raise invalid_argument(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {size}")
        size = len(array)
    values = {name: _values(name, array) for name, array in outputs.items()}
    if len(values) == 1:
        return _dump({"predictions": next(iter(values.values()))}, outputs.values())
    rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    return _dump({"predictions": rows}, outputs.values())


def columns(outputs: Mapping[str, np.ndarray]) -> bytes:
    """The response to a request in column format.

    Raises:
        StatusError: An output is of a type that JSON cannot carry.
    """
    values = {name: _values(name, array) for name, array in outputs.items()}
    return _dump({"outputs": next(iter(values.values())) if len(values) == 1 else values}, outputs.values())


def classifications(classes: np.ndarray | None, scores: np.ndarray | None) -> bytes:
    """The response to a classify request: for each example a list of [label, score]."""
    some = scores if scores is not None else classes
    if some is None or not len(some):
        raise invalid_argument("Cannot convert empty ClassificationResults to JSON")
    labels = [[""] * some.shape[1]] * len(some) if classes is None else _values("", classes)
    numbers = np.zeros(some.shape, np.float32) if scores is None else scores
    pairs = [[list(pair) for pair in zip(*row, strict=True)] for row in zip(labels, numbers, strict=True)]
    return _dump({"results": pairs}, [numbers])


def regressions(values: np.ndarray) -> bytes:
    """The response to a regress request: float32 [batch]."""
    return _dump({"results": np.ascontiguousarray(values.ravel())}, [values])


def error(message: str) -> bytes:
    """The body of every response that is no success."""
    return orjson.dumps({"error": message.encode("utf-8", "replace").decode()})


def _dump(document: Any, arrays: Iterable[np.ndarray]) -> bytes:
    """JSON of a document that is made of these arrays (and of texts)."""
    try:
        content = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:  # a text that is not UTF-8
        return _text(document).encode("utf-8", "surrogateescape")
    if b"null" in content and not all(array.dtype.kind != "f" or np.isfinite(array).all() for array in arrays):
        return _text(document).encode("utf-8", "surrogateescape")
    return content


def _values(name: str, array: np.ndarray) -> Any:
    """What orjson can serialize: the array itself, or lists of texts."""
    if array.dtype in _NUMBERS:
        return np.ascontiguousarray(array) if array.ndim else array[()]
    if array.dtype != object:
        raise invalid_argument(f"Failed to write JSON value for tensor type: {type_name(data_type_of(array))}")
    return _texts(array.tolist(), name.endswith(_BYTES_SUFFIX))


def _texts(value: Any, as_base64: bool) -> Any:
    if isinstance(value, list):
        return [_texts(each, as_base64) for each in value]
    if as_base64:
        return {"b64": base64.b64encode(value).decode()}
    return value.decode("utf-8", "surrogateescape")


def _text(value: Any) -> str:
    """What orjson cannot write: it makes null of NaN and Infinity, and refuses text that is not UTF-8."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_text(key)}:{_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, np.ndarray)) and np.ndim(value):
        return "[" + ",".join(map(_text, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, (float, np.floating)) and not np.isfinite(value):
        return "NaN" if np.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY).decode()
