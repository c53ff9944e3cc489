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

_BLOCK_ROWS = 1024
"""Filled together: column by column, a larger matrix is too large for the processor's cache."""


def encode_dense(tensors: Mapping[str, np.ndarray]) -> list[bytes]:
    """One serialized tf.Example for each row.

    Args:
        tensors: float32 or int64 of shape [batch] or [batch, width], by feature.

    Raises:
        TypeError: A tensor is of another dtype.
    """
    rows = len(next(iter(tensors.values())))
    parts = []
    for name, tensor in sorted(tensors.items()):
        parts += _entry(name, tensor.reshape(rows, math.prod(tensor.shape[1:])))
    parts = _field(1, parts)
    row, varying = bytearray(), []
    for part in parts:
        if isinstance(part, bytes):
            row += part
        else:
            varying.append((len(row), part))
            row += bytes(part.shape[1])
    examples: list[bytes] = []
    for first in range(0, rows, _BLOCK_ROWS):
        block = np.tile(np.frombuffer(row, np.uint8), (min(_BLOCK_ROWS, rows - first), 1))
        for start, part in varying:
            block[:, start : start + part.shape[1]] = part[first : first + _BLOCK_ROWS]
        examples += block.view(np.dtype((np.void, len(row))))[:, 0].tolist()
    return examples


_Part = bytes | np.ndarray
"""Of the bytes of every row: the same in all, or uint8 [batch, bytes]."""


def _entry(name: str, values: np.ndarray) -> list[_Part]:
    """An entry of the map from names to features."""
    if values.dtype == np.float32:
        feature = _field(_FLOAT_LIST, _field(1, [np.ascontiguousarray(values, "<f4").view(np.uint8)]))
    elif values.dtype == np.int64:
        feature = _field(_INT64_LIST, _field(1, [_varints(values)]))
    else:
        raise TypeError(f"{name} is of dtype {values.dtype}, expected float32 or int64")
    return _field(1, [*_field(_KEY, [name.encode()]), *_field(_VALUE, feature)])


def _field(number: int, content: list[_Part]) -> list[_Part]:
    """A field of bytes: tag, length, content."""
    return [bytes([number << 3 | _LENGTH_DELIMITED, *_varint(_width(content))]), *content]


def _width(parts: list[_Part]) -> int:
    return sum(len(part) if isinstance(part, bytes) else part.shape[1] for part in parts)


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
