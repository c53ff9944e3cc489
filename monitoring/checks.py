"""Judges counts against a profile: for each feature how its values, its missing rows and its unseen values moved.

A check alarms beyond its null band (`monitoring.null`) and beyond the least change that is worth a person's time. The
rate of false alarms of a whole report is divided among its checks (Bonferroni), so that a report on unchanged data is
silent. A threshold in the reviewed schema (`skew_comparator`, `drift_comparator`) wins over the one from data.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import stats
from tensorflow_metadata.proto.v0 import schema_pb2

from models.features import Feature
from monitoring.bins import Bins, Kind, readable
from monitoring.diagnosis import CategoricalSummary
from monitoring.measures import DISTANCES, Bound, Measure, schema_bound, shares
from monitoring.null import Against, Draws, Statistic, draw, threshold
from monitoring.profile import Counts, Key, Profile
from monitoring.report import MISMATCH, UNSEEN, Check, Comparison, Distribution, State
from monitoring.rows import is_number

LEAST_CHANGE = {
    Measure.JENSEN_SHANNON: 0.02,
    Measure.L_INFINITY: 0.03,
    Measure.NORMALIZED_DIFFERENCE: 0.05,
    Measure.SHARE_CHANGE: 0.05,
    Measure.SHARE: 0.005,
}
"""The smallest change that alarms, however sure it is (0.02 of Jensen-Shannon is a population stability index of 0.1,
the usual bound of "slight")."""

CHECKS_OF_A_FEATURE = 4
_FEWEST_UNSEEN = 5
_BLIND = 0.5
_MOST_NEW = 0.5
_MARGIN = 0.25
"""Of a relation's band: the share of the way to 1 that a limit is moved, the more the less sure it is."""
_CYCLES = (Kind.HOURS, Kind.WEEKDAYS)
_NUMBERS = (Kind.NUMBERS, Kind.VALUES)
_NAMED = (*_CYCLES, Kind.RELATION)
"""Whose aspect is not just "values"."""
OUTSIDE = "outside training"
"""The aspect of numbers that training had nothing like."""
_MOST_OUTSIDE = 0.05
_HARDLY_ANY = 0.001
"""A bin with a smaller share of training is outside: most hold a twentieth."""
COMPARATORS = {Comparison.SKEW: "skew_comparator", Comparison.DRIFT: "drift_comparator"}


@dataclass(frozen=True)
class Setting:
    """What all checks of one comparison share."""

    comparison: Comparison
    source: str
    """What is judged, in words."""
    rate: float
    """Of false alarms, of a check."""
    fewest_rows: int
    schema: schema_pb2.Schema
    importances: Mapping[str, float]
    last_span: int | None = None
    """The span to compare with beside the window; None: the window's newest."""


def compare(profile: Profile, current: Counts, setting: Setting) -> list[Check]:
    """Every check of every feature that is counted on both sides.

    Args:
        profile: Of the training window.
        current: int64 [bins] for each aspect.
        setting: Of all checks.

    Raises:
        SchemaError: A comparator in the schema does not fit its feature.
    """
    in_schema = {feature.name: feature for feature in setting.schema.feature}
    checks: list[Check] = []
    for key, bins in profile.bins.items():
        if key not in current:
            continue
        judge = _Judge(profile, key, current[key], setting)
        feature = in_schema.get(bins.feature)
        bound = (
            schema_bound(feature, COMPARATORS[setting.comparison], is_number=bins.kind is not Kind.CATEGORIES)
            if feature is not None and bins.kind is not Kind.RELATION
            else None
        )
        checks += judge.values(bound)
        if bins.kind is Kind.RELATION:
            continue
        if bins.kind is not Kind.WEEKDAYS:  # a time's missing rows are counted with its hours
            checks += judge.missing()
        if bins.kind is Kind.CATEGORIES and bins.feature in profile.new_rows:
            checks += judge.unseen()
        if bins.kind in _NUMBERS:
            checks.append(judge.outside())
    return checks


def require_comparators(schema: schema_pb2.Schema, features: Iterable[Feature]) -> None:
    """Checks what the schema says of how features are compared, before anything is read.

    Raises:
        SchemaError: A comparator does not fit its feature.
    """
    known = {feature.name: feature for feature in features}
    for feature in schema.feature:
        for comparator in COMPARATORS.values() if feature.name in known else ():
            schema_bound(feature, comparator, is_number=is_number(known[feature.name]))


