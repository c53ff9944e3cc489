"""Shards of examples by size: what a worker reads later is no larger than this, however large a file was delivered."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from types import TracebackType

import tensorflow as tf

SHARD_BYTES = 256 << 20
"""Of serialized examples, before they are compressed, when the next file begins."""

_GZIP = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=1)


class ShardWriter:
    """Writes gzipped TFRecords of examples under other names, and gives them theirs when all are whole.

    The files are `{stem}.gz`, `{stem}.part-00001.gz` and so on: of the same examples, the same.

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
        self._writer.close()

    def write(self, examples: Sequence[bytes]) -> None:
        """Writes serialized examples."""
        for example in examples:
            if self._bytes >= SHARD_BYTES:
                self._writer.close()
                self._begin()
            self._writer.write(example)
            self._bytes += len(example)

    def publish(self) -> list[str]:
        """Gives the closed files their names, which are returned."""
        tf.io.gfile.makedirs(self._stem.rpartition("/")[0])
        parts = ["", *(f".part-{part:05d}" for part in range(1, len(self._unfinished)))]
        finals = [f"{self._stem}{part}.gz" for part in parts]
        for unfinished, final in zip(self._unfinished, finals, strict=True):
            tf.io.gfile.rename(unfinished, final, overwrite=True)
        return finals

    def _begin(self) -> None:
        self._unfinished.append(f"{self._temporary}/{uuid.uuid4().hex}")
        self._writer = tf.io.TFRecordWriter(self._unfinished[-1], _GZIP)
        self._bytes = 0
