"""Which feature is to blame for relations that broke: one change in one column moves what all its partners leave.

A change is found by undoing it in a sample of the rows: a known conversion of units, of all rows or of some, or an
exchange of two columns. The one that brings what every relation leaves back within its band is told. If none does, the
feature is told whose own values go least with those of its row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pyarrow as pa

from monitoring.bins import Bins, Kind
from monitoring.diagnosis.conversions import KNOWN
from monitoring.diagnosis.summaries import Diagnosis
from monitoring.diagnosis.units import describe_conversion
from monitoring.measures import jensen_shannon
from monitoring.profile import Profile, related_sample
from monitoring.relations import Columns, Relation
from monitoring.report import Check, State

_FEWEST_ROWS = 50
_UNRELATED = 0.3
"""The correlation with its prediction below which a feature's values are as good as any row's (training: 0.7 or
more)."""
_CLEARLY = 0.5
"""Undoing a change is to bring the relations at least so much nearer to training."""
_FEW = 0.1
"""A share of the rows that is not told apart from outliers."""


@dataclass(frozen=True)
class Related:
    """What the relations of the judged rows are told from."""

    bins: dict[str, Bins]
    """Of each relation, by its feature."""
    relations: dict[str, Relation]
    """By feature."""
    reference: dict[str, np.ndarray]
    """Counts of the training rows, int64 [bins]."""
    sample: Columns
    """Some of the judged rows."""

    @classmethod
    def of(cls, profile: Profile, numbers: Columns) -> Related:
        """Of a training window, and of judged rows."""
        bins = {
            each.feature: (each, each.relation)
            for each in profile.bins.values()
            if each.relation is not None and set(each.relation.columns) <= set(numbers)
        }
        return cls(
            {name: each for name, (each, _) in bins.items()},
            {name: relation for name, (_, relation) in bins.items()},
            {name: profile.counts[name, Kind.RELATION].sum(axis=0) for name in bins},
            related_sample(profile.bins, numbers) if bins else {},
        )

    def moved(self, name: str, sample: Columns) -> float:
        """How far what a relation leaves of a sample is from training."""
        bins = self.bins[name]
        left = pa.array(self.relations[name].residuals(sample), from_pandas=True)
        counts = np.bincount(bins.indices(left), minlength=len(bins.labels))
        return float(jensen_shannon(self.reference[name][:-1], counts[:-1]))

    def goes_with_row(self, name: str) -> float:
        """The correlation of a feature with its prediction; 1 if there are too few rows to tell."""
        left = np.stack([self.sample[name], self.relations[name].predicted(self.sample)])
        left = left[:, np.isfinite(left).all(axis=0)]
        if left.shape[1] < _FEWEST_ROWS or not left.std(axis=1).all():
            return 1.0
        return float(np.corrcoef(left)[0, 1])


def diagnose_relations(
    checks: Sequence[Check], related: Related, own: Mapping[str, Diagnosis]
) -> tuple[dict[str, Diagnosis], set[str]]:
    """What each alarm on a relation looks like, by feature, and those that another feature's fault or alarm explains.

    Args:
        checks: Of any aspect, those of other aspects with what they look like; those on relations that alarm are told.
        related: What they are told from.
        own: What the features' own values look like.
    """
    limits = {each.subject: each.threshold for each in checks if each.aspect == Kind.RELATION.value}
    excess = {
        each.subject: each.excess
        for each in checks
        if each.aspect == Kind.RELATION.value and each.state is State.ALARM and each.subject in related.bins
    }
    faults = {
        each.subject: Diagnosis(each.diagnosis, is_fault=True)
        for each in checks
        if each.state is State.ALARM and each.is_fault and not (each.subject in own and own[each.subject].of_some)
    }
    found: dict[str, Diagnosis] = {}
    follow: set[str] = set()
    for group in _groups(related):
        alarmed = sorted(group & set(excess), key=lambda name: -excess[name])
        if not alarmed:
            continue
        columns = {column for name in group for column in related.relations[name].columns}
        known = {name: diagnosis for name, diagnosis in faults.items() if name in columns}
        told = known or _undone(alarmed, sorted(group), related, limits)
        told = told or _unexplained(alarmed, sorted(group), related, own)
        found |= {
            name: told.get(name, Diagnosis(f"follows from {next(iter(told))}", is_fault=False)) for name in alarmed
        }
        follow |= set(alarmed) - set(told)
    return found, follow


def _groups(related: Related) -> list[set[str]]:
    """Relations that have a column in common, together."""
    groups: list[set[str]] = []
    for name in related.bins:
        columns = set(related.relations[name].columns)
        near = [group for group in groups if any(columns & set(related.relations[each].columns) for each in group)]
        groups = [each for each in groups if each not in near] + [{name}.union(*near)]
    return groups


def _undone(
    alarmed: list[str], group: list[str], related: Related, limits: Mapping[str, float]
) -> dict[str, Diagnosis]:
    """The change after whose undoing the group's relations hold best, if all are well within their bands."""
    group = [name for name in group if name in limits]

    def worst(sample: Columns) -> float:
        return max(related.moved(name, sample) / limits[name] for name in group)

    most = min(1.0, _CLEARLY * worst(related.sample))
    for candidates in (_of_all, _of_some):
        found = [(worst(sample), told) for sample, told in candidates(alarmed, group, related)]
        best = min(found, key=lambda each: each[0], default=(np.inf, {}))
        if best[0] <= most:
            return best[1]
    return {}