class _Judge:
    """The checks of one aspect of one feature."""

    def __init__(self, profile: Profile, key: Key, current: np.ndarray, setting: Setting) -> None:
        self._profile, self._bins, self._setting = profile, profile.bins[key], setting
        self._blocks, self._current = profile.counts[key], current
        self._rows = int(current.sum())
        sampled = self._blocks.sum() / max(profile.rows, 1)
        self._drawn_rows = max(1, round(self._rows * sampled))  # the model's answers are counted for a sample of rows
        # the same data is judged alike every time
        self._generator = np.random.default_rng(zlib.crc32(repr((key[0], key[1].value)).encode()))

    @cached_property
    def _window_draws(self) -> Draws | None:
        return self._draw(Against.WINDOW)

    def _draw(self, against: Against) -> Draws | None:
        return draw(self._blocks, self._profile.spans, self._drawn_rows, against, self._generator)

    def values(self, bound: Bound | None) -> list[Check]:
        """How far the distribution of the present values is from the window's, and from the last span's."""
        measure = bound.measure if bound else Measure.L_INFINITY if self._is_category() else Measure.JENSEN_SHANNON
        counted = slice(0, -2) if self._is_category() else slice(0, -1)
        distance = _on(DISTANCES[measure], counted)
        checks = []
        is_relation = self._bins.kind is Kind.RELATION
        for against in (Against.WINDOW,) if is_relation else Against:
            if bound is None:
                draws = self._window_draws if against is Against.WINDOW else self._draw(against)
                if draws is None:
                    continue
                limit = self._limit(draws, distance, measure)
                if is_relation:  # rows of a few days are of few moments, and what a line leaves is of their weather
                    limit += _MARGIN * limit * (1 - limit)
            elif against is Against.WINDOW:
                limit = bound.threshold
            else:
                continue
            aspect = self._bins.kind.value if self._bins.kind in _NAMED else "values"
            present = int(self._current[:-1].sum())
            is_blind = bound is None and (self._lacks_days() or self._never_repeats() or self._is_wide(limit))
            checks.append(self._check(aspect, measure, distance, limit, against, present, is_blind=is_blind))
        return checks

    def missing(self) -> list[Check]:
        """How far the share of rows without a value is from the window's."""

        def change(reference: np.ndarray, current: np.ndarray) -> np.ndarray:
            return np.asarray(np.abs(shares(reference)[..., -1] - shares(current)[..., -1]))

        draws = self._window_draws
        if draws is None:
            return []
        limit = self._limit(draws, change, Measure.SHARE_CHANGE)
        return [self._check("missing", Measure.SHARE_CHANGE, change, limit, Against.WINDOW, self._rows)]

    def unseen(self) -> list[Check]:
        """The share of the present values that the training rows do not have.

        The band is of later spans' values that no earlier span had: early spans have no past to know values from.
        """

        def share(reference: np.ndarray, current: np.ndarray) -> np.ndarray:
            del reference
            return np.asarray(shares(current)[..., -1])

        # a value too rare to be known is unseen whenever it comes, in training too
        new = self._profile.new_rows[self._bins.feature] + self._blocks[:, -2]
        spans = self._profile.spans
        numbers = np.unique(spans)
        later = spans >= numbers[len(numbers) // 2] if len(numbers) > 1 else np.zeros(len(spans), bool)
        present = int(self._current[:-1].sum())
        both = np.stack([self._blocks[:, :-1].sum(axis=1) - new, new], axis=1)
        draws = draw(both[later], spans[later], present, Against.WINDOW, self._generator) if later.any() else None
        limit = self._limit(draws, share, Measure.SHARE) if draws else self._unseen_by_chance(present)
        limit = max(limit, LEAST_CHANGE[Measure.SHARE], _FEWEST_UNSEEN / max(present, 1))
        blind = self._never_repeats()
        return [
            self._check(UNSEEN, Measure.SHARE, _on(share, slice(0, -1)), limit, Against.WINDOW, present, is_blind=blind)
        ]

    def _is_wide(self, limit: float) -> bool:
        """Whether the band only says that the rows are too few to show all hours, or all days."""
        return self._bins.kind in _CYCLES and limit > _BLIND

    def _lacks_days(self) -> bool:
        """Whether the rows are of a part of a week: many rows of a Tuesday are no alarm."""
        return self._bins.kind is Kind.WEEKDAYS and not self._current[:7].all()

    def _never_repeats(self) -> bool:
        """Whether most values of a span are new, as those of a number of an order: nothing can be said of them."""
        if not self._is_category() or self._bins.feature not in self._profile.new_rows:
            return False
        later = self._profile.spans > self._profile.spans[0]
        rows = int(self._blocks[later, :-1].sum())
        return bool(rows and self._profile.new_rows[self._bins.feature][later].sum() > _MOST_NEW * rows)

    def _unseen_by_chance(self, rows: int) -> float:
        """The share that rows like those of a single span exceed at the rate of false alarms.

        As much is unseen as the values that were seen once make up (Good 1953,
        https://doi.org/10.1093/biomet/40.3-4.237), give or take what both samples' sizes do.
        """
        known = self._profile.earlier.get(self._bins.feature)
        if not isinstance(known, CategoricalSummary) or not known.present or not rows:
            return 0.0
        often = sum(share for share in known.shares.values() if share * known.present > 1.5)
        size = 1 / (1 / rows + 1 / known.present)
        return (
            float(stats.beta.isf(self._setting.rate, (1 - often) * size, often * size)) if 0 < often < 1 else 1 - often
        )

    def outside(self) -> Check:
        """The share of rows with a number that training hardly had the like of.

        Three cold days are as far from ten months as three days in another unit, so the band of the values says
        nothing of few rows; but it takes more than this share to look into what they are (`monitoring.explain`).
        """

        def share(reference: np.ndarray, current: np.ndarray) -> np.ndarray:
            return np.asarray(np.where(shares(reference) < _HARDLY_ANY, shares(current), 0).sum(axis=-1))

        present = int(self._current[:-1].sum())
        statistic = _on(share, slice(0, -1))
        return self._check(OUTSIDE, Measure.SHARE, statistic, _MOST_OUTSIDE, Against.WINDOW, present)

    def _limit(self, draws: Draws, statistic: Statistic, measure: Measure) -> float:
        return max(threshold(draws, statistic, self._setting.rate), LEAST_CHANGE[measure])

    def _check(
        self,
        aspect: str,
        measure: Measure,
        statistic: Statistic,
        limit: float,
        against: Against,
        rows: int,
        *,
        is_blind: bool = False,
    ) -> Check:
        last = self._setting.last_span
        newest = self._profile.newest_span if last is None else last
        is_window = against is Against.WINDOW
        reference = self._blocks if is_window else self._blocks[self._profile.spans == newest]
        total = reference.sum(axis=0)
        value = float(statistic(total, self._current))
        if rows < self._setting.fewest_rows or is_blind:
            state = State.UNDECIDED
        else:
            state = State.ALARM if value > limit else State.PASSED
        return Check(
            comparison=self._setting.comparison,
            subject=self._bins.feature,
            aspect=aspect,
            measure=measure.value,
            value=value,
            threshold=limit,
            rows=rows,
            state=state,
            against=against.value if is_window else f"last span, {newest}",
            source=self._setting.source,
            importance=self._setting.importances.get(self._bins.feature, 0.0),
            distribution=distribution(self._bins, total, self._current),
        )

    def _is_category(self) -> bool:
        return self._bins.kind is Kind.CATEGORIES


def rate_of_check(false_alarm_rate: float, profile: Profile) -> float:
    """The false alarms that a check may give, so that a report stays within its own rate."""
    relations = sum(bins.kind is Kind.RELATION for bins in profile.bins.values())
    checks = CHECKS_OF_A_FEATURE * (len(profile.bins) - relations) + relations
    return false_alarm_rate / max(checks, 1)


def distribution(bins: Bins, reference: np.ndarray, current: np.ndarray) -> Distribution:
    """Both sides by bin, without the bins that neither has."""
    labels = np.array([readable(label) for label in bins.labels], object)
    kept = (reference > 0) | (current > 0)
    return Distribution(
        bins=tuple(labels[kept]),
        reference=tuple(shares(reference)[kept].round(6).tolist()),
        current=tuple(shares(current)[kept].round(6).tolist()),
    )


def by_impact(checks: Sequence[Check]) -> list[Check]:
    """Alarms first, what does most to the model first: how far beyond its threshold, times the feature's importance.

    A feature of no importance still counts a little: an importance is an estimate, and a fault is a fault.
    """
    order = {State.ALARM: 0, State.UNDECIDED: 1, State.PASSED: 2}

    def impact(check: Check) -> tuple[int, bool, bool, float]:
        capped = min(check.excess, 20.0)
        # single rows that differ say less than how: since when, and both distributions
        return order[check.state], not check.is_fault, check.aspect == MISMATCH, -capped * (0.02 + check.importance)

    return sorted(checks, key=impact)


def _on(statistic: Callable[[np.ndarray, np.ndarray], np.ndarray], counted: slice) -> Statistic:
    """The statistic of some of the bins."""
    return lambda reference, current: statistic(reference[..., counted], current[..., counted])
