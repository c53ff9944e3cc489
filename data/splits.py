"""Which split a row belongs to, where time does not say: a hash of what its example holds."""

from __future__ import annotations

import hashlib
from itertools import accumulate

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data.encoding import convert


def hashed_splits(
    batch: pa.RecordBatch, wanted: dict[str, pa.DataType], buckets: dict[str, int], where: str
) -> np.ndarray:
    """The split of each row: int64 [rows], an index into `buckets`.

    BLAKE2 of the names and values that the row's example holds, sorted by name; what is missing has no part in it, nor
    has a column that the schema does not know. So the same row is in the same split whatever file, format, batch or
    order of columns it comes in, and a column that a row has no value of does not move it. (The encoded example cannot
    be hashed: tfx_bsl writes features in no fixed order.)

    Args:
        batch: Rows, as for `data.encoding.encode`.
        wanted: As for `encode`. If it names no column that is there, all count.
        buckets: The share of each split.
        where: The file, for error messages.

    Raises:
        DataError: As `encode`.
    """
    known = set(batch.schema.names).intersection(wanted) or batch.schema.names
    texts = [
        _as_bytes(name, *convert(batch.column(batch.schema.get_field_index(name)), name, wanted.get(name), where))
        for name in sorted(known)
    ]
    rows = pc.binary_join_element_wise(*texts, b"\0", null_handling="skip")
    bounds = list(accumulate(buckets.values()))
    hashes = (hashlib.blake2b(row, digest_size=8).digest() for row in rows.to_pylist())
    numbers = np.fromiter((int.from_bytes(each, "big") % bounds[-1] for each in hashes), np.int64, len(batch))
    return np.searchsorted(bounds, numbers, side="right")


def _as_bytes(name: str, values: pa.Array, present: np.ndarray) -> pa.Array:
    """`name=value` for each row, null where it is missing. A number's value is its bits: no digits, no rounding."""
    if pa.types.is_floating(values.type):
        positive_zero = np.asarray(values) + np.float32(0)
        values = pa.array(positive_zero.view(np.int32))
    if pa.types.is_integer(values.type):
        values = pc.cast(pc.cast(values, pa.string()), pa.binary())
    places = pa.array(np.cumsum(present) - 1, mask=~present)
    return pc.binary_join_element_wise(pa.scalar(f"{name}=".encode()), values.take(places), b"")
