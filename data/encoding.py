"""Turns Arrow record batches into serialized tf.Examples, a batch at a time.

Missing is one thing here: a null, a NaN and an empty string all become an absent feature. Preprocessing and the
serving signatures treat them alike, so that a row means the same in a file, an example and a request.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from data.columns import as_lists
from schema.errors import DataError

_TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def natural_type(column: pa.DataType) -> pa.DataType | None:
    """The tf.Example type that a column becomes by itself, or None if there is none (a list, a struct).

    Booleans become 0 and 1; dates and times become seconds since 1970-01-01 (in UTC, or of the wall clock if the
    column has no zone).
    """
    if pa.types.is_dictionary(column):
        return natural_type(column.value_type)
    if pa.types.is_boolean(column) or pa.types.is_integer(column):
        return pa.int64()
    if pa.types.is_date(column) or pa.types.is_timestamp(column):
        return pa.int64()
    if pa.types.is_floating(column) or pa.types.is_decimal(column):
        return pa.float32()
    if pa.types.is_string(column) or pa.types.is_large_string(column) or _is_binary(column):
        return pa.binary()
    if pa.types.is_null(column):  # a column without any value
        return pa.binary()
    return None


def fits(column: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a column of this type can become the schema's type without losing its meaning.

    Whole numbers fit FLOAT. Floating-point numbers fit INT if each is whole (pandas writes integers with gaps so);
    whether they are is known only when they are read.
    """
    natural = natural_type(column)
    if natural is None or pa.types.is_null(column):
        return natural is not None
    return bool(pa.types.is_binary(natural) == pa.types.is_binary(wanted))


@dataclass(frozen=True)
class Misfit:
    """A value that its type cannot hold."""

    index: int
    """Of its row in the batch."""
    column: str
    reason: str
    value: str


def misfits(batch: pa.RecordBatch, wanted: dict[str, pa.DataType]) -> list[Misfit]:
    """The first value of each row that would not keep its meaning: a fraction as INT, a number beyond its type's range.

    Args:
        batch: As for `held`, which refuses these values.
        wanted: As for `held`.
    """
    found: dict[int, Misfit] = {}
    for index, name in enumerate(batch.schema.names):
        column = batch.column(index)
        target = wanted.get(name) or natural_type(column.type)
        if target is None or not fits(column.type, target):
            continue  # no value of the column is right, which is not for a row to say
        for row in np.flatnonzero(_is_unfit(column, target)).tolist():
            value = str(column[row].as_py())
            found.setdefault(row, Misfit(row, name, _UNFIT[target], value))
    return [found[row] for row in sorted(found)]


_UNFIT = {
    pa.int64(): "not a whole number of 64 bits",
    pa.float32(): "beyond the range of 32-bit floating-point numbers",
}


def _is_unfit(column: pa.Array, target: pa.DataType) -> np.ndarray:
    """Bool [rows]: by type nearly always false, without looking at a value."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_decimal(column.type):
        column = pc.cast(column, pa.float64())
    if pa.types.is_uint64(column.type) and pa.types.is_integer(target):
        return np.asarray(pc.fill_null(pc.greater(column, pa.scalar(2**63 - 1, pa.uint64())), False))
    if not pa.types.is_floating(column.type) or column.type == target:
        return np.zeros(len(column), bool)
    numbers = column.to_numpy(zero_copy_only=False)  # a null becomes NaN, which is as missing
    if pa.types.is_integer(target):
        in_range = (numbers >= -(2.0**63)) & (numbers < 2.0**63)
        return np.asarray(~np.isnan(numbers) & ~(in_range & (np.floor(numbers) == numbers)))
    with np.errstate(over="ignore"):
        return np.asarray(np.isfinite(numbers) & ~np.isfinite(numbers.astype(np.float32)))


def held(batch: pa.RecordBatch, wanted: dict[str, pa.DataType], where: str) -> pa.RecordBatch:
    """The rows as their examples hold them: int64, float32 or binary, null where a value is missing.

    Args:
        batch: Rows; columns of any scalar Arrow type.
        wanted: The type to give each column; a column that is not named keeps its natural type.
        where: The file, for error messages.

    Raises:
        DataError: A column's type, or a value, does not fit.
    """
    columns = [
        _held(batch.column(index), name, wanted.get(name), where) for index, name in enumerate(batch.schema.names)
    ]
    return pa.RecordBatch.from_arrays(columns, batch.schema.names)


def encode(rows: pa.RecordBatch) -> list[bytes]:
    """Encodes each row as a serialized tf.Example.

    Args:
        rows: As `held` gives them.
    """
    columns = [as_lists(column) for column in rows.columns]
    encoded: list[bytes] = RecordBatchToExamplesEncoder().encode(pa.RecordBatch.from_arrays(columns, rows.schema.names))
    return encoded


def _held(column: pa.Array, name: str, wanted: pa.DataType | None, where: str) -> pa.Array:
    is_absent = is_missing(column)
    if not pc.any(is_absent).as_py():
        return _convert(column, name, wanted, where)
    values = _convert(column.filter(pc.invert(is_absent)), name, wanted, where)
    absent = np.asarray(is_absent)
    return values.take(pa.array(np.cumsum(~absent) - 1, mask=absent))


def _convert(column: pa.Array, name: str, wanted: pa.DataType | None, where: str) -> pa.Array:
    target = wanted or natural_type(column.type)
    if target is None or not fits(column.type, target):
        raise DataError(
            f"The column {name!r} has the wrong type",
            where=where,
            expected=str(target) if target else "a scalar type",
            received=str(column.type),
            mend="Mend the data, or change the feature's type in the schema.",
        )
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        column = _seconds(column)
    try:
        if pa.types.is_decimal(column.type):
            column = pc.cast(column, pa.float64())
        converted = pc.cast(column, target, safe=not pa.types.is_floating(target))
        if pa.types.is_floating(target) and pa.types.is_floating(column.type):
            _require_same_range(column, converted)
    except pa.ArrowException as error:
        raise DataError(
            f"The column {name!r} holds a value that does not fit its type",
            where=where,
            expected=str(target),
            received=" ".join(str(error).split())[:200],
            mend="Mend the value, or change the feature's type in the schema.",
        ) from None
    return converted


def is_missing(column: pa.Array) -> pa.Array:
    """Which values are missing: null, NaN or an empty string."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_floating(column.type):
        return pc.is_null(column, nan_is_null=True)
    if natural_type(column.type) == pa.binary() and not pa.types.is_null(column.type):
        return pc.fill_null(pc.equal(pc.binary_length(column), 0), True)
    return pc.is_null(column)


def _seconds(column: pa.Array) -> pa.Array:
    """Dates and times, none missing, as whole seconds, rounded down; without asking for a time zone's rules."""
    if pa.types.is_date(column.type):
        column = pc.cast(column, pa.timestamp("s"))
    return pa.array(np.asarray(column.view(pa.int64())) // _TICKS[column.type.unit], pa.int64())


def _require_same_range(column: pa.Array, converted: pa.Array) -> None:
    lost = pc.and_(pc.is_finite(column), pc.invert(pc.is_finite(converted)))
    if pc.any(lost).as_py():
        raise pa.ArrowInvalid(f"{column.filter(lost)[0].as_py()} is beyond the range of {converted.type}")


def _is_binary(column: pa.DataType) -> bool:
    return bool(pa.types.is_binary(column) or pa.types.is_large_binary(column))
