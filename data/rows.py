"""What a reader hands on: rows that can be located in their file, and rows that do not fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa


@dataclass(frozen=True)
class Rows:
    """A batch of rows, each with its place in the file."""

    batch: pa.RecordBatch
    numbers: Sequence[int]
    """Of a CSV file the line, from 1, as an editor counts; of a Parquet file the row, from 0, as a table counts."""
    lines: Sequence[bytes] | None = None
    """Of a CSV file, as it was read."""

    def received(self, index: int) -> str | dict[str, Any]:
        """A row as it stands in the file: a line, or the values that were read."""
        if self.lines is not None:
            return as_text(self.lines[index])
        (values,) = self.batch.slice(index, 1).to_pylist()
        return dict(values)


@dataclass(frozen=True)
class BadRow:
    """A row that cannot become an example."""

    number: int
    """As in `Rows.numbers`."""
    column: str | None
    """None: the line as a whole is wrong."""
    reason: str
    value: str | None
    """The one that does not fit."""
    received: str | dict[str, Any]
    """As `Rows.received`."""


Refuse = Callable[[BadRow], None]
"""What a reader does with a row that does not fit, before it goes on with the next."""


def as_text(line: bytes) -> str:
    """A line without its end; a byte that is not UTF-8 is written as an escape."""
    return line.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
