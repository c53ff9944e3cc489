"""Shards of examples by size: what a worker reads later is no larger than this, however large a file was delivered."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType

import pyarrow as pa
import tensorflow as tf

from data.columns import ColumnsWriter, columns_path

SHARD_BYTES = 256 << 20
"""Of serialized examples, before they are compressed, when the next file begins."""

_NAME = re.compile(r"[^/]*-(\d+)-of-\d+([^/]*)$")

_GZIP = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)


def shard_name(index: int, of: int, what: str = "data_tfrecord") -> str:
    """What the names of a shard's files begin with; of examples, if nothing else is said."""
    return f"{what}-{index:05d}-of-{of:05d}"


def index_of(path: str) -> int:
    """Of the shard that a file is of; 0 if its name does not say."""
    match = _NAME.search(path)
    return int(match.group(1)) if match else 0


def renamed(path: str, index: int, of: int) -> str:
    """The path of a file as one of another shard."""
    return _NAME.sub(lambda match: f"{shard_name(index, of)}{match.group(2)}", path)


class ShardWriter:
    """Writes gzipped TFRecords of examples, and their columns, under other names until all is whole.

    The files are `{stem}.gz`, `{stem}.part-00001.gz` and so on: of the same examples, the same. Each has its columns,
    see `data.columns`.

    Args:
        temporary: A folder of unfinished files, in the same file system.
        stem: Of the paths.
    """

    def __init__(self, temporary: str, stem: str) -> None:
        self._temporary = temporary
        self._stem = stem
        self._unfinished: list[str] = []
        self._bytes = 0

    def __enter__(self) -> ShardWriter:
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._part.__exit__(kind, error, trace)

    def write(self, examples: Sequence[bytes], columns: pa.RecordBatch) -> None:
        """Writes serialized examples, and the columns that they are of."""
        start = 0
        for index, example in enumerate(examples):
            if self._bytes >= SHARD_BYTES:
                self._columns.write(columns.slice(start, index - start))
                start = index
                self._part.close()
                self._begin()
            self._writer.write(example)
            self._bytes += len(example)
        self._columns.write(columns.slice(start))

    def publish(self) -> list[str]:
        """Gives the closed files their names; returned are those of the examples."""
        parts = ["", *(f".part-{part:05d}" for part in range(1, len(self._unfinished)))]
        finals = [f"{self._stem}{part}.gz" for part in parts]
        for path in (self._stem, columns_path(self._stem)):
            tf.io.gfile.makedirs(path.rpartition("/")[0])
        # Examples last: they tell that all of a shard is there.
        for unfinished, final in zip(self._unfinished, finals, strict=True):
            tf.io.gfile.rename(_columns_of(unfinished), columns_path(final), overwrite=True)
            tf.io.gfile.rename(unfinished, final, overwrite=True)
        return finals

    def _begin(self) -> None:
        self._part, self._bytes = ExitStack(), 0
        self._unfinished.append(f"{self._temporary}/{uuid.uuid4().hex}")
        self._writer = self._part.enter_context(tf.io.TFRecordWriter(self._unfinished[-1], _GZIP))
        self._columns = self._part.enter_context(ColumnsWriter(_columns_of(self._unfinished[-1])))


def _columns_of(unfinished: str) -> str:
    return f"{unfinished}.arrow"
