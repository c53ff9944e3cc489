"""The rows of a shard of examples once more, as a file of Arrow columns: what this project's own nodes read.

To parse tf.Examples takes twenty times as long as to read the same rows as columns. The file is a third of the size of
the shard, and lies outside the folders of the splits, so that whoever reads examples sees nothing of it:
`columns/Split-train/data.arrow` is of `Split-train/data.gz`. A shard without one is parsed.

A column is of the type that the examples hold (`ARROW_TYPES`), null where a feature is absent. The format is Arrow's
IPC file (https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format): if it is cut off, its footer is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType

import numpy as np
import pyarrow as pa
from tensorflow_metadata.proto.v0 import schema_pb2

from storage.places import Place, at

ARROW_TYPES: dict[int, pa.DataType] = {
    schema_pb2.INT: pa.int64(),
    schema_pb2.FLOAT: pa.float32(),
    schema_pb2.BYTES: pa.binary(),
}
"""The Arrow type of each feature type of the schema; tf.Example knows no others."""

_FOLDER = "columns"
_BATCH_BYTES = 32 << 20
_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


def columns_path(shard: str) -> str:
    """Where the columns of a shard are, or would be."""
    folder, split, name = shard.rsplit("/", 2)
    return f"{folder}/{_FOLDER}/{split}/{name.removesuffix('.gz')}.arrow"


class ColumnsWriter:
    """A context in which a file of columns is written."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._opened = ExitStack()
        self._writer: pa.ipc.RecordBatchFileWriter | None = None

    def __enter__(self) -> ColumnsWriter:
        self._file = self._opened.enter_context(at(self._path).open("wb"))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._opened:
            if self._writer is None and error is None:
                self._begin(pa.schema([]))

    def write(self, rows: pa.RecordBatch) -> None:
        """Writes rows, in batches of bounded size.

        Raises:
            pa.ArrowInvalid: They have not the schema of the first ones.
        """
        writer = self._writer or self._begin(rows.schema)
        most = max(1, len(rows) * _BATCH_BYTES // max(1, rows.nbytes))
        for start in range(0, len(rows), most):
            writer.write_batch(rows.slice(start, most))

    def _begin(self, schema: pa.Schema) -> pa.ipc.RecordBatchFileWriter:
        self._writer = self._opened.enter_context(pa.ipc.new_file(self._file, schema, options=_OPTIONS))
        return self._writer


def read_columns(shard: str, names: Sequence[str] | None = None) -> Iterator[pa.RecordBatch] | None:
    """The rows of a shard, in batches; None if its columns were not written.

    Args:
        shard: A gzipped TFRecord file of tf.Examples.
        names: The columns to read: those of them that are there; all, if none of them is. None: all.

    Raises:
        pa.ArrowInvalid: The file is damaged.
        OSError: A part of it is missing.
    """
    place = at(columns_path(shard))
    return _read(place, names) if place.exists() else None


def _read(place: Place, names: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    with place.open("rb") as file:
        reader = pa.ipc.open_file(file)
        if names is not None:
            kept = [index for index, name in enumerate(reader.schema.names) if name in names]
            reader = pa.ipc.open_file(file, options=pa.ipc.IpcReadOptions(included_fields=kept))
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)


def as_lists(column: pa.Array) -> pa.LargeListArray:
    """A column as tfx_bsl's decoder gives it: lists of one value, null where a feature is absent."""
    is_absent = np.asarray(column.is_null())
    offsets = np.append(0, np.cumsum(~is_absent))
    values = column.drop_null()
    if pa.types.is_binary(values.type):
        values = values.cast(pa.large_binary())
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64(), mask=np.append(is_absent, False)), values)
