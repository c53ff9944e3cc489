"""Conversions told by percentiles alone, for values of which (nearly) no two are alike."""

from __future__ import annotations

import numpy as np

from monitoring.diagnosis.conversions import KNOWN, Conversion
from monitoring.diagnosis.fit import INNER, Found, collapses, distance, fitted_conversions, nearest, noise
from monitoring.diagnosis.summaries import NumericSummary
from monitoring.diagnosis.support import Support

_TOLD_APART = 0.6
"""Two populations overlap so little (Kolmogorov-Smirnov distance) if a mixture of them is told from another shape."""


def find_by_shape(reference: NumericSummary, current: NumericSummary, support: Support) -> Found | None:
    """The percentiles fit those of training, all of them, once a conversion is undone."""
    apart = current.quantiles[99] < reference.quantiles[0] or current.quantiles[1] > reference.quantiles[100]
    natural = support.is_discrete and support.holds(current.quantiles).mean() > 0.9 and support.coverage > 0.05
    if natural and not apart:
        return None
    before = distance(reference, current)
    tight = 0.06 + 1.5 * noise(current)
    found = []
    for conversion in (*KNOWN, *fitted_conversions(reference, current)):
        after = distance(reference, current, conversion)
        allowed = 1.0 if apart and conversion.name else tight
        if after >= min(allowed, (0.1 if after > tight else 0.25) * before) or not _is_alarming(conversion, apart):
            continue
        if not collapses(reference, conversion.undo(current.quantiles)[INNER]):
            found.append(Found(conversion, 1.0, after))
    return nearest(found)


def _is_alarming(conversion: Conversion, apart: bool) -> bool:
    """A factor near 1 or a small offset without a name is a change as the world makes them."""
    if conversion.name and not (conversion.offset == 0 and 0.8 < conversion.scale < 1.25):
        return True
    return apart or not 0.25 < abs(conversion.scale) < 4


def find_mixture(reference: NumericSummary, current: NumericSummary, support: Support) -> Found | None:
    """Two populations of continuous values: a part fits training, the rest once a large conversion is undone."""
    if support.is_discrete or current.present < 100:
        return None
    found = []
    for conversion in KNOWN:
        converted = conversion.scale * reference.quantiles + conversion.offset
        grid = np.unique(np.concatenate([reference.quantiles, converted]))
        own, other, both = (
            _cumulative(np.sort(each), grid) for each in (reference.quantiles, converted, current.quantiles)
        )
        gap = other - own
        if np.abs(gap).max() < _TOLD_APART:
            continue
        share = float(np.dot(both - own, gap) / max(np.dot(gap, gap), 1e-12))
        before = float(np.abs(both - own).max())
        after = float(np.abs(both - own - share * gap).max())
        if 0.05 <= share <= 0.95 and after < 0.02 + noise(current) and after < 0.25 * before:
            found.append(Found(conversion, share, after))
    return nearest(found)


def _cumulative(quantiles: np.ndarray, grid: np.ndarray) -> np.ndarray:
    return np.interp(grid, quantiles, np.linspace(0, 1, 101), left=0.0, right=1.0)
