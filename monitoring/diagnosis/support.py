"""Which values a feature has, beyond how often: what tells a cold month from another unit.

A natural change moves shares between values that were known, or that are written with as many decimals and lie near
the known range. Another unit leaves them: 39.02 °F is 3.9 °C, 1400 miles are 2253.0816 km. Undoing the right
conversion brings the values back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from monitoring.diagnosis.conversions import Conversion
from monitoring.diagnosis.summaries import NumericSummary

_EXACT = 2e-6
"""Relative: what float32 and a few arithmetic operations leave of equality."""
_MOST_DECIMALS = 4
_COMPLETE = 0.995
_BEYOND = 0.25


@dataclass(frozen=True, eq=False)
class Points:
    """Some values that stand for all."""

    values: np.ndarray
    """float64 [n]."""
    weights: np.ndarray
    """float64 [n], of the present rows."""

    def select(self, which: np.ndarray) -> Points:
        """Those points only."""
        return Points(self.values[which], self.weights[which])

    @property
    def mass(self) -> float:
        """The share of rows that they stand for."""
        return float(self.weights.sum())

    @property
    def distinct(self) -> int:
        """How many different values there are."""
        return len(np.unique(self.values))


def points(summary: NumericSummary) -> Points:
    """All values if the summary holds them, else its percentiles."""
    if summary.distinct <= len(summary.top):
        return frequent(summary)
    return Points(summary.quantiles, np.full(101, 1 / 101))


def frequent(summary: NumericSummary) -> Points:
    """The most frequent values."""
    return Points(np.array(list(summary.top)), np.array(list(summary.top.values())))


def known_values(summary: NumericSummary) -> np.ndarray:
    """float64, sorted: every value that the summary names."""
    return np.asarray(np.unique(np.concatenate([np.array(list(summary.top)), summary.quantiles])))


def decimals(values: np.ndarray) -> int | None:
    """The fewest decimals with which all values can be written, -3 (thousands) to 4; None for more."""
    if not len(values):
        return None
    for places in range(-3, _MOST_DECIMALS + 1):
        if np.all(on_lattice(values, places)):
            return places
    return None


def on_lattice(values: np.ndarray, places: int) -> np.ndarray:
    """Which values have no more decimals; none where float32 could not tell; bool [n]."""
    step = 10.0**-places
    tolerance = np.maximum(_EXACT * np.abs(values), 1e-9)
    return np.asarray((np.abs(values - np.round(values / step) * step) <= tolerance) & (tolerance < 0.1 * step))


def near(values: np.ndarray, known: np.ndarray, tolerance: float | np.ndarray) -> np.ndarray:
    """Which values are within the tolerance of one of the sorted known ones; bool [n]."""
    after = np.clip(np.searchsorted(known, values), 0, len(known) - 1)
    before = np.maximum(after - 1, 0)
    distance = np.minimum(np.abs(known[after] - values), np.abs(known[before] - values))
    return np.asarray(distance <= tolerance)


class Support:
    """The values that would not surprise after training."""

    def __init__(self, reference: NumericSummary) -> None:
        self.known = known_values(reference)
        self.coverage = sum(reference.top.values())
        self.complete = self.coverage >= _COMPLETE
        self.places = decimals(self.known)
        low, high = float(reference.quantiles[0]), float(reference.quantiles[-1])
        self.range = high - low
        self.low = max(low - _BEYOND * self.range, 0.0) if low >= 0 else low - _BEYOND * self.range
        self.high = min(high + _BEYOND * self.range, 0.0) if high <= 0 else high + _BEYOND * self.range

    @property
    def is_discrete(self) -> bool:
        """Whether leaving the support can be told at all."""
        return self.complete or self.places is not None

    def within(self, values: np.ndarray) -> np.ndarray:
        """Which values are not far outside the known range; bool [n]."""
        return np.asarray((values >= self.low) & (values <= self.high))

    def holds(self, values: np.ndarray) -> np.ndarray:
        """Which values are known, or are near the range and have no more decimals than the known; bool [n]."""
        if self.places is not None:
            return np.asarray(self.within(values) & on_lattice(values, self.places))
        if self.complete:
            return np.asarray(self.within(values) & near(values, self.known, 1e-5 * np.abs(values) + 1e-9))
        return self.within(values)

    def agreement(self, current: Points, conversion: Conversion, rounded_to: float) -> float:
        """How much of the current values is known once the conversion is undone, 0 to 1, beyond chance.

        Args:
            current: The values.
            conversion: To undo.
            rounded_to: The step to which the current values may have been rounded after the conversion.
        """
        if not len(current.values) or self.range == 0:
            return 0.0
        values = conversion.undo(current.values)
        exact = near(values, self.known, 1e-5 * np.abs(values) + 1e-9)
        share = float(current.weights[exact].sum()) / current.mass
        chance = min(1.0, len(self.known) * abs(rounded_to / conversion.scale) / self.range)
        rough_tolerance = 0.5001 * abs(rounded_to / conversion.scale)
        rough = float(current.weights[near(values, self.known, rough_tolerance)].sum()) / current.mass
        return max(share - min(chance, 0.5), rough - min(1.0, 2 * chance), 0.0)
