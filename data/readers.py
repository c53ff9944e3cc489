"""Reads a source's files as Arrow record batches, block by block.

A block is what one worker reads at a time: a row group of a Parquet file, or a whole CSV file (streamed, see
`data.csv_files`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from data.csv_files import find_layout, read_csv
from data.rows import BadRow, Refuse, Rows
from schema.errors import DataError

Format = Literal["parquet", "csv"]
_BATCH_ROWS = 1 << 14
_OPEN_HEADERS = 16
"""At once: in a bucket a header takes a while to come, and hardly any work."""

_MEND = "Deliver the file again, or move it out of the source's path."


@dataclass(frozen=True)
class Block:
    """A part of a file: a Parquet row group, or all of a CSV file."""

    path: str
    format: Format
    row_group: int = 0


@dataclass(frozen=True)
class FileInfo:
    """What a file says of itself without being read through. A CSV file's types are those it will be parsed with."""

    path: str
    columns: dict[str, pa.DataType]
    is_empty: bool
    blocks: tuple[Block, ...]


def inspect(path: str, format: Format, types: dict[str, pa.DataType] | None = None) -> FileInfo:
    """Reads a file's header (CSV: its first megabyte).

    Args:
        path: The file.
        format: Its format.
        types: As for `read`.

    Raises:
        DataError: The file cannot be opened, or is not of this format.
    """
    with _opened(path, format) as file:
        if format == "parquet":
            parquet = pq.ParquetFile(file)
            names, kinds = parquet.schema_arrow.names, parquet.schema_arrow.types
            columns = dict(zip(names, kinds, strict=True))
            repeated = tuple(sorted({name for name in names if names.count(name) > 1}))
            is_empty = parquet.metadata.num_rows == 0
            blocks = tuple(Block(path, format, group) for group in range(parquet.metadata.num_row_groups))
        else:
            layout = find_layout(file, types or {})
            columns, repeated, is_empty = layout.types, layout.repeated, layout.is_empty
            blocks = (Block(path, format),)
    if repeated:
        raise DataError("A source file repeats columns", where=path, received=", ".join(repeated), mend=_MEND)
    return FileInfo(path, columns, is_empty, blocks)


def inspect_all(paths: Sequence[str], format: Format, types: dict[str, pa.DataType] | None = None) -> list[FileInfo]:
    """Reads the headers of files, several at once; the order is that of the files.

    Args:
        paths: The files.
        format: As for `inspect`.
        types: As for `read`.

    Raises:
        DataError: As `inspect`, of the first file that has one.
    """
    with ThreadPoolExecutor(_OPEN_HEADERS, "headers") as pool:
        return list(pool.map(partial(inspect, format=format, types=types), paths))


def read(block: Block, columns: list[str], types: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    """The block's rows, in batches of bounded size, every one of which must fit.

    Args:
        block: What to read.
        columns: The columns to read; others are not even decoded.
        types: The tf.Example type of each column. A CSV column of text or floating-point numbers is parsed as such;
            whole numbers and times are what Arrow infers. A Parquet file brings its own types.

    Raises:
        DataError: The file is damaged, a line of a CSV file has not as many fields as its header, or a value is not of
            its column's type.
    """
    for rows in read_rows(block, columns, types, partial(_raise, block)):
        yield rows.batch


def read_rows(block: Block, columns: list[str], types: dict[str, pa.DataType], refuse: Refuse) -> Iterator[Rows]:
    """As `read`, with the place of each row; a row that does not fit is given to `refuse` instead.

    Raises:
        DataError: The file is damaged.
    """
    with _opened(block.path, block.format) as file:
        if block.format == "parquet":
            yield from _parquet_rows(pq.ParquetFile(file), block.row_group, columns)
        else:
            layout = find_layout(file, types)
            yield from read_csv(file, layout, columns, refuse)


def _parquet_rows(parquet: pq.ParquetFile, row_group: int, columns: list[str]) -> Iterator[Rows]:
    row = sum(parquet.metadata.row_group(group).num_rows for group in range(row_group))
    for batch in parquet.iter_batches(_BATCH_ROWS, row_groups=[row_group], columns=columns):
        yield Rows(batch, range(row, row + len(batch)))
        row += len(batch)


def _raise(block: Block, row: BadRow) -> None:
    where = f"line {row.number}" if row.column is None else f"line {row.number}, column {row.column!r}"
    raise DataError(
        f"A source file cannot be read as {block.format}",
        where=block.path,
        expected="rows that fit their columns",
        received=f"{where}: {row.reason}: {str(row.received if row.value is None else row.value)[:200]!r}",
        mend=_MEND,
    )


@contextmanager
def _opened(path: str, format: Format) -> Iterator[BinaryIO]:
    try:
        with FileSystems.open(path, mime_type="application/octet-stream", compression_type="uncompressed") as file:
            yield file
    except FileNotFoundError:
        raise DataError("A source file has vanished", where=path, mend=_MEND) from None
    except (pa.ArrowException, OSError, BeamIOError, UnicodeDecodeError) as error:
        raise DataError(
            f"A source file cannot be read as {format}",
            where=path,
            expected=f"a whole {format} file",
            received=" ".join(str(error).split())[:300],
            mend=_MEND,
        ) from None
