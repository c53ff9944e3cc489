"""Whether a feature's values, or some of them, are those of training in another unit."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from monitoring.diagnosis.conversions import KNOWN, NEGATION, SCALES, Conversion, named
from monitoring.diagnosis.fit import Found, collapses, fitted_conversions, nearest, points_distance, spread
from monitoring.diagnosis.shapes import find_by_shape, find_mixture
from monitoring.diagnosis.summaries import Diagnosis, NumericSummary
from monitoring.diagnosis.support import Points, Support, decimals, frequent, known_values, near, points
from monitoring.diagnosis.words import number, percent

_FEWEST_DISTINCT = 3
"""A conversion is told by so many different values; one or two are a default that was filled in."""
_ALL = 0.9
_FARTHEST = 1.2
"""Mean deviations of training between two medians that a season moves apart."""
_SOME = 0.03
"""A share of converted rows below this is not told from outliers."""


def find_conversion(reference: NumericSummary, current: NumericSummary) -> Diagnosis | None:
    """Another unit, another zero point or a flipped sign, of all rows or of a part of them; None if there is none."""
    support = Support(reference)
    if support.range == 0:
        return None
    best = _by_only_value(reference, current)
    for find in (_by_values, _by_frequent_values, find_by_shape, find_mixture):
        if best is None or best.share < _ALL:  # some rows are told if no better cause explains all of them
            found = find(reference, current, support)
            is_better = found is not None and (best is None or _explains_better(found, best))
            best = found if is_better else best
    return _tell(best) if best else None


def _explains_better(found: Found, best: Found) -> bool:
    return found.conversion in KNOWN and found.share >= _ALL and found.distance < best.distance / 4


def _by_only_value(reference: NumericSummary, current: NumericSummary) -> Found | None:
    """A feature that is nearly always the same: its value is converted."""
    (old, before), (new, share) = (next(iter(each.top.items())) for each in (reference, current))
    if before < 0.9 or share < 0.9 or old == 0 or new in known_values(reference):
        return None
    fits = [each for each in (*SCALES, NEGATION) if math.isclose(old * each.scale, new, rel_tol=1e-5)]
    return Found(fits[0], 1.0, 0.0) if fits else None


def _by_values(reference: NumericSummary, current: NumericSummary, support: Support) -> Found | None:
    """Values that training cannot have, and can have once a conversion is undone."""
    if not support.is_discrete:
        return None
    everything = points(current)
    strange = everything.select(~support.holds(everything.values))
    if strange.mass < _SOME or strange.distinct < _FEWEST_DISTINCT:
        strange = _strange_frequent(current, support)
        everything = frequent(current)
        if strange.mass < _SOME * everything.mass or strange.distinct < _FEWEST_DISTINCT:
            return None
    if _are_rounded(strange, current, support):
        return None
    found = []
    for conversion in _candidates(reference, current):
        undone = conversion.undo(strange.values)
        explained = float(strange.weights[support.holds(undone)].sum()) / strange.mass
        changeable = everything.weights[everything.values != conversion.undo(everything.values)].sum()
        share = strange.mass / max(float(changeable), strange.mass)
        collapsed = len(np.setdiff1d(np.round(undone, 6), [0.0])) < _FEWEST_DISTINCT
        if explained < 0.95 or collapsed or (share < _ALL and not conversion.name):
            continue
        if share < _ALL and not _are_drawn_from(reference, undone, conversion, support):
            continue
        found.append(Found(conversion, share, points_distance(reference, Points(undone, strange.weights))))
    return nearest(found) or _by_range(reference, strange, support)


def _are_drawn_from(reference: NumericSummary, undone: np.ndarray, conversion: Conversion, support: Support) -> bool:
    """Whether a part's undone values lie where training's do that the conversion makes strange.

    A few days warmer than all of training are strange as well, and make sense in another unit, but lie elsewhere.
    """
    converted = conversion.scale * reference.quantiles + conversion.offset
    expected = reference.quantiles[~support.holds(converted)]
    away = abs(float(np.median(undone)) - float(np.median(expected))) if len(expected) else np.inf
    return away < _FARTHEST * spread(reference)


def _are_rounded(strange: Points, current: NumericSummary, support: Support) -> bool:
    """Whether the strange values are known ones, rounded: knots would be whole as well, but not those."""
    places = decimals(frequent(current).values)
    if places is None or not support.complete:
        return False
    known = near(strange.values, support.known, 0.5001 * 10.0**-places)
    return strange.select(known).mass > 0.99 * strange.mass


def _by_range(reference: NumericSummary, strange: Points, support: Support) -> Found | None:
    """Values far outside training that have its place and width once a conversion, with rounding, is undone."""
    if strange.distinct < 5 or strange.mass < 0.1 or support.within(strange.values).any():
        return None
    found = []
    for conversion in KNOWN:
        undone = Points(conversion.undo(strange.values), strange.weights)
        away = points_distance(reference, undone)
        if support.within(undone.values).all() and away < 1.2 and not collapses(reference, undone.values):
            found.append(Found(conversion, strange.mass, away))
    return nearest(found)


def _strange_frequent(current: NumericSummary, support: Support) -> Points:
    most = frequent(current)
    return most.select(~support.holds(most.values))


def _by_frequent_values(reference: NumericSummary, current: NumericSummary, support: Support) -> Found | None:
    """The frequent values of training are not frequent any more, and are again once a conversion is undone."""
    if support.coverage < 0.4 or current.distinct < _FEWEST_DISTINCT:
        return None
    most = frequent(current)
    places = decimals(most.values)
    step = 10.0**-places if places is not None else 0.0
    unknown = most.select(~_is_known(most, support))
    if len(unknown.values) and unknown.weights.max() > 0.5 * unknown.mass:  # one value that was filled in
        unknown = unknown.select(unknown.weights < unknown.weights.max())
    if unknown.mass < 0.05 or unknown.distinct < 5 or _are_rounded(unknown, current, support):
        return None
    found = []
    replaced = unknown.mass > 0.8 * most.mass
    for conversion in _candidates(reference, current) if replaced else KNOWN:
        some = unknown.select(unknown.values != conversion.undo(unknown.values))
        agreement = support.agreement(some, conversion, step)
        undone = conversion.undo(some.values)
        enough = 0.9 if not conversion.name else 0.5 if replaced else 0.7
        if some.distinct < 5 or agreement < enough or not np.all(support.within(undone)):
            continue
        if collapses(reference, undone):
            continue
        away = points_distance(reference, Points(undone, some.weights))
        if not conversion.name and away > 0.2:  # as many a season
            continue
        found.append(Found(conversion, min(1.0, some.mass / most.mass / min(1.0, agreement + 0.1)), away))
    return nearest(found)


def _is_known(most: Points, support: Support) -> np.ndarray:
    return np.isin(np.round(most.values, 6), np.round(support.known, 6))


def _candidates(reference: NumericSummary, current: NumericSummary) -> Iterable[Conversion]:
    """The known conversions, and those that lead from a frequent value of training to a frequent one now."""
    yield from KNOWN
    yield from fitted_conversions(reference, current)
    for old in list(reference.top)[:4]:
        for new in list(current.top)[:4]:
            yield Conversion(1.0, new - old, "")
            if old and new / old > 0:
                yield named(Conversion(new / old, 0.0, ""))


def _tell(found: Found) -> Diagnosis:
    text = describe_conversion(found.conversion, found.share)
    return Diagnosis(text, is_fault=True, of_some=found.share < _ALL or not found.conversion.name)


def describe_conversion(conversion: Conversion, share: float = 1.0) -> str:
    """What was done to a share of the values, in words."""
    if share < _ALL:
        changed = _changed(conversion, f"about {percent(share)} of the values are")
        return f"{changed}, the rest is as before: two sources with different units?"
    return _changed(conversion, "values are")


def _changed(conversion: Conversion, subject: str) -> str:
    if conversion is NEGATION:
        return f"{subject} those of training with the sign flipped"
    if conversion.scale == 1:
        why = f" ({conversion.name}?)" if conversion.name else ""
        return f"{subject} shifted by {conversion.offset:+.6g}{why}"
    sign = "plus" if conversion.offset > 0 else "minus"
    offset = f" {sign} {number(abs(conversion.offset))}" if conversion.offset else ""
    return (
        f"{subject} {number(conversion.scale)} times those of training{offset} ({conversion.name or 'another unit'}?)"
    )
