"""Which split a row belongs to, where time does not say: a hash of what its example holds."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from itertools import accumulate

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def hashed_splits(rows: pa.RecordBatch, known: Collection[str], buckets: dict[str, int]) -> np.ndarray:
    """The split of each row: int64 [rows], an index into `buckets`.

    BLAKE2 of the names and values that the row's example holds, sorted by name; what is missing has no part in it, nor
    has a column that the schema does not know. So the same row is in the same split whatever file, format, batch or
    order of columns it comes in, and a column that a row has no value of does not move it. (The encoded example cannot
    be hashed: tfx_bsl writes features in no fixed order.)

    Args:
        rows: As `data.encoding.held` gives them.
        known: The columns that count. If none of them is there, all do.
        buckets: The share of each split.
    """
    counted = sorted(set(rows.schema.names).intersection(known) or rows.schema.names)
    texts = [_as_bytes(name, rows.column(rows.schema.get_field_index(name))) for name in counted]
    joined = pc.binary_join_element_wise(*texts, b"\0", null_handling="skip")
    bounds = list(accumulate(buckets.values()))
    hashes = (hashlib.blake2b(row, digest_size=8).digest() for row in joined.to_pylist())
    numbers = np.fromiter((int.from_bytes(each, "big") % bounds[-1] for each in hashes), np.int64, len(rows))
    return np.searchsorted(bounds, numbers, side="right")


def _as_bytes(name: str, values: pa.Array) -> pa.Array:
    """`name=value` for each row, null where it is missing. A number's value is its bits: no digits, no rounding."""
    if pa.types.is_floating(values.type):
        absent = np.asarray(values.is_null())
        positive_zero = values.to_numpy(zero_copy_only=False) + np.float32(0)
        values = pa.array(positive_zero.view(np.int32), mask=absent)
    if pa.types.is_integer(values.type):
        values = pc.cast(pc.cast(values, pa.string()), pa.binary())
    return pc.binary_join_element_wise(pa.scalar(f"{name}=".encode()), values, b"")