_Candidates = Iterator[tuple[Columns, dict[str, Diagnosis]]]
"""The sample with a change undone, and what the change would be."""


def _of_all(alarmed: list[str], group: list[str], related: Related) -> _Candidates:
    """Of all rows."""
    sample = related.sample
    for name in alarmed:
        for conversion in KNOWN:
            told = Diagnosis(describe_conversion(conversion), is_fault=True)
            yield {**sample, name: conversion.undo(sample[name])}, {name: told}
    for one, other in combinations(group, 2):
        if {one, other} & set(alarmed):
            told = Diagnosis(
                f"{one} and {other} are exchanged: so they go with the others of their rows", is_fault=True
            )
            yield {**sample, one: sample[other], other: sample[one]}, {one: told, other: told}


def _of_some(alarmed: list[str], group: list[str], related: Related) -> _Candidates:
    """Of the rows that are nearer to their prediction without the change."""
    del group
    sample = related.sample
    for name in alarmed:
        relation = related.relations[name]
        before = np.abs(relation.residuals(sample))
        for conversion in KNOWN:
            undone = conversion.undo(sample[name])
            is_nearer = np.abs(relation.residuals({**sample, name: undone})) < before
            share = float(is_nearer.sum() / max(np.isfinite(before).sum(), 1))
            if _FEW < share < 1 - _FEW:
                told = Diagnosis(describe_conversion(conversion, share), is_fault=True, of_some=True)
                yield {**sample, name: np.where(is_nearer, undone, sample[name])}, {name: told}


def _unexplained(
    alarmed: list[str], group: list[str], related: Related, own: Mapping[str, Diagnosis]
) -> dict[str, Diagnosis]:
    """The feature that goes least with its row; if its relation does not alarm, the one that does most."""
    unrelated = [name for name in group if related.goes_with_row(name) < _UNRELATED]
    broken = [column for name in alarmed for column in related.relations[name].columns]
    least = max(unrelated, key=broken.count) if unrelated else min(group, key=related.goes_with_row)
    told = least if least in alarmed else alarmed[0]
    others = least if told != least else ", ".join(related.relations[told].inputs)
    if unrelated:
        text = f"values are unrelated to {others} of the same row: in the wrong rows, or of another clock?"
        return {told: Diagnosis(text, is_fault=True)}
    if told in own and own[told].is_fault:
        return {told: own[told]}
    return {told: Diagnosis(f"no longer goes with {others} as in training", is_fault=False)}
