from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from scipy.special import expit, logit

from monitoring.calibration import Calibration, estimate
from monitoring.quality import BINS, BinaryCounts, Estimate, bin_of, metrics


def overconfident(random: np.random.Generator, rows: int, mean: float, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores that are further from 1/2 than what is true of the rows, whose labels depend on nothing but the row."""
    logits = random.normal(mean, spread, rows)
    return expit(1.4 * logits + 0.4), (random.random(rows) < expit(logits)).astype(float)


def reference(random: np.random.Generator, rows: int = 10_000) -> BinaryCounts:
    return BinaryCounts.of(*overconfident(random, rows, -1.4, 0.7))


def without_labels(scores: np.ndarray) -> BinaryCounts:
    return BinaryCounts.of(scores, np.full(len(scores), np.nan))


def by_name(estimates: list[Estimate]) -> dict[str, Estimate]:
    return {each.metric: each for each in estimates}


def test_it_learns_how_often_scores_come_true() -> None:
    calibration = Calibration.fit(reference(np.random.default_rng(1), 200_000))
    scores = np.linspace(0.05, 0.6, 50)
    truth = expit((logit(scores) - 0.4) / 1.4)
    assert np.abs(calibration.probabilities()[bin_of(scores)] - truth).max() < 0.03
    assert np.abs(np.array(calibration.smooth)[bin_of(scores)] - truth).max() < 0.01


def test_a_higher_score_is_never_less_likely() -> None:
    probabilities = Calibration.fit(reference(np.random.default_rng(2), 500)).probabilities()
    assert probabilities.shape == (BINS,)
    assert (np.diff(probabilities) >= 0).all()
    assert 0 <= probabilities[0] < probabilities[-1] <= 1


def test_it_travels_as_json() -> None:
    random = np.random.default_rng(3)
    calibration = Calibration.fit(reference(random))
    copy = Calibration(**json.loads(json.dumps(asdict(calibration))))
    counts = without_labels(overconfident(random, 1000, -1.4, 0.7)[0])
    assert estimate(counts, copy) == estimate(counts, calibration)


def test_without_labelled_rows_there_is_no_calibration() -> None:
    with pytest.raises(ValueError, match="labelled rows"):
        Calibration.fit(without_labels(np.full(100, 0.5)))


def test_under_covariate_shift_the_estimate_is_near_the_metric() -> None:
    random = np.random.default_rng(4)
    before = reference(random, 20_000)
    scores, labels = overconfident(random, 20_000, -0.8, 0.9)
    found = by_name(estimate(without_labels(scores), Calibration.fit(before)))
    real, old = by_name(metrics(BinaryCounts.of(scores, labels))), by_name(metrics(before))
    assert list(found) == list(real)
    for name, metric in real.items():
        # Much nearer to the real metric than the metric of the reference is.
        assert abs(found[name].value - metric.value) < abs(old[name].value - metric.value) / 4, name
        assert found[name].low <= metric.value <= found[name].high, name
        assert found[name].rows == 20_000


def test_the_interval_is_wider_than_with_labels_and_holds_the_truth() -> None:
    random = np.random.default_rng(5)
    truth = by_name(metrics(BinaryCounts.of(*overconfident(random, 300_000, -0.8, 0.9))))
    covered = dict.fromkeys(truth, 0)
    for _ in range(30):
        scores, labels = overconfident(random, 2000, -0.8, 0.9)
        real = by_name(metrics(BinaryCounts.of(scores, labels)))
        for name, each in by_name(estimate(without_labels(scores), Calibration.fit(reference(random, 2000)))).items():
            covered[name] += each.low <= truth[name].value <= each.high
            assert each.high - each.low > (real[name].high - real[name].low) * 0.98, name
    assert all(count >= 26 for count in covered.values()), covered


def test_fewer_labelled_rows_make_a_wider_interval() -> None:
    random = np.random.default_rng(6)
    counts = without_labels(overconfident(random, 20_000, -1.4, 0.7)[0])
    few, many = (by_name(estimate(counts, Calibration.fit(reference(random, rows)))) for rows in (500, 50_000))
    assert all(few[name].high - few[name].low > 2 * (many[name].high - many[name].low) for name in few)


def test_a_well_known_calibration_leaves_the_interval_that_labels_would_give() -> None:
    random = np.random.default_rng(10)
    scores, labels = overconfident(random, 1000, -1.4, 0.7)
    found = by_name(estimate(without_labels(scores), Calibration.fit(reference(random, 500_000))))
    for name, real in by_name(metrics(BinaryCounts.of(scores, labels))).items():
        assert found[name].high - found[name].low == pytest.approx(real.high - real.low, rel=0.15), name


def test_flipped_labels_are_invisible_to_it() -> None:
    random = np.random.default_rng(7)
    calibration = Calibration.fit(reference(random))
    scores, labels = overconfident(random, 5000, -1.4, 0.7)
    found = by_name(estimate(without_labels(scores), calibration))
    real = by_name(metrics(BinaryCounts.of(scores, 1 - labels)))
    assert found["auc"].low > 0.6 > 0.4 > real["auc"].high
    assert found["log_loss"].high < real["log_loss"].low


@pytest.mark.parametrize("rows", [0, 1])
def test_hardly_any_rows_have_no_estimate(rows: int) -> None:
    calibration = Calibration.fit(reference(np.random.default_rng(8)))
    assert estimate(without_labels(np.full(rows, 0.4)), calibration) == []


def test_labelled_rows_are_not_estimated() -> None:
    counts = reference(np.random.default_rng(9))
    assert estimate(counts, Calibration.fit(counts)) == []


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_calibration_on_one_class_tells_no_auc(label: float) -> None:
    scores = np.linspace(0.1, 0.9, 500)
    calibration = Calibration.fit(BinaryCounts.of(scores, np.full(500, label)))
    assert set(calibration.probabilities()) == {label}
    assert list(by_name(estimate(without_labels(scores), calibration))) == ["log_loss", "brier"]
