"""What a numeric feature's change looks like."""

from __future__ import annotations

import numpy as np

from monitoring.diagnosis.clock import find_clock_change
from monitoring.diagnosis.mirrored import find_mirrored
from monitoring.diagnosis.missing import diagnose_missing
from monitoring.diagnosis.precision import find_rounded
from monitoring.diagnosis.spikes import find_clipped, find_default, find_outliers, find_stuck
from monitoring.diagnosis.summaries import Diagnosis, NumericSummary
from monitoring.diagnosis.units import find_conversion
from monitoring.diagnosis.words import number

_FEWEST_ROWS = 50
_CAUSES = (
    find_conversion,
    find_stuck,
    find_clock_change,
    find_mirrored,
    find_clipped,
    find_rounded,
    find_default,
    find_outliers,
)
"""The first that is found is told: what explains all rows stands before what explains some."""


def diagnose_number(reference: NumericSummary, current: NumericSummary) -> Diagnosis | None:
    """Tells what a feature that has alarmed looks like, against training.

    Returns:
        None if there are too few rows to say, or nothing to be told.
    """
    if min(reference.rows, current.rows) < _FEWEST_ROWS:
        return None
    missing = diagnose_missing(reference.missing, current.missing, current.rows)
    if missing and missing.is_fault:
        return missing
    if not current.top or not reference.top:
        return missing
    for find in _CAUSES:
        found = find(reference, current)
        if found:
            return found
    shift = _shift(reference, current)
    if missing and shift:
        many = current.missing - reference.missing > 0.1
        parts = (missing.text, shift.text) if many else (shift.text, missing.text)
        return Diagnosis("; ".join(parts), is_fault=False)
    return shift or missing


def _shift(reference: NumericSummary, current: NumericSummary) -> Diagnosis | None:
    """Where the middle and the spread went, in plain words."""
    old, new = (float(each.quantiles[50]) for each in (reference, current))
    old_spread, new_spread = (float(each.quantiles[75] - each.quantiles[25]) for each in (reference, current))
    scale = max(old_spread, 0.01 * float(reference.quantiles[99] - reference.quantiles[1]))
    parts = []
    if abs(new - old) > 0.1 * scale:
        parts.append(f"the median {'rose' if new > old else 'fell'} from {number(old)} to {number(new)}")
    if old_spread and new_spread and not 0.77 < new_spread / old_spread < 1.3:
        width = "wider" if new_spread > old_spread else "narrower"
        parts.append(f"the spread (middle half) is {width}: {number(new_spread)}, {number(old_spread)} before")
    elif parts:
        parts.append("spread alike")
    if not parts:
        value = _most_changed(reference, current)
        return Diagnosis(value, is_fault=False) if value else None
    return Diagnosis("; ".join(parts), is_fault=False)


def _most_changed(reference: NumericSummary, current: NumericSummary) -> str | None:
    """The frequent value that gained or lost most."""
    if reference.distinct > len(reference.top):
        low, high = (float(np.mean(current.quantiles <= reference.quantiles[each])) for each in (10, 90))
        tails = f"{100 * low:.0f}% of values are in the lowest tenth, {100 * (1 - high):.0f}% in the highest"
        return f"median and spread alike; {tails}"
    changes = {
        each: current.top.get(each, 0.0) - reference.top.get(each, 0.0) for each in {*current.top, *reference.top}
    }
    value = max(changes, key=lambda each: (abs(changes[each]), each))
    before, now = reference.top.get(value, 0.0), current.top.get(value, 0.0)
    if abs(now - before) < 0.002:
        return None
    return f"{number(value)} is in {100 * now:.3g}% of rows, {100 * before:.3g}% before; median and spread alike"
