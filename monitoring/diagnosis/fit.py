"""How well a conversion fits, and which fits best."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from monitoring.diagnosis.conversions import IDENTITY, Conversion, named
from monitoring.diagnosis.summaries import NumericSummary
from monitoring.diagnosis.support import Points

INNER = slice(3, 98)
"""The percentiles that are compared; the outer ones are noise."""


@dataclass(frozen=True)
class Found:
    """A conversion, the share of rows that it applies to, and how far from training it leaves the values."""

    conversion: Conversion
    share: float
    distance: float


def distance(reference: NumericSummary, current: NumericSummary, conversion: Conversion = IDENTITY) -> float:
    """The mean distance between percentiles once the conversion is undone, in mean deviations of training."""
    undone = np.sort(conversion.undo(current.quantiles))
    return float(np.abs(undone - reference.quantiles)[INNER].mean()) / spread(reference)


def spread(reference: NumericSummary) -> float:
    """The mean deviation of training's percentiles, or a little of its range if nearly all are one value."""
    inner = reference.quantiles[INNER]
    deviation = float(np.abs(inner - np.median(inner)).mean())
    whole_range = float(reference.quantiles[-1] - reference.quantiles[0])
    return max(deviation, 0.02 * whole_range)


def points_distance(reference: NumericSummary, undone: Points) -> float:
    """`distance` of some values, already undone."""
    order = np.argsort(undone.values)
    shares = (np.cumsum(undone.weights[order]) - undone.weights[order] / 2) / undone.mass
    quantiles = np.interp(np.linspace(0, 1, 101), shares, undone.values[order])
    return float(np.abs(quantiles - reference.quantiles)[INNER].mean()) / spread(reference)


def noise(current: NumericSummary) -> float:
    """What `distance` is about for a sample of training itself."""
    return 1.0 / math.sqrt(max(current.present, 1))


def collapses(reference: NumericSummary, undone: np.ndarray) -> bool:
    """Whether undoing squeezes the values into a point of the range, which fits whatever they are."""
    return float(np.abs(undone - np.median(undone)).mean()) < 0.2 * spread(reference)


def fitted_conversions(reference: NumericSummary, current: NumericSummary) -> Iterable[Conversion]:
    """The factor and the offset that fit the percentiles best."""
    old, new = reference.quantiles[INNER], current.quantiles[INNER]
    usable = (old != 0) & (new != 0)
    if usable.any():
        factor = float(np.median(new[usable] / old[usable]))
        if factor > 0:
            yield named(Conversion(factor, 0.0, ""))
    offset = float(np.median(new - old))
    yield Conversion(1.0, offset, "")
    yield Conversion(1.0, _rounded(offset), "")


def _rounded(value: float) -> float:
    """To two significant digits."""
    return float(f"{value:.1e}")


def nearest(found: list[Found]) -> Found | None:
    """The nearest to training; but a free factor or offset is made to be near, and a known or round one is not."""

    def rank(each: Found) -> tuple[float, float]:
        if each.conversion.name:
            return (round(each.distance, 1), each.distance)
        is_round = each.conversion.offset == _rounded(each.conversion.offset)
        return (round(each.distance, 1) + (1.5 if is_round else 2.5), each.distance)

    return min(found, key=rank, default=None)
