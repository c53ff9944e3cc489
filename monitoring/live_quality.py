"""The live model's metrics by window and slice, measured where labels arrived and estimated where not."""

from __future__ import annotations

from collections.abc import Mapping

from monitoring.calibration import estimate
from monitoring.config import MonitorConfig
from monitoring.diagnosis import diagnose_labels
from monitoring.quality import BinaryCounts, Estimate, metrics
from monitoring.reference import Reference
from monitoring.report import Check, Comparison, QualityPoint, State
from monitoring.slicing import ALL_EXAMPLES, QualityBySlice, QualityCounts, add_quality

_FEWEST_LABELS = 50
_AUC = "auc"


def quality_points(quality: Mapping[int, QualityBySlice], reference: Reference, seconds: float) -> list[QualityPoint]:
    """A point for each metric, slice and window, and for each slice over the whole period.

    Args:
        quality: By the start of each window.
        reference: What the metrics were on the evaluation span; how its scores came true.
        seconds: The length of a window.
    """
    if not quality:
        return []
    known = {name: {each.metric: each.value for each in metrics(counts)} for name, counts in reference.quality.items()}
    calibration = reference.calibration()
    periods = [(start, start + seconds, slices) for start, slices in sorted(quality.items())]
    if len(periods) > 1:
        whole: QualityBySlice = {}
        for slices in quality.values():
            add_quality(whole, slices)
        periods.append((periods[0][0], periods[-1][1], whole))
    points = []
    for start, end, slices in periods:
        for name, counts in sorted(slices.items()):
            for found in _measured(counts):
                points.append(_point(found, name, start, end, known, is_estimate=False))
            if calibration is None or name != ALL_EXAMPLES or not isinstance(counts, BinaryCounts):
                continue
            if counts.unlabelled.sum() >= _FEWEST_LABELS:
                for found in estimate(counts, calibration):
                    points.append(_point(found, name, start, end, known, is_estimate=True))
    return points


def _measured(counts: QualityCounts) -> list[Estimate]:
    return [each for each in metrics(counts) if each.rows >= _FEWEST_LABELS]


def _point(
    found: Estimate, name: str, start: float, end: float, known: Mapping[str, Mapping[str, float]], *, is_estimate: bool
) -> QualityPoint:
    return QualityPoint(
        metric=found.metric,
        slice=name,
        start=start,
        end=end,
        value=found.value,
        low=found.low,
        high=found.high,
        rows=found.rows,
        reference=known.get(name, {}).get(found.metric),
        is_estimate=is_estimate,
    )


def label_checks(
    quality: QualityBySlice, reference: Reference, config: MonitorConfig, *, features_moved: bool
) -> list[Check]:
    """Whether the labels that arrived are believable: not flipped, not of one class, not unrelated to the scores."""
    counts, before = quality.get(ALL_EXAMPLES), reference.quality[ALL_EXAMPLES]
    if not isinstance(counts, BinaryCounts) or not isinstance(before, BinaryCounts):
        return []
    rows, rows_before = (int(each.positives.sum() + each.negatives.sum()) for each in (counts, before))
    if rows < config.fewest_rows or not rows_before:
        return []
    live, of_reference = (
        next((each for each in metrics(each) if each.metric == _AUC), None) for each in (counts, before)
    )
    found = diagnose_labels(
        float(before.positives.sum()) / rows_before,
        float(counts.positives.sum()) / rows,
        rows,
        of_reference.value if of_reference else None,
        (live.low, live.high) if live else None,
        features_moved,
    )
    if found is None or not found.is_fault:
        return []
    rate = float(counts.positives.sum()) / rows
    return [
        Check(
            comparison=Comparison.SKEW,
            subject=reference.label,
            aspect="labels",
            measure="AUC" if live else "share of positives",
            value=live.value if live else rate,
            threshold=0.5,
            rows=rows,
            state=State.ALARM,
            against="evaluation span",
            source="labels that arrived",
            importance=1.0,
            is_fault=True,
            diagnosis=found.text,
        )
    ]
