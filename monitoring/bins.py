"""The bins in which a feature's values are counted: the same for the reference and for what is compared with it.

A number is counted in bins that hold equal shares of the training rows (or value by value, if it takes few), a
category by its frequent values, a time by its hour of the day and its day of the week: a date never repeats, so its
distribution says nothing. What is missing and what was never seen in training is counted apart.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.features import Feature, Role
from monitoring.relations import Columns, Relation

MISSING = "(missing)"
UNSEEN = "(never seen in training)"
OTHER = "(other known values)"

_NUMBER_BINS = 20
_FREQUENT = 60
_FEW_VALUES = 24
_SAME = 1e-5
"""Relative: a float32 and the number that it was are the same value."""
_LARGEST = 1e300
"""Edges are computed as if no value were beyond: sums of two stay finite."""
_END_OF_TIME = 2.0**62
"""Seconds: no time is beyond."""
_STEP = 0.25
"""Standard deviations of a feature: the width of a relation's narrowest bin. A relation is never quite linear: what it
leaves moves a little with every season, and a fault moves it a lot."""
_HOUR = 3600
_DAY = 24 * _HOUR
_THURSDAY = 3
"""Of 1970-01-01, counted from Monday."""
HOURS = tuple(f"{hour}:00" for hour in range(24))
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


class Kind(str, Enum):
    """How an aspect's bins relate."""

    NUMBERS = "numbers"
    """Edges, in order."""
    VALUES = "values"
    """Numbers that take few values: each is a bin."""
    CATEGORIES = "categories"
    HOURS = "hour of day"
    WEEKDAYS = "day of week"
    RELATION = "relation to other features"
    """Edges, in order, of what a prediction from the row's other numbers leaves (`monitoring.relations`)."""


_ORDERED = (Kind.NUMBERS, Kind.RELATION)


@dataclass(frozen=True)
class Bins:
    """The bins of one aspect of one feature. The last two of every count are `UNSEEN` and `MISSING`."""

    feature: str
    kind: Kind
    edges: tuple[float, ...] = ()
    """NUMBERS: a value at an edge is in the bin above it; the first and the last bins are outside the training rows."""
    values: tuple[str, ...] = ()
    """VALUES and CATEGORIES: the value of each bin, as text."""
    others: tuple[str, ...] = ()
    """CATEGORIES: known values that share the bin `OTHER`."""
    relation: Relation | None = None
    """RELATION: what is counted."""

    def column(self, rows: pa.RecordBatch) -> pa.Array | None:
        """What is counted of some rows (see `monitoring.rows`); None if they lack a column."""
        needed = self.relation.columns if self.relation else (self.feature,)
        if not set(needed) <= set(rows.schema.names):
            return None
        if self.relation is None:
            return rows.column(self.feature)
        columns = {name: np.asarray(rows.column(name).fill_null(np.nan), np.float64) for name in needed}
        return pa.array(self.relation.residuals(columns), from_pandas=True)

    @property
    def labels(self) -> tuple[str, ...]:
        """What each count is of."""
        return (*self._labels(), UNSEEN, MISSING)

    def _labels(self) -> tuple[str, ...]:
        if self.kind in _ORDERED:
            between = (f"{low:.6g} to {high:.6g}" for low, high in itertools.pairwise(self.edges))
            return (f"below {self.edges[0]:.6g}", *between, f"above {self.edges[-1]:.6g}")
        if self.kind is Kind.HOURS:
            return HOURS
        if self.kind is Kind.WEEKDAYS:
            return WEEKDAYS
        return (*self.values, OTHER) if self.kind is Kind.CATEGORIES else self.values

    def indices(self, column: pa.Array) -> np.ndarray:
        """The bin of each row: int64 [rows], an index into `labels`."""
        size = len(self.labels)
        present = np.asarray(pc.is_valid(column))
        found = np.full(len(column), size - 1, np.int64)
        found[present] = self._of_present(column.filter(pa.array(present)), size - 2)
        return found

    def _of_present(self, column: pa.Array, unseen: int) -> np.ndarray:
        if self.kind is Kind.CATEGORIES:
            return self._of_categories(column, unseen)
        numbers = np.asarray(column, np.float64)
        if self.kind in _ORDERED:
            return np.asarray(np.searchsorted(np.asarray(self.edges), numbers, side="right"))
        if self.kind is Kind.VALUES:
            return self._of_values(numbers, unseen)
        is_time = np.abs(numbers) < _END_OF_TIME
        whole = np.floor(np.where(is_time, numbers, 0)).astype(np.int64)
        place = whole // _HOUR % 24 if self.kind is Kind.HOURS else (whole // _DAY + _THURSDAY) % 7
        return np.where(is_time, place, unseen)

    def _of_values(self, numbers: np.ndarray, unseen: int) -> np.ndarray:
        known = np.asarray([float(value) for value in self.values])
        place = np.minimum(np.searchsorted(known, numbers), len(known) - 1)
        with np.errstate(invalid="ignore"):  # infinity less infinity: not nearer
            place -= (place > 0) & (np.abs(known[place - 1] - numbers) < np.abs(known[place] - numbers))
        return np.where(np.isclose(known[place], numbers, rtol=_SAME, atol=0), place, unseen)

    def _of_categories(self, column: pa.Array, unseen: int) -> np.ndarray:
        place = pc.index_in(column, self._known)
        count = len(self.values)
        target = np.concatenate([np.arange(count), np.full(len(self.others), count), [unseen]])
        return np.asarray(target[np.asarray(pc.fill_null(place, len(self._known)))])

    @cached_property
    def _known(self) -> pa.Array:
        return pa.array([bytes_of(each) for each in (*self.values, *self.others)], pa.binary())


