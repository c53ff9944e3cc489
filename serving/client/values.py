"""Columns of Python, NumPy, pandas or Arrow values → arrays of exactly a signature's types.

Missing is one thing: None, NaN, NaT, pandas' NA, a null of Arrow, a key that a row lacks. It becomes NaN in floats and
the empty string in text; what has no such value (whole numbers, booleans) refuses it. Dates and times become seconds
since 1970-01-01, rounded down: in UTC, or of the wall clock if they have no zone.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from serving.client.errors import INVALID_ARGUMENT, ClientError
from serving.client.rows import Column
from serving.client.signature import DTYPES, TensorSpec

_EPOCH = datetime.datetime(1970, 1, 1)
_UTC_EPOCH = _EPOCH.replace(tzinfo=datetime.timezone.utc)
_SECOND = datetime.timedelta(seconds=1)


def array_of(column: Column | None, name: str, spec: TensorSpec, start: int, size: int) -> np.ndarray:
    """A column as the tensor of one input.

    Args:
        column: A value for each row; None if no row has any.
        name: Of the input.
        spec: Of the input.
        start: The number of the first row, for messages.
        size: How many rows there are.

    Raises:
        ClientError: A value is missing that must not be, or does not fit.
    """
    if spec.dtype not in DTYPES:
        raise mistake(f"feature {name!r}: {spec.dtype} is a type that rows cannot become", feature=name)
    if column is None:
        column = [None] * size
    shape = spec.row_shape
    if spec.shape == ():
        if size != 1:
            raise mistake(
                f"feature {name!r} is one value for all rows, so that rows are asked one by one", feature=name
            )
        return _flat(column, name, spec.dtype, lambda index: start + index).reshape(())
    if not any(side != 1 for side in shape) and not (spec.shape is None and size and _is_nested(column[0])):
        array = _flat(_unwrapped(column) if shape else column, name, spec.dtype, lambda index: start + index)
        return array.reshape(size, *shape)
    return _nested(column, name, spec, start)


def _nested(column: Column, name: str, spec: TensorSpec, start: int) -> np.ndarray:
    rows = [np.asarray(value, object) for value in column]
    wanted = spec.row_shape if spec.shape is not None else rows[0].shape
    for index, row in enumerate(rows):
        fits = row.ndim == len(wanted) and all(want in (-1, side) for want, side in zip(wanted, row.shape, strict=True))
        if not fits or row.shape != rows[0].shape:
            expected = rows[0].shape if fits else wanted
            raise mistake(
                f"row {start + index}, feature {name!r}: expected a list of shape {list(expected)}, received "
                f"{list(row.shape)}",
                start + index,
                name,
            )
    leaves = [leaf for row in rows for leaf in row.ravel()]
    each = max(rows[0].size, 1)
    return _flat(leaves, name, spec.dtype, lambda index: start + index // each).reshape(len(rows), *rows[0].shape)


def _unwrapped(column: Column) -> Column:
    """[batch, 1]: both 5 and [5] will do."""
    return [value[0] if _is_nested(value) and len(value) == 1 else value for value in column]


def _is_nested(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim > 0)


def _flat(column: Column, name: str, dtype: str, row_of: Callable[[int], int]) -> np.ndarray:
    """Values one by one only if they are not all of the plainest types."""
    wanted = DTYPES[dtype]
    quick = _quick_array(column, wanted) if isinstance(column, np.ndarray) else _quick_list(column, wanted)
    if quick is not None:
        return quick
    convert = _CONVERT[wanted.kind]
    made = np.empty(len(column), wanted)
    for index, value in enumerate(_plain(column)):
        try:
            made[index] = _checked(convert(value), wanted)
        except (TypeError, ValueError, OverflowError) as error:
            row = row_of(index)
            raise mistake(f"row {row}, feature {name!r} ({dtype}): {error}", row, name) from None
    return made


def _plain(column: Column) -> Sequence[Any]:
    """Values that Python's checks know; a moment of NumPy stays one."""
    if isinstance(column, np.ndarray) and column.dtype.kind in "fiub":
        values: list[Any] = column.tolist()
        return values
    return list(column)


def _quick_list(column: Sequence[Any], wanted: np.dtype) -> np.ndarray | None:
    kinds = set(map(type, column))
    if wanted.kind == "O":
        if kinds != {str}:
            return None
        made = np.empty(len(column), object)
        try:
            made[:] = [value.encode() for value in column]
        except UnicodeEncodeError:
            return None
        return made
    if wanted.kind == "f" and kinds <= {float, int, bool, type(None)}:
        try:
            return _quick_array(np.array(column, np.float64), wanted)
        except OverflowError:
            return None
    if wanted.kind in "iu" and kinds <= {int, bool}:
        try:
            return _quick_array(np.array(column, np.int64), wanted)
        except OverflowError:
            return None
    return None


