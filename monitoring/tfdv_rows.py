"""Rows as TFDV reads them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from tensorflow_metadata.proto.v0 import schema_pb2

from models.features import Feature
from monitoring.rows import is_number
from monitoring.rules import WHOLE

_LARGEST = 2.0**62


def as_lists(rows: pa.RecordBatch, features: Iterable[Feature]) -> pa.RecordBatch:
    """A list for each value, of the type that the schema has.

    TFDV breaks on a feature that changes its type from batch to batch, so what is no whole number where one belongs is
    cut to one; `monitoring.rules` tells of it.
    """
    names, columns = [], []
    for feature in features:
        column = rows.column(rows.schema.get_field_index(feature.name))
        if feature.type == schema_pb2.INT:
            column = _integers(column, feature)
        elif feature.type == schema_pb2.FLOAT:
            column = column.cast(pa.float32(), safe=False)
        present = np.asarray(column.is_valid())
        values = column.filter(pa.array(present))
        offsets = np.concatenate([[0], np.cumsum(present)]).astype(np.int32)
        mask = np.concatenate([~present, [False]])
        names.append(feature.name)
        columns.append(pa.ListArray.from_arrays(pa.array(offsets, mask=mask), values))
    return pa.RecordBatch.from_arrays(columns, names)


def _integers(column: pa.Array, feature: Feature) -> pa.Array:
    if is_number(feature):
        numbers = np.asarray(column.fill_null(np.nan), np.float64)
        cut = np.clip(np.nan_to_num(numbers), -_LARGEST, _LARGEST).astype(np.int64)
        return pa.array(cut, mask=np.isnan(numbers))
    values = [int(each) if each is not None and WHOLE.fullmatch(each) else None for each in column.to_pylist()]
    return pa.array(values, pa.int64())
