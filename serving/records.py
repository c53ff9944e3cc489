"""TFRecord files, read record by record."""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf


def read_records(path: str) -> Iterator[bytes]:
    """The records of an uncompressed TFRecord file.

    Raises:
        tf.errors.NotFoundError: There is no such file.
        tf.errors.DataLossError: The file is no TFRecord, or is cut off; what came before was yielded.
    """
    for record in tf.data.TFRecordDataset(path):
        yield record.numpy()
