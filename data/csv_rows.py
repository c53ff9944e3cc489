"""Lines of CSV → rows; a row that does not fit is refused by itself.

Arrow parses all lines at once, and stops at the first row that is wrong. Only then are they looked at again: told apart
by Python's reader, which knows a quote that is never closed, and halved until each row that Arrow does not read is
alone. So Arrow alone decides what fits, and good lines cost nothing more.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.csv as pa_csv

from data.rows import BadRow, Refuse, Rows, as_text

_OPEN_QUOTE = "a quote that is opened in this line is not closed"
_WRONG_VALUE = re.compile(r"In CSV column #(\d+): (?:Row #\d+: )?CSV conversion error to ([^:]+): (.*)", re.DOTALL)
_KINDS = {"int64": "a whole number", "double": "a number", "bool": "true or false", "string": "text in UTF-8"}


class Record(NamedTuple):
    """The lines that are one row."""

    line: int
    """The first one, from 1."""
    text: bytes


class Parser:
    """Lines → rows, by Arrow.

    Args:
        names: The columns, in the order of the file.
        types: The types of some of them.
        columns: Those that are read.
        refuse: Is given each row that does not fit.
    """

    def __init__(self, names: list[str], types: dict[str, pa.DataType], columns: list[str], refuse: Refuse) -> None:
        self._names = names
        self._options = pa_csv.ConvertOptions(column_types=types, include_columns=columns)
        self._refuse = refuse

    def rows(self, lines: Sequence[bytes], first_line: int) -> Iterator[Rows]:
        """The rows that fit, in one batch, or none.

        Args:
            lines: With their ends.
            first_line: The number of the first one.
        """
        block = b"".join(lines)
        try:
            batch = self.parse(block) if block.count(b'"') % 2 == 0 else None
        except pa.ArrowInvalid:
            batch = None
        if batch is not None and len(batch) == len(lines):
            yield Rows(batch, range(first_line, first_line + len(lines)), lines)
        elif records := self._fitting(_records(lines, first_line, len(self._names), self._refuse)):
            texts = [record.text for record in records]
            yield Rows(self.parse(b"".join(texts)), [record.line for record in records], texts)

    def _fitting(self, records: list[Record]) -> list[Record]:
        """Those that Arrow reads, each as one row; the others are refused."""
        if not records:
            return []
        try:
            if len(self.parse(b"".join(record.text for record in records))) == len(records):
                return records
            told = "its quotes are not those of one row"
        except pa.ArrowInvalid as error:
            told = str(error)
        if len(records) == 1:
            self._refuse(self._bad(records[0], told))
            return []
        half = len(records) // 2
        return self._fitting(records[:half]) + self._fitting(records[half:])

    def parse(self, text: bytes) -> pa.RecordBatch:
        """The rows of a text, with the types that were given, or else those that Arrow infers.

        By `open_csv`, since `read_csv` asks Python's garbage collector who refers to its frame: a tenth of a second.

        Raises:
            pa.ArrowInvalid: A row does not fit.
        """
        options = pa_csv.ReadOptions(column_names=self._names, use_threads=False, block_size=len(text) + 1)
        reader = pa_csv.open_csv(pa.BufferReader(text), read_options=options, convert_options=self._options)
        try:
            batches = list(reader)  # of a text that is shorter than a block: one
        finally:
            reader.close()
        return batches[0] if batches else pa.RecordBatch.from_pylist([], reader.schema)

    def _bad(self, record: Record, told: str) -> BadRow:
        text = as_text(record.text)
        if match := _WRONG_VALUE.search(told):
            index, kind, detail = match.groups()
            value = re.search("'(.*)'", detail, re.DOTALL)
            reason = f"not {_KINDS.get(kind, kind)}"
            return BadRow(record.line, self._names[int(index)], reason, value.group(1) if value else None, text)
        return BadRow(record.line, None, told, None, text)


def _records(lines: Sequence[bytes], first_line: int, fields: int, refuse: Refuse) -> list[Record]:
    """The rows among lines, without the empty ones.

    Refused are a line that opens a quote and never closes it, and a row of another number of fields.
    """
    records: list[Record] = []
    source = _Lines(lines)
    reader = csv.reader(source, strict=True)
    while True:
        start = source.position
        try:
            received = len(next(reader))
        except StopIteration:
            return records
        except csv.Error:
            if source.is_over or source.position > start + 1:
                refuse(BadRow(first_line + start, None, _OPEN_QUOTE, None, as_text(lines[start])))
                source.go_to(start + 1)
                continue
            received = fields  # in one line, what this reader does not like is for Arrow to decide
        record = Record(first_line + start, b"".join(lines[start : source.position]))
        if received == fields:
            records.append(record)
        elif received:
            reason = f"{received} fields, not {fields} as in the header"
            refuse(BadRow(record.line, None, reason, None, as_text(record.text)))


csv.field_size_limit(1 << 30)  # of the process; else a long value of several lines is taken for an open quote


class _Lines:
    """Lines as text that can be read again. Only their structure matters, so every byte is a character."""

    def __init__(self, lines: Sequence[bytes]) -> None:
        self._lines = lines
        self.go_to(0)

    def go_to(self, position: int) -> None:
        """The line that comes next."""
        self.position, self.is_over = position, False

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if self.position == len(self._lines):
            self.is_over = True
            raise StopIteration
        self.position += 1
        return self._lines[self.position - 1].decode("latin-1")