_LOSSLESS = ("utf-8", "surrogateescape")


def text_of(value: bytes) -> str:
    """A category's value as text that keeps every byte."""
    return value.decode(*_LOSSLESS)


def bytes_of(text: str) -> bytes:
    """The inverse of `text_of`."""
    return text.encode(*_LOSSLESS)


def readable(text: str) -> str:
    """What `text_of` gives as text that can be written as UTF-8, for people."""
    return bytes_of(text).decode("utf-8", "replace")


def number_bins(feature: str, values: np.ndarray) -> Bins:
    """Bins of a number, from a sample of the training rows.

    Args:
        feature: Its name.
        values: Present values, float64 [rows], of any order.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= _FEW_VALUES:
        return Bins(feature, Kind.VALUES, values=tuple(repr(float(value)) for value in distinct))
    frequent = counts > len(values) / _NUMBER_BINS  # a value with a bin's worth of rows gets a bin of its own
    ranks = np.searchsorted(np.cumsum(counts), np.arange(1, _NUMBER_BINS) * len(values) / _NUMBER_BINS)
    starts = np.unique(np.concatenate([[0], ranks, np.flatnonzero(frequent), np.flatnonzero(frequent) + 1]))
    return Bins(feature, Kind.NUMBERS, edges=tuple(_between(distinct)[np.append(starts[starts < len(distinct)], -1)]))


def _between(distinct: np.ndarray) -> np.ndarray:
    """Edges halfway between neighbouring values, so that a rounded value stays in its bin: [values + 1]."""
    finite = np.clip(distinct, -_LARGEST, _LARGEST)
    middle = (finite[1:] + finite[:-1]) / 2
    return np.concatenate([[2 * finite[0] - middle[0]], middle, [2 * finite[-1] - middle[-1]]])


def relation_bins(relation: Relation, columns: Columns) -> Bins:
    """Bins of what a relation leaves of a sample of the training rows; none is narrower than a step.

    Args:
        relation: What is counted.
        columns: The sample.
    """
    left = relation.residuals(columns)
    ranks = np.linspace(0, 1, _NUMBER_BINS + 1)
    quantiles = np.round(np.quantile(left[np.isfinite(left)], ranks, method="inverted_cdf") / _STEP)
    edges = np.unique(np.append(quantiles - 0.5, quantiles[-1] + 0.5)) * _STEP
    return Bins(relation.feature, Kind.RELATION, edges=tuple(edges.tolist()), relation=relation)


def category_bins(feature: str, counts: dict[bytes, int]) -> Bins:
    """Bins of a category, from its values in the training rows.

    Args:
        feature: Its name.
        counts: Value → rows.
    """
    known = [text_of(value) for value in sorted(counts, key=lambda value: (-counts[value], value))]
    return Bins(feature, Kind.CATEGORIES, values=tuple(known[:_FREQUENT]), others=tuple(known[_FREQUENT:]))


def time_bins(feature: str) -> list[Bins]:
    """Bins of a time: by hour and by weekday (UTC, or the wall clock's if the column has no zone)."""
    return [Bins(feature, Kind.HOURS), Bins(feature, Kind.WEEKDAYS)]


def is_time(feature: Feature) -> bool:
    """Whether a feature is a time."""
    return feature.role is Role.TIME
