"""Dense tensors as serialized tf.Examples, a batch at a time.

Where every row has the same features of the same shapes, the bytes of all rows differ in the values alone: a batch is
a matrix of bytes, of which NumPy fills the columns. tfx_bsl's encoder, which knows ragged columns, takes 30 times as
long. The wire format is https://protobuf.dev/programming-guides/encoding/; messages are those of
tensorflow/core/example/{example,feature}.proto.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

_KEY = 1  # of an entry of Features.feature
_VALUE = 2
_FLOAT_LIST = 2  # of Feature
_INT64_LIST = 3
_LENGTH_DELIMITED = 2


def encode_dense(tensors: Mapping[str, np.ndarray]) -> list[bytes]:
    """One serialized tf.Example for each row.

    Args:
        tensors: float32 or int64 of shape [batch] or [batch, width], by feature.

    Raises:
        TypeError: A tensor is of another dtype.
    """
    rows = len(next(iter(tensors.values())))
    entries = [
        _field(1, _entry(name, tensor.reshape(rows, math.prod(tensor.shape[1:]))))
        for name, tensor in sorted(tensors.items())
    ]
    examples = _field(1, np.hstack(entries))
    width = examples.shape[1]
    joined = examples.tobytes()
    return [joined[start : start + width] for start in range(0, len(joined), width)]


def _entry(name: str, values: np.ndarray) -> np.ndarray:
    """An entry of the map from names to features; the matrices of this module are uint8 [batch, bytes]."""
    if values.dtype == np.float32:
        feature = _field(_FLOAT_LIST, _field(1, np.ascontiguousarray(values, "<f4").view(np.uint8)))
    elif values.dtype == np.int64:
        feature = _field(_INT64_LIST, _field(1, _varints(values)))
    else:
        raise TypeError(f"{name} is of dtype {values.dtype}, expected float32 or int64")
    key = np.frombuffer(name.encode(), np.uint8)
    return np.hstack([_field(_KEY, np.broadcast_to(key, (len(values), len(key)))), _field(_VALUE, feature)])


def _field(number: int, content: np.ndarray) -> np.ndarray:
    """A field of bytes: tag, length, content."""
    tag = [number << 3 | _LENGTH_DELIMITED, *_varint(content.shape[1])]
    return np.hstack([np.broadcast_to(np.array(tag, np.uint8), (len(content), len(tag))), content])


def _varint(number: int) -> list[int]:
    septets = [number & 0x7F]
    while number := number >> 7:
        septets.append(number & 0x7F)
    return [septet | 0x80 for septet in septets[:-1]] + septets[-1:]


def _varints(values: np.ndarray) -> np.ndarray:
    """Every number in as many bytes as the longest needs: a decoder takes leading zeros as they are."""
    unsigned = values.view(np.uint64)[..., np.newaxis]
    longest = int(unsigned.max(initial=0))
    width = len(_varint(longest))
    septets = (unsigned >> (7 * np.arange(width, dtype=np.uint64))).astype(np.uint8) & 0x7F
    septets[..., :-1] |= 0x80
    return septets.reshape(len(values), values.shape[1] * width)
