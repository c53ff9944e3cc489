"""Whether two features were exchanged."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from monitoring.diagnosis.fit import distance
from monitoring.diagnosis.summaries import CategoricalSummary, Diagnosis, NumericSummary
from monitoring.diagnosis.support import Support, known_values, near

Summary = NumericSummary | CategoricalSummary
_FEWEST = 50
_INNER = slice(5, 96)


def diagnose_pairs(
    reference: Mapping[str, Summary], current: Mapping[str, Summary], alarmed: set[str]
) -> dict[str, Diagnosis]:
    """Tells which features that have alarmed look like each other in training, by feature."""
    found: dict[str, Diagnosis] = {}
    for one, other in combinations(sorted(alarmed & set(reference) & set(current)), 2):
        if one in found or other in found:
            continue
        summaries = (reference[one], reference[other], current[one], current[other])
        if _are_exchanged(*summaries):
            text = f"{one} and {other} are exchanged: each looks like the other in training"
            found[one] = found[other] = Diagnosis(text, is_fault=True)
    return found


def _are_exchanged(old_one: Summary, old_other: Summary, new_one: Summary, new_other: Summary) -> bool:
    if isinstance(old_one, CategoricalSummary):
        return (
            isinstance(old_other, CategoricalSummary)
            and isinstance(new_one, CategoricalSummary)
            and isinstance(new_other, CategoricalSummary)
            and _categories_exchanged(old_one, old_other, new_one, new_other)
        )
    return (
        isinstance(old_other, NumericSummary)
        and isinstance(new_one, NumericSummary)
        and isinstance(new_other, NumericSummary)
        and _numbers_exchanged(old_one, old_other, new_one, new_other)
    )


def _categories_exchanged(
    old_one: CategoricalSummary,
    old_other: CategoricalSummary,
    new_one: CategoricalSummary,
    new_other: CategoricalSummary,
) -> bool:
    if min(new_one.present, new_other.present) < _FEWEST:
        return False
    return _apart(old_other, new_one) < 0.6 * _apart(old_one, new_one) and _apart(old_one, new_other) < 0.6 * _apart(
        old_other, new_other
    )


def _apart(old: CategoricalSummary, new: CategoricalSummary) -> float:
    """Total variation distance."""
    values = {*old.shares, *new.shares}
    return sum(abs(old.shares.get(each, 0.0) - new.shares.get(each, 0.0)) for each in values) / 2


def _numbers_exchanged(
    old_one: NumericSummary, old_other: NumericSummary, new_one: NumericSummary, new_other: NumericSummary
) -> bool:
    if min(each.present for each in (old_one, old_other, new_one, new_other)) < _FEWEST:
        return False
    supports = Support(old_one), Support(old_other)
    possible = supports[0].holds(new_other.quantiles).mean() > 0.9 and supports[1].holds(new_one.quantiles).mean() > 0.9
    if not possible or min(supports[0].range, supports[1].range) == 0:
        return False
    if not (_has_values_of(new_one, old_other, old_one) and _has_values_of(new_other, old_one, old_other)):
        return False
    fits = distance(old_other, new_one) < 0.4 * distance(old_one, new_one) and distance(
        old_one, new_other
    ) < 0.4 * distance(old_other, new_other)
    return fits or _order_is_reversed(old_one, old_other, new_one, new_other)


def _has_values_of(new: NumericSummary, old: NumericSummary, own: NumericSummary) -> bool:
    """Whether the frequent values occur in another feature's training as much as in its own."""
    values = np.array(list(new.top))
    shares = np.array(list(new.top.values()))
    of_old, of_own = (float(shares[near(values, known_values(each), 1e-6)].sum()) for each in (old, own))
    return of_old + 0.1 >= of_own


def _order_is_reversed(
    old_one: NumericSummary, old_other: NumericSummary, new_one: NumericSummary, new_other: NumericSummary
) -> bool:
    """Whether the feature that was the smaller everywhere is the larger now: seasons move two temperatures alike."""
    before = (old_one.quantiles - old_other.quantiles)[_INNER]
    now = (new_one.quantiles - new_other.quantiles)[_INNER]
    if not (np.all(before > 0) or np.all(before < 0)):
        return False
    return bool(np.all(now * np.sign(before) < 0) and 0.4 < np.median(now) / -np.median(before) < 2.5)
