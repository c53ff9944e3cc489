"""tf.Examples as rows: what the pipeline trained on, and what requests carry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from models.features import Feature
from monitoring.rows import as_rows

_BATCH_ROWS = 4096


def read_examples(path: str) -> Iterator[list[bytes]]:
    """The serialized tf.Examples of a gzipped TFRecord file, in batches.

    Raises:
        tf.errors.OpError: The file is damaged.
    """
    for batch in tf.data.TFRecordDataset(path, compression_type="GZIP").batch(_BATCH_ROWS).as_numpy_iterator():
        yield batch.tolist()


def rows_of(examples: list[bytes], features: Sequence[Feature]) -> pa.RecordBatch:
    """Serialized tf.Examples as rows of the watched features (the first value of one that has several).

    Raises:
        RuntimeError: A record is no tf.Example.
    """
    decoded = ExamplesToRecordBatchDecoder().DecodeBatch(examples)
    columns = {name: _first(decoded.column(index)) for index, name in enumerate(decoded.schema.names)}
    return as_rows(columns, features, len(examples))


def _first(column: pa.Array) -> pa.Array:
    """The first value of each list, null where there is none."""
    if not pa.types.is_list(column.type) and not pa.types.is_large_list(column.type):
        return pa.nulls(len(column), pa.float64())
    offsets = np.asarray(column.offsets)
    is_absent = offsets[1:] == offsets[:-1]
    return column.values.take(pa.array(np.where(is_absent, 0, offsets[:-1]), mask=is_absent))
