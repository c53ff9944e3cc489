"""The columns that ExampleGen would have left beside shards that a test has written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import tensorflow as tf
from tfx_bsl.coders.example_coder import ExamplesToRecordBatchDecoder

from data.columns import ColumnsWriter, columns_path


def write_columns(shard: Path) -> None:
    """Of examples whose features have one value or none."""
    records = list(tf.data.TFRecordDataset(str(shard), "GZIP").as_numpy_iterator())
    path = Path(columns_path(str(shard)))
    path.parent.mkdir(parents=True, exist_ok=True)
    with ColumnsWriter(str(path)) as writer:
        if records:
            decoded = ExamplesToRecordBatchDecoder().DecodeBatch(records)
            columns = [_only_values(column) for column in decoded.columns]
            writer.write(pa.RecordBatch.from_arrays(columns, decoded.schema.names))


def _only_values(lists: pa.Array) -> pa.Array:
    if pa.types.is_null(lists.type):
        return lists.cast(pa.binary())
    offsets = np.asarray(lists.offsets)
    assert set(np.diff(offsets)) <= {0, 1}
    absent = offsets[1:] == offsets[:-1]
    values = lists.values.take(pa.array(np.where(absent, 0, offsets[:-1]), mask=absent))
    return values.cast(pa.binary()) if pa.types.is_large_binary(values.type) else values
