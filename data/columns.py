"""The rows of a shard of examples once more, as a file of Arrow columns: what this project's own nodes read.

To parse tf.Examples takes twenty times as long as to read the same rows as columns, and five nodes read them. The file
is a third of the size of the shard, and lies outside the folders of the splits, so that whoever reads examples sees
nothing of it: `columns/Split-train/data.arrows` is of `Split-train/data.gz`. A shard without one is parsed.

A column is of the type that the examples hold (int64, float32 or binary), null where a feature is absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from storage.places import Place, at

_FOLDER = "columns"
_BATCH_BYTES = 32 << 20
_OPTIONS = pa.ipc.IpcWriteOptions(compression="zstd")


def columns_path(shard: str) -> str:
    """Where the columns of a shard are, or would be."""
    folder, split, name = shard.rsplit("/", 2)
    return f"{folder}/{_FOLDER}/{split}/{name.removesuffix('.gz')}.arrows"


class ColumnsWriter:
    """Writes a file of columns. All batches have the columns of the first, in any order."""

    def __init__(self, path: str) -> None:
        self._file = at(path).open("wb")
        self._writer: pa.ipc.RecordBatchStreamWriter | None = None

    def write(self, rows: pa.RecordBatch) -> None:
        """Writes rows, in batches of bounded size."""
        if self._writer is None:
            self._writer = pa.ipc.new_stream(self._file, rows.schema, options=_OPTIONS)
        most = max(1, len(rows) * _BATCH_BYTES // max(1, rows.nbytes))
        for start in range(0, len(rows), most):
            self._writer.write_batch(rows.slice(start, most))

    def close(self) -> None:
        """Ends the file; one of no rows is empty."""
        if self._writer is not None:
            self._writer.close()
        self._file.close()


def read_columns(shard: str, names: Sequence[str] | None = None) -> Iterator[pa.RecordBatch] | None:
    """The rows of a shard, in batches; None if its columns were not written.

    Args:
        shard: A gzipped TFRecord file of tf.Examples.
        names: The columns to read, those of them that are there; None: all.

    Raises:
        pa.ArrowInvalid: The file is damaged.
    """
    place = at(columns_path(shard))
    return _read(place, names) if place.exists() else None


def _read(place: Place, names: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    with place.open("rb") as file:
        if not place.stat().st_size:
            return
        kept = None
        if names is not None:
            schema = pa.ipc.open_stream(file).schema
            kept = [index for index, name in enumerate(schema.names) if name in names]
            file.seek(0)
        yield from pa.ipc.open_stream(file, options=pa.ipc.IpcReadOptions(included_fields=kept))


def as_lists(column: pa.Array) -> pa.LargeListArray:
    """A column as tfx_bsl's decoder gives it: lists of one value, null where a feature is absent."""
    is_absent = np.asarray(column.is_null())
    offsets = np.append(0, np.cumsum(~is_absent))
    values = column.drop_null()
    if pa.types.is_binary(values.type):
        values = values.cast(pa.large_binary())
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64(), mask=np.append(is_absent, False)), values)
