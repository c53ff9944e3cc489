"""Says of alarms what they look like: one diagnosis for each feature, from summaries of both sides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from monitoring.bins import HOURS, WEEKDAYS, Kind
from monitoring.checks import OUTSIDE
from monitoring.diagnosis import (
    CategoricalSummary,
    Diagnosis,
    NumericSummary,
    diagnose_category,
    diagnose_hours,
    diagnose_labels,
    diagnose_number,
    diagnose_pairs,
    diagnose_times,
    diagnose_weekdays,
)
from monitoring.diagnosis.missing import diagnose_missing
from monitoring.profile import Summary
from monitoring.related import Related, diagnose_relations
from monitoring.report import UNSEEN, Check, State

_RELATION = Kind.RELATION.value
_CYCLES = {Kind.HOURS.value: (diagnose_hours, HOURS), Kind.WEEKDAYS.value: (diagnose_weekdays, WEEKDAYS)}


def explained(
    checks: Sequence[Check],
    earlier: Mapping[str, Summary],
    newest: Mapping[str, Summary],
    current: Mapping[str, Summary],
    label: str,
    related: Related | None = None,
    *,
    is_short: bool = False,
) -> list[Check]:
    """The checks, those that alarm with a diagnosis; relations that broke for a cause that is told do not alarm.

    Args:
        checks: Of any features.
        earlier: Summaries of the training rows.
        newest: Summaries of their newest span: what the season, or the trend, had come to.
        current: Summaries of the rows that are judged.
        label: Is diagnosed as what it is.
        related: What broken relations are told from; None: they are told without a cause.
        is_short: Whether the rows are of one window of time: then what would be a fault of some of them is none. A few
            days unlike all of training look like a mixture of anything.
    """
    broken = {check.subject for check in checks if check.state is State.ALARM and check.aspect == _RELATION}
    alarmed = {check.subject for check in checks if check.state is State.ALARM and check.aspect != _RELATION}
    alarmed &= set(current) & set(earlier)
    as_new_as_ever = {check.subject for check in checks if check.aspect == UNSEEN and check.state is State.PASSED}
    current = {
        name: _known_only(earlier[name], newest.get(name), each) if name in as_new_as_ever & alarmed else each
        for name, each in current.items()
    }
    features = {name: summary for name, summary in current.items() if name != label}
    pairs = diagnose_pairs(earlier, features, alarmed - {label})
    times = {check.subject for check in checks if check.aspect in _CYCLES}
    single = {
        name: _of_times(earlier[name], newest.get(name, earlier[name]), current[name])
        if name in times
        else _diagnosed(name, earlier, newest, current, is_label=name == label)
        for name in alarmed | (broken & set(current) & set(earlier))
    }
    if is_short:
        single = {name: None if found is None or found.of_some else found for name, found in single.items()}
    own = {name: each for name in single if (each := pairs.get(name) or single[name]) is not None}
    told = [check if check.aspect == _RELATION else _explained(check, own.get(check.subject)) for check in checks]
    if related is None or not broken:
        return told
    of_relations, consequences = diagnose_relations(told, related, own)
    return [
        _of_relation(check, of_relations.get(check.subject), check.subject in consequences)
        if check.aspect == _RELATION
        else check
        for check in told
    ]


def _of_relation(check: Check, diagnosis: Diagnosis | None, is_consequence: bool) -> Check:
    if check.state is not State.ALARM or diagnosis is None:
        return check
    state = State.UNDECIDED if is_consequence else State.ALARM
    return check.model_copy(update={"state": state, "diagnosis": diagnosis.text, "is_fault": diagnosis.is_fault})


def _known_only(earlier: Summary, newest: Summary | None, current: Summary) -> Summary:
    """A category without its new values: no more of them came than come in every span, so they explain nothing."""
    if not isinstance(current, CategoricalSummary) or not isinstance(earlier, CategoricalSummary):
        return current
    known = set(earlier.shares) | (set(newest.shares) if isinstance(newest, CategoricalSummary) else set())
    shares = {value: share for value, share in current.shares.items() if value in known}
    total = sum(shares.values())
    return replace(current, shares={value: share / total for value, share in shares.items()}) if total else current


def _explained(check: Check, diagnosis: Diagnosis | None) -> Check:
    if check.state is not State.ALARM:
        return check
    if check.aspect in _CYCLES and (diagnosis is None or not diagnosis.is_fault):
        diagnosis = _of_cycle(check) or diagnosis
    if check.aspect == OUTSIDE and (diagnosis is None or not diagnosis.is_fault or diagnosis.of_some):
        return check.model_copy(update={"state": State.PASSED})  # a season, or a trend: the values' band is for them
    if diagnosis is None:
        return check
    return check.model_copy(update={"diagnosis": diagnosis.text, "is_fault": diagnosis.is_fault})


def _of_times(earlier: Summary, newest: Summary, current: Summary) -> Diagnosis | None:
    """What is wrong with the times themselves; what their hours and weekdays do is told from the shares of these."""
    sides = [each for each in (earlier, newest, current) if isinstance(each, NumericSummary)]
    if len(sides) < 3:
        return None
    oldest, latest, now = sides
    missing = diagnose_missing(oldest.missing, now.missing, now.rows)
    if missing and missing.is_fault:
        return missing
    known = float(oldest.quantiles[0]), float(latest.quantiles[-1])
    return diagnose_times(known, now.quantiles, now.present) or missing


def _diagnosed(
    name: str,
    earlier: Mapping[str, Summary],
    newest: Mapping[str, Summary],
    current: Mapping[str, Summary],
    *,
    is_label: bool,
) -> Diagnosis | None:
    """A fault against the whole window, else one against its newest span, else a change in words.

    Against the newest span a season, or a trend, hides no fault.
    """
    of_window = compared(earlier[name], current[name], is_label=is_label)
    if of_window is None or not of_window.is_fault:
        of_span = compared(newest[name], current[name], is_label=is_label) if name in newest else None
        return of_span if of_span is not None and of_span.is_fault else of_window
    return of_window


def compared(reference: Summary, current: Summary, *, is_label: bool = False) -> Diagnosis | None:
    """What one feature's change looks like."""
    if isinstance(reference, CategoricalSummary) and isinstance(current, CategoricalSummary):
        return diagnose_category(reference, current)
    if isinstance(reference, NumericSummary) and isinstance(current, NumericSummary):
        if is_label and set(reference.top) <= {0.0, 1.0}:
            rates = reference.top.get(1.0, 0.0), current.top.get(1.0, 0.0)
            return diagnose_labels(*rates, current.present)
        return diagnose_number(reference, current)
    return None


def _of_cycle(check: Check) -> Diagnosis | None:
    """A shift of hours or weekdays, from the shares that the check was made on."""
    shown = check.distribution
    if shown is None:
        return None
    diagnose, places = _CYCLES[check.aspect]

    def by_place(side: Sequence[float]) -> np.ndarray:
        found = dict(zip(shown.bins, side, strict=True))
        return np.array([found.get(place, 0.0) for place in places])

    return diagnose(by_place(shown.reference), by_place(shown.current), check.rows)
