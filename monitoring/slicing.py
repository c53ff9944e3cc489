"""Quality by slice: the rows that share a value of a column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from monitoring.quality import BinaryCounts, Moments, RegressionCounts

ALL_EXAMPLES = "all examples"

QualityCounts = BinaryCounts | RegressionCounts
QualityBySlice = dict[str, QualityCounts]
"""By slice (`origin=JFK`), and of `ALL_EXAMPLES`."""


def quality_by_slice(
    rows: pa.RecordBatch, scores: np.ndarray, labels: np.ndarray, slices: Sequence[str], task: str
) -> QualityBySlice:
    """The counts of all rows, and of each value of each slicing column.

    Args:
        rows: See `monitoring.rows`.
        scores: float64 [rows].
        labels: float64 [rows], NaN where unknown.
        slices: Columns of `rows`.
        task: `binary` or `regression`.
    """
    kind: type[BinaryCounts] | type[RegressionCounts] = BinaryCounts if task == "binary" else RegressionCounts
    found: QualityBySlice = {ALL_EXAMPLES: kind.of(scores, labels)}
    for name in slices:
        column = rows.column(name).dictionary_encode()
        indices = np.asarray(column.indices.fill_null(-1))
        for index, value in enumerate(column.dictionary.to_pylist()):
            chosen = indices == index
            add_quality(found, {f"{name}={_text(value)}": kind.of(scores[chosen], labels[chosen])})
    return found


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(int(value)) if value.is_integer() else f"{value:g}"


def add_quality(total: QualityBySlice, more: QualityBySlice) -> None:
    """Adds counts, slice by slice, to `total`."""
    for name, counts in more.items():
        total[name] = total[name] + counts if name in total else counts  # type: ignore[operator]


def loss_of(scores: np.ndarray, labels: np.ndarray, task: str) -> Moments:
    """The labelled rows' log loss, or squared error: scores and labels float64 [rows], NaN where unknown."""
    if task == "binary":
        return BinaryCounts.of(scores, labels).log_loss
    return RegressionCounts.of(scores, labels).squared_errors
