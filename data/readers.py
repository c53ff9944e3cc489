"""Reads a source's files as Arrow record batches, block by block.

A block is what one worker reads at a time: a row group of a Parquet file, or a whole CSV file (streamed).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Literal

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from apache_beam.io.filesystem import BeamIOError
from apache_beam.io.filesystems import FileSystems

from schema.errors import DataError

Format = Literal["parquet", "csv"]
_HEAD_BYTES = 1 << 20
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
    """What a file says of itself without being read through. A CSV file's types are those Arrow infers."""

    path: str
    columns: dict[str, pa.DataType]
    is_empty: bool
    blocks: tuple[Block, ...]


def inspect(path: str, format: Format, types: dict[str, pa.DataType] | None = None) -> FileInfo:
    """Reads a file's header (CSV: its first block).

    Args:
        path: The file.
        format: Its format.
        types: As for `read`.

    Raises:
        DataError: The file cannot be opened, is not of this format, or a value in its first block has a wrong type.
    """
    with _opened(path, format) as file:
        if format == "parquet":
            parquet = pq.ParquetFile(file)
            schema, rows = parquet.schema_arrow, parquet.metadata.num_rows
            blocks = tuple(Block(path, format, group) for group in range(parquet.metadata.num_row_groups))
        else:
            head = _csv_head(file)
            table = pa_csv.read_csv(pa.BufferReader(head), convert_options=_csv_options(head, types or {}))
            schema, rows = table.schema, len(table)
            blocks = (Block(path, format),)
    repeated = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if repeated:
        raise DataError("A source file repeats columns", where=path, received=", ".join(repeated), mend=_MEND)
    return FileInfo(path, dict(zip(schema.names, schema.types, strict=True)), rows == 0, blocks)


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
    """The block's rows, in batches of bounded size.

    Args:
        block: What to read.
        columns: The columns to read; others are not even decoded.
        types: The tf.Example type of each column. A CSV column of text or floating-point numbers is parsed as such;
            whole numbers and times are what Arrow infers. A Parquet file brings its own types.

    Raises:
        DataError: The file is damaged, or a CSV value is not of its column's type.
    """
    with _opened(block.path, block.format) as file:
        if block.format == "parquet":
            yield from pq.ParquetFile(file).iter_batches(_BATCH_ROWS, row_groups=[block.row_group], columns=columns)
        else:
            options = _csv_options(_csv_head(file), types, columns)
            file.seek(0)
            reader = pa_csv.open_csv(file, convert_options=options)
            try:
                yield from reader
            finally:
                reader.close()  # else its destructor waits, with Python's lock, for a thread that needs it to read


def _csv_head(file: BinaryIO) -> bytes:
    """The lines that Arrow infers types from, read without the threads that it starts for a whole file."""
    head = file.read(_HEAD_BYTES)
    return head if len(head) < _HEAD_BYTES or b"\n" not in head else head[: head.rindex(b"\n") + 1]


def _csv_options(head: bytes, types: dict[str, pa.DataType], columns: list[str] | None = None) -> pa_csv.ConvertOptions:
    """Column types that do not depend on what the first lines happen to lack."""
    inferred = pa_csv.read_csv(pa.BufferReader(head)).schema
    forced = {
        name: each
        for name, each in types.items()
        if not pa.types.is_integer(each) or (name in inferred.names and pa.types.is_null(inferred.field(name).type))
    }
    return pa_csv.ConvertOptions(include_columns=columns, column_types=forced)


@contextmanager
def _opened(path: str, format: Format) -> Iterator[BinaryIO]:
    try:
        with FileSystems.open(path, mime_type="application/octet-stream", compression_type="uncompressed") as file:
            yield file
    except FileNotFoundError:
        raise DataError("A source file has vanished", where=path, mend=_MEND) from None
    except (pa.ArrowException, OSError, BeamIOError) as error:
        raise DataError(
            f"A source file cannot be read as {format}",
            where=path,
            expected=f"a whole {format} file",
            received=" ".join(str(error).split())[:300],
            mend=_MEND,
        ) from None
