"""Rows of whatever kind → columns, a request's worth at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from serving.client.errors import INVALID_ARGUMENT, ClientError

Column = Sequence[Any] | np.ndarray

_PLAIN_KINDS = "fiubM"
"""Kinds of NumPy types whose missing values NumPy knows, or which have none: float, int, unsigned, bool, datetime."""


@dataclass(frozen=True)
class Chunk:
    """Some consecutive rows, as columns."""

    columns: Mapping[str, Column]
    start: int
    """How many rows came before."""
    size: int


def chunks(rows: Any, size: int) -> Iterator[Chunk]:
    """Splits rows into chunks.

    Args:
        rows: An iterable of mappings (a generator is read as it is sent), a pandas DataFrame, or an Arrow Table,
            RecordBatch or RecordBatchReader.
        size: The most rows in a chunk.

    Raises:
        ClientError: It is none of these.
    """
    start = 0
    for columns, count in _parts(rows, size):
        yield Chunk(columns, start, count)
        start += count


def _parts(rows: Any, size: int) -> Iterator[tuple[dict[str, Column], int]]:
    package = type(rows).__module__.partition(".")[0]
    if package == "pandas" and hasattr(rows, "columns"):
        names = _names(list(rows.columns))
        for start in range(0, len(rows), size):
            part = rows.iloc[start : start + size]
            yield {name: _from_pandas(part[name]) for name in names}, len(part)
    elif package == "pyarrow" and hasattr(rows, "schema"):
        names = _names(rows.schema.names)
        for batch in _record_batches(rows, size):
            yield {name: from_arrow(batch.column(index)) for index, name in enumerate(names)}, len(batch)
    elif isinstance(rows, Iterable) and not isinstance(rows, (Mapping, str, bytes)):
        yield from _from_mappings(iter(rows), size)
    else:
        raise _mistake(
            f"expected rows: a list of dicts, a DataFrame or an Arrow table; received {type(rows).__name__}"
            + (" (for one row, ask with a list of one dict)" if isinstance(rows, Mapping) else "")
        )


def _from_mappings(rows: Iterator[Any], size: int) -> Iterator[tuple[dict[str, Column], int]]:
    start = 0
    while part := list(itertools.islice(rows, size)):
        names: dict[str, None] = {}
        for index, row in enumerate(part):
            if not isinstance(row, Mapping):
                raise _mistake(f"row {start + index}: expected a dict, received {type(row).__name__}", start + index)
            names.update(dict.fromkeys(row))
        yield {name: [row.get(name) for row in part] for name in _names(list(names))}, len(part)
        start += len(part)


def _from_pandas(series: Any) -> Column:
    dtype = series.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in _PLAIN_KINDS:
        return np.asarray(series.to_numpy())
    if getattr(dtype, "tz", None) is not None:  # these are moments, whatever clock they are shown by
        return np.asarray(series.to_numpy("datetime64[ns]"))
    values: list[Any] = series.astype(object).tolist()
    return values


def _record_batches(rows: Any, size: int) -> Iterator[Any]:
    if hasattr(rows, "to_batches"):  # a Table
        yield from rows.combine_chunks().to_batches(max_chunksize=size)
        return
    for batch in [rows] if hasattr(rows, "num_rows") else rows:
        for start in range(0, len(batch), size):
            yield batch.slice(start, size)


def from_arrow(array: Any) -> Column:
    """An Arrow array as values of which NumPy or Python tell what is missing."""
    if hasattr(array, "dictionary_decode"):
        array = array.dictionary_decode()
    name = str(array.type)
    # A null of these becomes NaN or NaT; whole numbers and booleans would become floats and objects.
    if name in ("float", "double") or name.startswith(("timestamp", "date")):
        made: np.ndarray = array.to_numpy(zero_copy_only=False)
        return made
    if not array.null_count and name.startswith(("int", "uint", "bool")):
        return np.asarray(array.to_numpy(zero_copy_only=False))
    values: list[Any] = array.to_pylist()
    return values


def _names(names: list[Any]) -> list[str]:
    for name in names:
        if not isinstance(name, str):
            raise _mistake(f"expected columns named by text, received {name!r}")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise _mistake(f"expected each column once; repeated: {', '.join(repeated)}")
    return names


def _mistake(message: str, row: int | None = None) -> ClientError:
    return ClientError(INVALID_ARGUMENT, message, row=row)
