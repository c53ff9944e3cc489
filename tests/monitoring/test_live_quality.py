"""Live metrics by window and slice: measured where labels are, estimated where not."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_squared_error, roc_auc_score
from small_reference import answers_of, flights_of, reference_of, rows_of

from monitoring.config import MonitorConfig
from monitoring.live_quality import label_checks, quality_points
from monitoring.report import QualityPoint, State
from monitoring.slicing import ALL_EXAMPLES, quality_by_slice

TABLES = {1: flights_of(1), 2: flights_of(2)}
REFERENCE = reference_of(TABLES)
LIVE = flights_of(3)
SCORES, LABELS = answers_of(LIVE), LIVE["late"].to_numpy().astype(np.float64)


def quality(scores: np.ndarray = SCORES, labels: np.ndarray = LABELS, rows: slice = slice(None)):
    part = LIVE.slice(rows.start or 0, (rows.stop or len(LIVE)) - (rows.start or 0))
    return quality_by_slice(rows_of(part), scores[rows], labels[rows], ("carrier",), "binary")


def of(points: list[QualityPoint], metric: str, name: str = ALL_EXAMPLES, **fields: object) -> list[QualityPoint]:
    return [
        each
        for each in points
        if (each.metric, each.slice) == (metric, name) and all(getattr(each, k) == v for k, v in fields.items())
    ]


def test_measured_as_scikit_learn_measures() -> None:
    points = quality_points({0: quality()}, REFERENCE, 60)
    [auc], [loss] = of(points, "auc"), of(points, "log_loss")
    assert auc.value == pytest.approx(roc_auc_score(LABELS, SCORES), abs=1e-3)
    assert loss.value == pytest.approx(log_loss(LABELS, SCORES), abs=1e-6)
    assert auc.low < auc.value < auc.high
    before = answers_of(TABLES[2]), TABLES[2]["late"].to_numpy()
    assert auc.reference == pytest.approx(roc_auc_score(before[1], before[0]), abs=1e-3)
    assert (auc.start, auc.end, auc.rows, auc.is_estimate) == (0, 60, 1500, False)
    [of_aa] = of(points, "auc", "carrier=AA")
    is_aa = np.array(LIVE["carrier"].to_pylist()) == "AA"
    assert of_aa.value == pytest.approx(roc_auc_score(LABELS[is_aa], SCORES[is_aa]), abs=1e-3)
    assert of_aa.reference != auc.reference


def test_a_point_for_each_window_and_for_all_of_them() -> None:
    windows = {0: quality(rows=slice(0, 700)), 60: quality(rows=slice(700, 1500))}
    points = of(quality_points(windows, REFERENCE, 60), "log_loss")
    assert [(each.start, each.end, each.rows) for each in points] == [(0, 60, 700), (60, 120, 800), (0, 120, 1500)]
    assert points[2].value == pytest.approx(log_loss(LABELS, SCORES), abs=1e-6)


def test_estimated_without_labels_and_marked_so() -> None:
    points = quality_points({0: quality(labels=np.full(1500, np.nan))}, REFERENCE, 60)
    assert points
    assert all(each.is_estimate and each.slice == ALL_EXAMPLES for each in points)
    [auc] = of(points, "auc")
    assert auc.value == pytest.approx(roc_auc_score(LABELS, SCORES), abs=0.03)


def test_both_where_some_labels_are_late() -> None:
    labels = np.where(np.arange(1500) < 900, LABELS, np.nan)
    points = of(quality_points({0: quality(labels=labels)}, REFERENCE, 60), "auc")
    assert [(each.is_estimate, each.rows) for each in points] == [(False, 900), (True, 600)]


def test_few_labels_measure_nothing() -> None:
    labels = np.where(np.arange(1500) < 49, LABELS, np.nan)
    assert not of(quality_points({0: quality(labels=labels)}, REFERENCE, 60), "auc", is_estimate=False)
    assert quality_points({}, REFERENCE, 60) == []


def test_a_regression_has_errors_and_no_estimate() -> None:
    tables = {span: flights_of(span, task="regression") for span in (1, 2, 3)}
    reference = reference_of({1: tables[1], 2: tables[2]}, "regression")
    scores, labels = answers_of(tables[3], "regression"), tables[3]["late"].to_numpy().astype(np.float64)
    counts = quality_by_slice(rows_of(tables[3]), scores, labels, (), "regression")
    points = quality_points({0: counts}, reference, 60)
    [rmse] = of(points, "rmse")
    assert rmse.value == pytest.approx(mean_squared_error(labels, scores) ** 0.5)
    assert rmse.reference == pytest.approx(rmse.value, rel=0.1)
    unknown = quality_by_slice(rows_of(tables[3]), scores, labels * np.nan, (), "regression")
    assert quality_points({0: unknown}, reference, 60) == []
    assert label_checks(counts, reference, MonitorConfig(), features_moved=False) == []


def test_flipped_labels_are_a_fault() -> None:
    [found] = label_checks(quality(labels=1 - LABELS), REFERENCE, MonitorConfig(), features_moved=False)
    assert (found.subject, found.aspect, found.state, found.is_fault) == ("late", "labels", State.ALARM, True)
    assert found.diagnosis


@pytest.mark.parametrize("labels", [LABELS, np.where(np.arange(1500) < 299, 1 - LABELS, np.nan), LABELS * np.nan])
def test_labels_that_are_right_or_few_are_none(labels: np.ndarray) -> None:
    assert label_checks(quality(labels=labels), REFERENCE, MonitorConfig(), features_moved=False) == []
    assert label_checks({}, REFERENCE, MonitorConfig(), features_moved=False) == []
