"""Shards of tf.Examples as Arrow record batches.

A Beam element costs the same whether it holds a row or thousands of them. Beam's own TFRecord source makes an element
of each record, to be put together again later; here an element is a batch from the start. It is read from the columns
of the shard (`data.columns`); where there are none TensorFlow parses it, in a fifth of the time of tfx_bsl's decoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow as tf
from tensorflow_metadata.proto.v0 import schema_pb2

from data.columns import ARROW_TYPES, as_lists, read_columns

BATCH_ROWS = 8192
"""The most rows of a batch: what a batch costs by itself is then a small share."""

_BATCH_BYTES = 32 << 20
"""Of serialized examples that a batch has at most, if all are as large as the first ones of the file."""
_ASKED_RECORDS = 64

_DTYPES = {schema_pb2.INT: tf.int64, schema_pb2.FLOAT: tf.float32, schema_pb2.BYTES: tf.string}

FeatureTypes = Mapping[str, int]
"""The `schema_pb2.FeatureType` of each feature, by name."""


def types_of(schema: schema_pb2.Schema) -> dict[str, int]:
    """The feature types that a schema names."""
    return {feature.name: feature.type for feature in schema.feature}


def read_records(path: str) -> Iterator[list[bytes]]:
    """The records of a gzipped TFRecord file, in batches.

    Raises:
        tf.errors.OpError: The file is damaged.
    """
    for batch in _record_batches(path).as_numpy_iterator():
        yield batch.tolist()


def _record_batches(path: str) -> tf.data.Dataset:
    """The same as a data set of string [rows]; batches of large records have fewer rows."""
    records = tf.data.TFRecordDataset(path, compression_type="GZIP")
    sizes = [len(record) for record in records.take(_ASKED_RECORDS).as_numpy_iterator()]
    mean = max(1, sum(sizes) // max(1, len(sizes)))
    return records.batch(min(BATCH_ROWS, max(1, _BATCH_BYTES // mean)))


class ExamplesParser:
    """Serialized tf.Examples → Arrow columns.

    Args:
        types: The features to parse, in the order of the columns. A feature of another type in an example is an error,
            one that is not named is passed over.
    """

    def __init__(self, types: FeatureTypes) -> None:
        self._types = dict(types)
        self._names = list(types)
        self._spec = {
            name: tf.io.RaggedFeature(_DTYPES[types[name]], row_splits_dtype=tf.int64) for name in self._names
        }
        self._traced = tf.function(self._parse, [tf.TensorSpec([None], tf.string)], autograph=False)

    def read(self, path: str) -> Iterator[pa.RecordBatch]:
        """The examples of a gzipped TFRecord file, in batches.

        Raises:
            pa.ArrowInvalid, OSError: The file of its columns is damaged.
            tf.errors.OpError: It has none, and is damaged, or a feature has another type.
        """
        found = read_columns(path, self._names)
        if found is not None:
            yield from map(self._as_parsed, found)
            return
        parsed = (
            _record_batches(path)
            .map(tf.autograph.experimental.do_not_convert(self._parse), num_parallel_calls=1)
            .prefetch(1)
        )
        for columns in parsed.as_numpy_iterator():
            yield self._batch(columns)

    def parse(self, examples: Sequence[bytes]) -> pa.RecordBatch:
        """Examples that are in memory.

        Raises:
            tf.errors.OpError: A record is no tf.Example, or a feature has another type.
            UnicodeDecodeError: A record is no tf.Example, and TensorFlow cannot tell its bytes.
        """
        columns = self._traced(tf.constant(examples, tf.string))
        return self._batch([(values.numpy(), splits.numpy()) for values, splits in columns])

    def _parse(self, examples: tf.Tensor) -> tuple[tuple[tf.Tensor, tf.Tensor], ...]:
        ragged = tf.io.parse_example(examples, self._spec)
        return tuple((ragged[name].values, ragged[name].row_splits) for name in self._names)

    def _as_parsed(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        columns = dict(zip(rows.schema.names, rows.columns, strict=True))
        for name, kind in self._types.items():
            if name not in columns:
                columns[name] = pa.nulls(len(rows), ARROW_TYPES[kind])
        return pa.RecordBatch.from_arrays([as_lists(columns[name]) for name in self._names], self._names)

    def _batch(self, columns: Sequence[tuple[np.ndarray, np.ndarray]]) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays([_lists(*column) for column in columns], self._names)


class ReadRecordBatches(beam.PTransform):
    """Reads gzipped TFRecord files of tf.Examples: pipeline → PCollection of `pa.RecordBatch`.

    Args:
        paths: The files, at places that workers see.
        types: The features to parse, in the order of the columns.
    """

    def __init__(self, paths: Sequence[str], types: FeatureTypes) -> None:
        super().__init__()
        self._paths = sorted(paths)
        self._types = dict(types)

    def expand(self, pipeline: beam.Pipeline) -> beam.PCollection:
        """A file is read by one worker; files are spread over workers."""
        return (
            pipeline
            | "Files" >> beam.Create(self._paths, reshuffle=True)
            | "Read" >> beam.ParDo(_ReadFile(self._types)).with_output_types(pa.RecordBatch)
        )


class _ReadFile(beam.DoFn):
    def __init__(self, types: FeatureTypes) -> None:
        self._types = types

    def setup(self) -> None:
        self._parser = ExamplesParser(self._types)

    def process(self, path: str) -> Iterator[pa.RecordBatch]:
        yield from self._parser.read(path)


def _lists(values: np.ndarray, splits: np.ndarray) -> pa.Array:
    """As tfx_bsl's decoder gives them: large lists, null where an example has no value."""
    is_absent = np.append(splits[1:] == splits[:-1], False)
    offsets = pa.array(splits, pa.int64(), mask=is_absent)
    flat = pa.array(values, pa.large_binary()) if values.dtype == object else pa.array(values)
    return pa.LargeListArray.from_arrays(offsets, flat)
