"""Rows that cannot become examples: put aside with their place and the reason, one file for each shard that has any.

A file holds a JSON object a line: `file`; `line` (CSV, from 1) or `row` (Parquet, from 0); `column` (null: the whole
line); `reason`; `value` as received; and `text` (CSV) or `values` (Parquet), the row itself.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from operator import itemgetter
from typing import Any

import tensorflow as tf

from data.readers import Block
from data.rows import BadRow
from schema.errors import DataError

FOLDER = "quarantine"
"""Below an Examples artifact, beside its splits, where nothing looks for examples."""
MOST_WRITTEN = 1000
"""Of a shard's bad rows, so that a file is bounded whatever was delivered. All are counted."""
_MOST_CHARACTERS = 4000
"""Of a row or a value; what is beyond is found by the line's number."""
_HOPELESS_ROWS = 10_000
"""From here on, if they are most rows so far, it is not a matter of rows, and to look at each takes hours."""
_TOLD_CHARACTERS = 60


class Quarantine:
    """The bad rows of one shard.

    Args:
        block: What is read.
    """

    def __init__(self, block: Block) -> None:
        self._block = block
        self._rows: list[dict[str, Any]] = []
        self.counts: Counter[str] = Counter()
        """By column; of lines that are wrong as a whole, by the empty name."""
        self.kept = 0
        """The rows that fit so far."""

    def add(self, row: BadRow) -> None:
        """Puts a row aside.

        Raises:
            DataError: Most rows do not fit.
        """
        self.counts[row.column or ""] += 1
        if (aside := self.counts.total()) > max(_HOPELESS_ROWS, self.kept):
            [(column, _)] = self.counts.most_common(1)
            first = next(each for each in self._rows if (each["column"] or "") == column)
            raise DataError(
                "Most rows of a file do not fit",
                where=self._block.path + (f", column {column!r}" if column else ""),
                expected="rows that fit the schema",
                received=f"{aside:,} that do not, and {self.kept:,} that do. One of them: {_tell(first)}",
                mend="Deliver the file again, or correct the schema.",
            )
        if len(self._rows) == MOST_WRITTEN:
            return
        is_csv = self._block.format == "csv"
        self._rows.append(
            {
                "file": self._block.path,
                "line" if is_csv else "row": row.number,
                "column": row.column,
                "reason": row.reason,
                "value": _plain(row.value),
                "text" if is_csv else "values": _plain(row.received),
            }
        )

    def write(self, temporary: str, final: str) -> None:
        """Writes a file in the order of the rows, whole or not at all; none if no row was put aside."""
        if not self._rows:
            return
        number = "line" if self._block.format == "csv" else "row"
        tf.io.gfile.makedirs(final.rpartition("/")[0])
        with tf.io.gfile.GFile(temporary, "w") as file:
            for row in sorted(self._rows, key=itemgetter(number)):
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        tf.io.gfile.rename(temporary, final, overwrite=True)


def tell_first(folder: str, split: str, most: int) -> list[str]:
    """The first rows of a split that were put aside, in words."""
    told: list[str] = []
    for path in sorted(tf.io.gfile.glob(f"{folder}/{split}-*.jsonl")):
        with tf.io.gfile.GFile(path) as file:
            for line in file:
                if len(told) == most:
                    return told
                told.append(_tell(json.loads(line)))
    return told


def _tell(row: dict[str, Any]) -> str:
    number = f"line {row['line']}" if "line" in row else f"row {row['row']}"
    column = f", column {row['column']!r}" if row["column"] is not None else ""
    value = f": {row['value'][:_TOLD_CHARACTERS]!r}" if row["value"] is not None else ""
    return f"{row['file']}, {number}{column}: {row['reason']}{value}"


def _plain(value: Any) -> Any:
    """As JSON can hold it, and not longer than anyone reads."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return text if len(text) <= _MOST_CHARACTERS else text[:_MOST_CHARACTERS] + "…"
