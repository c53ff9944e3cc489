r"""Reads CSV as RFC 4180 has it, a megabyte at a time.

Rows are numbered by their lines, so one thread reads a file from its beginning to its end. A value may hold line breaks
between quotes, but no more than a megabyte. Lines end with \n or \r\n.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from data.csv_rows import Parser
from data.rows import BadRow, Refuse, Rows

_BLOCK_BYTES = 1 << 20
_LONGEST_LINE = 4 << 20
_ASKED_VALUES = 2000
_FIRST_INEXACT = 2.0**53
"""From here on, whole numbers are more than floats of 64 bits can tell apart."""
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Layout:
    """What a file's beginning tells: its columns, and where its rows begin."""

    types: dict[str, pa.DataType]
    """How each column is parsed, in the order of the file."""
    repeated: tuple[str, ...]
    """Columns that are there more than once."""
    start: int
    """The bytes before the first row."""
    first_line: int
    """The number of the first row's line."""
    is_empty: bool


def find_layout(file: BinaryIO, wanted: dict[str, pa.DataType]) -> Layout:
    """Reads the first megabyte. The types do not depend on what it happens to lack, or on a few rows that are wrong.

    But for one: where whole numbers are wanted, 3.0 is one if the first megabyte has such numbers; else it is put
    aside.

    Args:
        file: At its beginning.
        wanted: The tf.Example type of columns. Text is never taken for anything else. What shall be a number is what
            Arrow infers, or if that cannot be one, what most of its values are by themselves.

    Raises:
        pa.ArrowInvalid: There is no header, or most rows do not have as many fields.
        UnicodeDecodeError: The header is not UTF-8.
    """
    raw = file.read(_BLOCK_BYTES)
    head = raw if len(raw) < _BLOCK_BYTES else raw[: _cut(raw) or None]
    lines = head.splitlines(keepends=True)
    count = _header_lines(lines)
    header, body = b"".join(lines[:count]), lines[count:]
    names = _names(header)
    repeated = tuple(sorted(name for name, times in Counter(names).items() if times > 1))
    start, is_empty = len(header), not any(line.strip() for line in body)
    if repeated or is_empty:
        return Layout(dict.fromkeys(names, pa.null()), repeated, start, count + 1, is_empty)
    batch = _inferred(names, body)
    types = {}
    for index, name in enumerate(names):
        types[name] = _type(batch.column(index).type, wanted.get(name))
        if name in wanted and not _can_become(batch.column(index), wanted[name]):
            types[name] = _of_most(_column(name, names, body), types[name], wanted[name])
    return Layout(types, repeated, start, count + 1, is_empty)


def read_csv(file: BinaryIO, layout: Layout, columns: list[str], refuse: Refuse) -> Iterator[Rows]:
    """The rows of some columns, in their order.

    Args:
        file: The file that the layout is of.
        layout: See `find_layout`.
        columns: What is read; values of other columns are not looked at.
        refuse: Is given each row that has another number of fields, or a value that is not of its column's type.
    """
    parser = Parser(list(layout.types), layout.types, columns, refuse)
    file.seek(layout.start)
    line = layout.first_line
    for block in _blocks(file):
        lines = block.splitlines(keepends=True)
        yield from parser.rows(lines, line)
        line += len(lines)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    rest = b""
    while block := file.read(_BLOCK_BYTES):
        rest += block
        if cut := _cut(rest):
            yield rest[:cut]
            rest = rest[cut:]
        elif len(rest) > _LONGEST_LINE:
            raise pa.ArrowInvalid(f"a line is longer than {_LONGEST_LINE >> 20} MiB. Lines end with \\n, or \\r\\n")
    if rest:
        yield rest


def _cut(raw: bytes) -> int:
    """Where the last line ends that is between rows: an even number of quotes is before it. If none is, the last."""
    last = end = raw.rfind(b"\n") + 1
    is_between = raw.count(b'"', 0, end) % 2 == 0
    while end and not is_between:
        start = raw.rfind(b"\n", 0, end - 1) + 1
        is_between = raw.count(b'"', start, end) % 2 == 1
        end = start
    return end or last


def _header_lines(lines: list[bytes]) -> int:
    """How many lines come before the rows: empty ones, and the header, whose names may hold line breaks."""
    quotes = 0
    for count, line in enumerate(lines, 1):
        quotes += line.count(b'"')
        if line.removeprefix(_BYTE_ORDER_MARK).strip() and quotes % 2 == 0:
            return count
    return len(lines)


def _names(header: bytes) -> list[str]:
    reader = pa_csv.open_csv(pa.BufferReader(header.rstrip() + b"\n"))
    try:
        return list(reader.schema.names)
    finally:
        reader.close()


def _inferred(names: list[str], lines: list[bytes]) -> pa.RecordBatch:
    """Rows, with the types that Arrow infers."""
    refused: list[BadRow] = []
    batch = next((rows.batch for rows in Parser(names, {}, names, refused.append).rows(lines, 1)), None)
    fitting = 0 if batch is None else len(batch)
    if batch is None or fitting < len(refused):
        raise pa.ArrowInvalid(
            f"{len(refused)} of the first {len(refused) + fitting} rows are none. The first of them has "
            f"{refused[0].reason}: {str(refused[0].received)[:100]!r}"
        )
    return batch


def _type(inferred: pa.DataType, wanted: pa.DataType | None) -> pa.DataType:
    """How a column is parsed: floats in 64 bits, for a number beyond 32 shall be noticed."""
    if wanted is None:
        return pa.string() if pa.types.is_null(inferred) else inferred
    if _is_text(wanted):
        return pa.string()
    if pa.types.is_floating(wanted) and (pa.types.is_null(inferred) or pa.types.is_integer(inferred)):
        return pa.float64()
    return pa.int64() if pa.types.is_null(inferred) else inferred


def _can_become(column: pa.Array, wanted: pa.DataType) -> bool:
    """Whether all values can become what is wanted. Large whole numbers do not survive as floats."""
    if _is_text(wanted) or not pa.types.is_integer(wanted) or not pa.types.is_floating(column.type):
        return _is_text(wanted) or not _is_text(column.type)
    numbers = column.to_numpy(zero_copy_only=False)
    return bool(np.all(np.isnan(numbers) | ((np.floor(numbers) == numbers) & (np.abs(numbers) < _FIRST_INEXACT))))


def _column(name: str, names: list[str], lines: list[bytes]) -> pa.Array:
    """One column as it is written."""
    parser = Parser(names, {name: pa.binary()}, [name], lambda _: None)
    return next(rows.batch.column(0) for rows in parser.rows(lines, 1))


def _of_most(column: pa.Array, inferred: pa.DataType, wanted: pa.DataType) -> pa.DataType:
    """What most values are that are no text; text if all are."""
    values = column.unique()[:_ASKED_VALUES].to_pylist()
    row = b",".join(b'"' + value.replace(b'"', b'""') + b'"' for value in values)
    places = [str(place) for place in range(len(values))]
    alone = Parser(places, {}, places, lambda _: None).parse(row).schema.types  # each value is a column
    others = Counter(each for each in alone if not _is_text(each) and not pa.types.is_null(each))
    return _type(others.most_common(1)[0][0], wanted) if others else inferred


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))
