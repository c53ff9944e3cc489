"""Times of day that are written as a number, 1435 for 14:35."""

from __future__ import annotations

import numpy as np

from monitoring.diagnosis.summaries import Diagnosis, NumericSummary
from monitoring.diagnosis.times import diagnose_hours

_FEWEST_DISTINCT = 60


def find_clock_change(reference: NumericSummary, current: NumericSummary) -> Diagnosis | None:
    """Another time zone, or minutes since midnight, of a feature that was HHMM in training; None if it was not."""
    if not _is_clock(reference) or current.present < 100 or current.whole < 1:
        return None
    then, now = reference.quantiles, current.quantiles
    if now[0] < 0 or now[-1] > 2400:
        return None
    if _is_clock(current):
        found = diagnose_hours(_hours(then), _hours(now), current.present)
        return found if found and found.is_fault else None
    gap = float(np.abs(now - (then // 100 * 60 + then % 100)).mean())
    if now[-1] <= 1440 and gap < 60 and gap < 0.3 * float(np.abs(now - then).mean()):
        return Diagnosis("times of day are in minutes since midnight, those of training are HHMM", is_fault=True)
    return None


def _is_clock(summary: NumericSummary) -> bool:
    values = np.concatenate([summary.quantiles, np.array(list(summary.top))])
    in_range = values.min() >= 0 and values.max() <= 2400 and values.max() > 1200
    return bool(summary.whole == 1 and in_range and summary.distinct >= _FEWEST_DISTINCT and np.all(values % 100 < 60))


def _hours(quantiles: np.ndarray) -> np.ndarray:
    """Shares by hour, float64 [24]."""
    until = np.interp(np.arange(0, 2500, 100) - 0.5, quantiles, np.linspace(0, 1, 101), left=0.0, right=1.0)
    return np.diff(until)
