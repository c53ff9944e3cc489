"""tf.Examples of any features → Arrow record batches: what tfx_bsl's decoder gives, in a third of its time.

tfx_bsl makes a message of each example. TensorFlow's parser makes none, but has to be told the features and their
types; it says nothing of others, and does not tell an empty list from a feature that is absent. So types are learned
from tfx_bsl's decoder, and each batch is proved: its rows hold as many features as were parsed. A batch that holds
others is decoded by tfx_bsl. Where a shard has columns (`data.columns`), nothing has to be decoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from data.columns import as_lists, read_columns
from data.records import ExamplesParser, read_records

_LEARNED_ROWS = 256
"""Types are learned from so many rows at first; a feature that only later rows have costs a batch."""

_MOST_BITS = 35
"""Of a size: a message has at most 2 GiB."""


class ExamplesDecoder:
    """Decodes batches of examples that are more or less alike, such as those of a split.

    A column is a large list of int64, float32 or large binary, null where the feature is absent. It is plain null if no
    row of a batch (and, of those that are decoded, of the batches before it) has a value. Columns are in the order of
    their names.
    """

    def __init__(self) -> None:
        self._exact = ExamplesToRecordBatchDecoder()
        self._types: dict[str, pa.DataType] = {}
        self._parser: ExamplesParser | None = None

    def read(self, path: str) -> Iterator[pa.RecordBatch]:
        """The examples of a gzipped TFRecord file, in batches.

        Raises:
            pa.ArrowInvalid, OSError: The file of its columns is damaged.
            tf.errors.OpError: It has none, and is damaged.
            RuntimeError: A record is no tf.Example, or a feature is of several types.
        """
        found = read_columns(path)
        if found is None:
            yield from map(self.decode, read_records(path))
            return
        for rows in found:
            columns = {name: rows.column(index) for index, name in enumerate(rows.schema.names)}
            lists = {
                name: as_lists(column) if column.null_count < len(rows) else pa.nulls(len(rows))
                for name, column in sorted(columns.items())
            }
            yield pa.RecordBatch.from_arrays(list(lists.values()), list(lists))

    def decode(self, examples: Sequence[bytes]) -> pa.RecordBatch:
        """Decodes serialized examples, a row each.

        Raises:
            RuntimeError: A record is no tf.Example, or a feature is of several types.
        """
        if not self._types:
            self._learn(self._exact.DecodeBatch(list(examples[:_LEARNED_ROWS])))
        parsed = self._parse(examples)
        if parsed is None:
            decoded = self._exact.DecodeBatch(list(examples))
            self._learn(decoded)
            return decoded
        nulls = pa.nulls(len(examples))
        columns = [parsed.column(name) if name in parsed.schema.names else nulls for name in sorted(self._types)]
        return pa.RecordBatch.from_arrays(columns, sorted(self._types))

    def _learn(self, decoded: pa.RecordBatch) -> None:
        found = {field.name: field.type for field in decoded.schema}
        self._types |= {name: kind for name, kind in found.items() if _is_typed(kind) or name not in self._types}
        types = {name: _feature_type(kind) for name, kind in self._types.items() if _is_typed(kind)}
        self._parser = ExamplesParser(types) if types else None

    def _parse(self, examples: Sequence[bytes]) -> pa.RecordBatch | None:
        """The features whose types are known; None if the examples hold more."""
        if self._parser is None:
            return None
        try:
            parsed = self._parser.parse(examples)
        except (tf.errors.InvalidArgumentError, UnicodeDecodeError):  # no example, whose bytes are told; or other types
            return None
        held = np.sum([np.asarray(column.is_valid()) for column in parsed.columns], axis=0)
        return parsed if np.array_equal(held, _features_held(examples)) else None


def _is_typed(kind: pa.DataType) -> bool:
    return not pa.types.is_null(kind)


def _feature_type(kind: pa.DataType) -> int:
    if pa.types.is_int64(kind.value_type):
        return int(schema_pb2.INT)
    return int(schema_pb2.FLOAT if pa.types.is_float32(kind.value_type) else schema_pb2.BYTES)


def _features_held(examples: Sequence[bytes]) -> np.ndarray:
    """In how many features of each example there is a list, be it empty: int64 [rows].

    An example is a message with one message of entries, each of a key and a feature (tensorflow/core/example). If it is
    written in another order, or holds more than that, more are counted than there are.
    """
    data = np.frombuffer(b"".join([*examples, b"\0"]), np.uint8)
    sizes = np.array([len(each) for each in examples], np.int64)
    ends = np.cumsum(sizes)
    _, at = _numbers(data, ends - sizes + 1)
    held = np.zeros(len(examples), np.int64)
    rows = np.flatnonzero(at < ends)
    at = at[rows]
    while len(rows):
        size, at = _numbers(data, at + 1)
        key_size, key = _numbers(data, at + 1)
        feature_size, _ = _numbers(data, key + key_size + 1)
        held[rows] += feature_size > 0
        at = at + size
        is_left = at < ends[rows]
        if not is_left.all():
            rows, at = rows[is_left], at[is_left]
    return held


def _numbers(data: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The varints at some places, as far as the data goes, and where they end: both int64 [places]."""
    last = len(data) - 1
    byte = data[np.minimum(at, last)].astype(np.int64)
    number, end = byte & 127, at + 1
    for shift in range(7, _MOST_BITS, 7):
        is_longer = byte > 127
        if not is_longer.any():
            break
        byte = np.where(is_longer, data[np.minimum(end, last)], 0).astype(np.int64)
        number += (byte & 127) << shift
        end = end + is_longer
    return number, end