def _quick_array(column: np.ndarray, wanted: np.dtype) -> np.ndarray | None:
    """An array of numbers as another type, None if a value does not fit."""
    if column.dtype.kind == "M":
        seconds = column.astype("datetime64[s]").astype(np.int64)
        there = ~np.isnat(column)
        column = seconds if there.all() else np.where(there, seconds, np.nan)
    kind = column.dtype.kind
    if column.dtype == wanted and kind != "O":
        return column
    if kind not in "fiub" or wanted.kind not in "fiu":
        return None
    if wanted.kind == "f":
        with np.errstate(over="ignore"):
            made = column.astype(wanted)
        is_lost = kind == "f" and bool((np.isinf(made) & np.isfinite(column)).any())
        return None if is_lost else made
    if kind == "f" or not len(column):
        return None if len(column) else np.empty(0, wanted)
    limits = np.iinfo(wanted)
    fits = limits.min <= int(column.min()) and int(column.max()) <= limits.max
    return column.astype(wanted) if fits else None


def _checked(value: Any, wanted: np.dtype) -> Any:
    if wanted.kind in "iu" and not np.iinfo(wanted).min <= value <= np.iinfo(wanted).max:
        raise ValueError(f"{value} is beyond the range of {wanted}")
    if wanted.kind == "f" and math.isfinite(value) and abs(value) > np.finfo(wanted).max:
        raise ValueError(f"{value} is beyond the range of {wanted}")
    return value


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, NaT or pandas' NA."""
    if value is None or type(value).__name__ == "NAType":
        return True
    if isinstance(value, np.datetime64):
        return bool(np.isnat(value))
    return isinstance(value, (float, np.floating, Decimal, datetime.datetime)) and bool(value != value)


def to_float(value: Any) -> float:
    """A number, truth value, date or time as a float, NaN if it is missing.

    Raises:
        TypeError: It is none of these.
        OverflowError: It is beyond any float.
    """
    if is_missing(value):
        return math.nan
    return float(_number(value))


def to_integer(value: Any) -> int:
    """A whole number, truth value, date or time as an int.

    Raises:
        TypeError: It is none of these.
        ValueError: It is missing, or not whole.
    """
    if is_missing(value):
        raise ValueError("the value is missing, and a whole number has no missing value")
    number = _number(value)
    if isinstance(number, float) and not number.is_integer():
        raise ValueError(f"expected a whole number, received {value!r}")
    whole = int(number)
    if whole != number:
        raise ValueError(f"expected a whole number, received {value!r}")
    return whole


def to_bytes(value: Any) -> bytes:
    """Text or bytes as bytes, empty if it is missing.

    Raises:
        TypeError: It is neither.
        ValueError: It cannot be UTF-8.
    """
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(str(error)) from None
    if isinstance(value, bytes):
        return bytes(value)
    if is_missing(value):
        return b""
    raise TypeError(f"expected text, received {_told(value)}")


def _to_bool(value: Any) -> bool:
    if is_missing(value):
        raise ValueError("the value is missing, and a truth value has no missing value")
    if isinstance(value, (bool, np.bool_)) or (isinstance(value, (int, np.integer)) and value in (0, 1)):
        return bool(value)
    raise TypeError(f"expected true or false, received {_told(value)}")


_CONVERT: dict[str, Callable[[Any], Any]] = {
    "f": to_float,
    "i": to_integer,
    "u": to_integer,
    "b": _to_bool,
    "O": to_bytes,
}


def _number(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if isinstance(value, (bool, np.bool_)):
        return int(value)
    if isinstance(value, (int, float, np.integer, Decimal)):
        return value
    if isinstance(value, np.floating):
        return float(value)
    if isinstance(value, np.datetime64):
        return int(value.astype("datetime64[s]").astype(np.int64))
    if isinstance(value, datetime.datetime):
        return (value - (_UTC_EPOCH if value.tzinfo else _EPOCH)) // _SECOND
    if isinstance(value, datetime.date):
        return (datetime.datetime(value.year, value.month, value.day) - _EPOCH) // _SECOND
    raise TypeError(f"expected a number, received {_told(value)}")


def _told(value: Any) -> str:
    return f"{value!r:.80} ({type(value).__name__})"


def mistake(message: str, row: int | None = None, feature: str | None = None) -> ClientError:
    """Rows that are refused before anything is sent."""
    return ClientError(INVALID_ARGUMENT, message, row=row, feature=feature)
