"""What a diagnosis is made from, a summary of a feature's values, and what it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

MOST_NUMBERS = 50
"""So many of a number's most frequent values are kept."""
MOST_TEXTS = 10_000
"""So many of a categorical feature's most frequent values are kept."""

_LARGEST = 1e30
"""Whatever is computed with values up to this, and their inverses, is finite."""


@dataclass(frozen=True)
class Diagnosis:
    """What a change looks like."""

    text: str
    """In words, for the first line of a report."""
    is_fault: bool
    """Whether it looks like an error in the data, which training again would only learn, rather than a change of the
    world."""
    of_some: bool = False
    """Whether it is about some of the rows, or has no name, which is less sure: a few warm days may look so."""


@dataclass(frozen=True, eq=False)
class NumericSummary:
    """A numeric feature's values in short."""

    rows: int
    """With and without a value."""
    missing: float
    """The share of rows without a value."""
    quantiles: np.ndarray
    """float64 [101]: the values below which 0%, 1%, … 100% of the present values are, each a value that occurs; NaN
    if there is none."""
    top: dict[float, float]
    """The most frequent values, most frequent first, with their shares of the present values."""
    distinct: int
    """How many different values there are."""
    whole: float
    """The share of the present values that are whole numbers."""

    @classmethod
    def of(cls, values: np.ndarray) -> NumericSummary:
        """Summarises float64 [rows]; NaN is missing, and infinite is 1e30."""
        values = np.asarray(values, np.float64)
        present = np.clip(values[~np.isnan(values)], -_LARGEST, _LARGEST)
        present = np.where(np.abs(present) < 1 / _LARGEST, 0.0, present)
        if not len(present):
            return cls(len(values), 1.0 if len(values) else 0.0, np.full(101, np.nan), {}, 0, 0.0)
        distinct, counts = np.unique(present, return_counts=True)
        most = np.argsort(-counts, kind="stable")[:MOST_NUMBERS]
        return cls(
            rows=len(values),
            missing=1 - len(present) / len(values),
            quantiles=np.quantile(present, np.linspace(0, 1, 101), method="inverted_cdf"),
            top={float(distinct[each]): float(counts[each] / len(present)) for each in most},
            distinct=len(distinct),
            whole=float(np.mean(np.floor(present) == present)),
        )

    @property
    def present(self) -> int:
        """How many rows have a value."""
        return round(self.rows * (1 - self.missing))


@dataclass(frozen=True)
class CategoricalSummary:
    """A categorical feature's values in short."""

    rows: int
    """With and without a value."""
    missing: float
    """The share of rows without a value."""
    shares: dict[bytes, float]
    """The most frequent values, most frequent first, with their shares of the present values."""

    @classmethod
    def of(cls, values: Iterable[bytes | None]) -> CategoricalSummary:
        """Summarises values; None is missing."""
        counts = Counter(values)
        missing = counts.pop(None, 0)
        present = sum(counts.values())
        rows = present + missing
        most = sorted(((each, count) for each, count in counts.items() if each is not None), key=_by_count)[:MOST_TEXTS]
        return cls(rows, missing / rows if rows else 0.0, {each: count / present for each, count in most})

    @property
    def present(self) -> int:
        """How many rows have a value."""
        return round(self.rows * (1 - self.missing))


def _by_count(item: tuple[bytes, int]) -> tuple[int, bytes]:
    return -item[1], item[0]
