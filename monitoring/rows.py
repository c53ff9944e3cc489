"""Rows as monitoring sees them, wherever they come from: a request, an example, a table.

Each watched feature is one column: numbers and times are float64 (of float32's precision where the schema says FLOAT,
which is what an example and a tensor hold), everything else is binary (whole numbers that are
ids are written out in decimal). A missing value (null, NaN, empty text) is null, as everywhere in Headrace.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tensorflow_metadata.proto.v0 import schema_pb2

from models.features import Feature, Role

_NUMBERS = (Role.NUMERIC, Role.TIME)
_FLOAT = schema_pb2.FLOAT


@dataclass(frozen=True)
class Requests:
    """Some rows that a server answered."""

    features: pa.RecordBatch
    """A column for each watched feature, see the module; all null for one that the request did not carry."""
    scores: np.ndarray
    """The model's answer, float64 [rows]: the probability of a binary task, the value of a regression; NaN if the
    log does not hold it."""
    seconds: np.ndarray
    """When it was answered, int64 [rows], since 1970."""
    versions: np.ndarray
    """The version that answered, int64 [rows]."""


def is_number(feature: Feature) -> bool:
    """Whether a feature's column is float64 (else it is binary)."""
    return feature.role in _NUMBERS


def column_type(feature: Feature) -> pa.DataType:
    """The type of a feature's column."""
    return pa.float64() if is_number(feature) else pa.binary()


def as_column(values: pa.Array, feature: Feature) -> pa.Array:
    """Any flat Arrow array as a feature's column.

    A value that cannot be of the feature's type (text in a number's place) is null.
    """
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if not is_number(feature):
        return _texts(values)
    numbers = _numbers(values)
    return pc.cast(pc.cast(numbers, pa.float32(), safe=False), pa.float64()) if feature.type == _FLOAT else numbers


def as_rows(columns: dict[str, pa.Array], features: Sequence[Feature], rows: int) -> pa.RecordBatch:
    """Flat arrays by name as one batch; a feature without an array is all null."""
    arrays = [
        as_column(columns[each.name], each) if each.name in columns else pa.nulls(rows, column_type(each))
        for each in features
    ]
    return pa.RecordBatch.from_arrays(arrays, [each.name for each in features])


def _numbers(values: pa.Array) -> pa.Array:
    if pa.types.is_date(values.type):
        values = pc.cast(values, pa.timestamp("s"))
    if pa.types.is_timestamp(values.type):
        values = pc.divide(pc.cast(values.view(pa.int64()), pa.float64(), safe=False), _TICKS[values.type.unit])
    if _is_text(values.type):
        values = pa.array([_number(each) for each in values.to_pylist()], pa.float64())
    numbers = pc.cast(values, pa.float64(), safe=False)
    return pc.if_else(pc.is_null(numbers, nan_is_null=True), pa.scalar(None, pa.float64()), numbers)


_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def _number(text: bytes | str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _is_text(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )


def _texts(values: pa.Array) -> pa.Array:
    if pa.types.is_boolean(values.type):
        values = pc.cast(values, pa.int64())
    if pa.types.is_floating(values.type):  # an id that may be missing travels as DT_DOUBLE
        whole = np.asarray(pc.fill_null(values, np.nan), np.float64)
        present = ~np.isnan(whole)
        is_whole = np.equal(np.floor(whole), whole) & (np.abs(whole) < 2**63)
        values = (
            pa.array([_decimal(v) if p else None for v, p in zip(whole.tolist(), present, strict=True)])
            if not (is_whole | ~present).all()
            else pa.array(np.where(present, whole, 0).astype(np.int64), mask=~present)
        )
    if not _is_text(values.type):
        values = pc.cast(values, pa.string())
    binary = pc.cast(values, pa.binary())
    is_empty = np.asarray(pc.fill_null(pc.equal(pc.binary_length(binary), 0), True))
    return binary.take(pa.array(np.arange(len(binary)), mask=is_empty))  # `if_else` corrupts slices in pyarrow 18


def _decimal(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)
