from __future__ import annotations

import json
from functools import reduce
from operator import add

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import brier_score_loss, log_loss, mean_absolute_error, mean_squared_error, roc_auc_score

from monitoring.quality import BINS, BinaryCounts, Estimate, Moments, RegressionCounts, bin_of, bin_scores, metrics
from schema.errors import DataError

BINARY = ["auc", "log_loss", "brier"]
REGRESSION = ["mse", "rmse", "mae"]


def binary_rows(random: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    scores = expit(random.normal(-1.4, 0.7, rows))
    return scores, (random.random(rows) < scores).astype(float)


def by_name(estimates: list[Estimate]) -> dict[str, Estimate]:
    return {each.metric: each for each in estimates}


def share_covered(counts: list[BinaryCounts] | list[RegressionCounts], truth: dict[str, float]) -> dict[str, float]:
    found = [by_name(metrics(each)) for each in counts]
    return {
        name: float(np.mean([each[name].low <= value <= each[name].high for each in found]))
        for name, value in truth.items()
    }


class TestBins:
    def test_every_probability_is_in_the_bin_of_its_neighbourhood(self) -> None:
        scores = np.linspace(0.0001, 0.9999, 5000)
        assert np.abs(bin_scores()[bin_of(scores)] - scores).max() < 0.004

    def test_zero_and_one_are_in_the_outermost_bins(self) -> None:
        assert bin_of(np.array([0.0, 1.0])).tolist() == [0, BINS - 1]

    def test_the_middle_of_a_bin_is_in_it(self) -> None:
        assert bin_of(bin_scores()).tolist() == list(range(BINS))


class TestBinary:
    def test_the_metrics_are_those_of_scikit_learn(self) -> None:
        scores, labels = binary_rows(np.random.default_rng(1), 20_000)
        found = by_name(metrics(BinaryCounts.of(scores, labels)))
        assert list(found) == BINARY
        assert found["auc"].value == pytest.approx(roc_auc_score(labels, scores), abs=1e-4)
        assert found["log_loss"].value == pytest.approx(log_loss(labels, scores))
        assert found["brier"].value == pytest.approx(brier_score_loss(labels, scores))
        assert {each.rows for each in found.values()} == {20_000}

    def test_the_log_loss_of_a_certain_mistake_is_finite(self) -> None:
        found = by_name(metrics(BinaryCounts.of(np.array([0.0, 1.0]), np.array([1.0, 0.0]))))
        assert found["log_loss"].value == pytest.approx(-np.log(1e-7))

    def test_the_interval_of_the_auc_is_that_of_delong(self) -> None:
        # By the definition, pair by pair, on scores that are bins apart.
        random = np.random.default_rng(2)
        scores = random.choice(np.linspace(0.1, 0.9, 9), 60)
        labels = (random.random(60) < scores).astype(float)
        pairs = scores[labels == 1][:, np.newaxis] - scores[labels == 0]
        kernel = (np.sign(pairs) + 1) / 2
        variance = kernel.mean(axis=1).var(ddof=1) / len(kernel) + kernel.mean(axis=0).var(ddof=1) / kernel.shape[1]
        area = kernel.mean()
        reach = 1.96 * np.sqrt(variance) / (area * (1 - area))
        found = by_name(metrics(BinaryCounts.of(scores, labels)))["auc"]
        assert found.value == pytest.approx(area)
        assert found.low == pytest.approx(expit(np.log(area / (1 - area)) - reach), rel=1e-4)
        assert found.high == pytest.approx(expit(np.log(area / (1 - area)) + reach), rel=1e-4)

    def test_the_intervals_hold_the_truth_95_times_of_100(self) -> None:
        random = np.random.default_rng(3)
        scores, labels = binary_rows(random, 500_000)
        truth = {each.metric: each.value for each in metrics(BinaryCounts.of(scores, labels))}
        covered = share_covered([BinaryCounts.of(*binary_rows(random, 400)) for _ in range(800)], truth)
        assert all(0.93 <= share <= 0.975 for share in covered.values()), covered

    def test_a_perfect_order_of_few_rows_is_not_taken_for_certain(self) -> None:
        few, many = (
            by_name(metrics(BinaryCounts.of(np.repeat([0.1, 0.9], rows), np.repeat([0.0, 1.0], rows))))["auc"]
            for rows in (4, 400)
        )
        assert few.value == few.high == many.high == 1.0
        assert few.low < 0.5 < 0.99 < many.low

    def test_a_perfectly_wrong_order_mirrors_a_perfect_one(self) -> None:
        scores, labels = np.repeat([0.1, 0.9], 10), np.repeat([0.0, 1.0], 10)
        right, wrong = (by_name(metrics(BinaryCounts.of(scores, each)))["auc"] for each in (labels, 1 - labels))
        assert (wrong.low, wrong.high) == (0.0, pytest.approx(1 - right.low))

    def test_a_constant_score_has_an_auc_of_one_half(self) -> None:
        found = by_name(metrics(BinaryCounts.of(np.full(10, 0.3), np.repeat([0.0, 1.0], 5))))["auc"]
        assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)

    @pytest.mark.parametrize(
        ("labels", "expected"),
        [
            ([], []),
            ([1.0], []),
            ([np.nan, np.nan, np.nan], []),
            ([0.0, 0.0, 0.0], ["log_loss", "brier"]),
            ([1.0, 1.0, 1.0, 0.0], ["log_loss", "brier"]),
            ([1.0, 1.0, 0.0, 0.0], BINARY),
        ],
    )
    def test_what_the_rows_do_not_determine_is_left_out(self, labels: list[float], expected: list[str]) -> None:
        scores = np.linspace(0.2, 0.8, len(labels))
        assert list(by_name(metrics(BinaryCounts.of(scores, np.array(labels))))) == expected

    def test_rows_without_a_label_are_counted_apart(self) -> None:
        counts = BinaryCounts.of(np.array([0.2, 0.7, 0.7]), np.array([0.0, np.nan, np.nan]))
        assert counts.unlabelled[bin_of(np.array([0.7]))].tolist() == [2]
        assert counts.log_loss.rows == counts.negatives.sum() == 1
        assert (counts.scores.rows, counts.scores.mean) == (3, pytest.approx(1.6 / 3))

    @pytest.mark.parametrize(
        ("score", "label"), [(np.nan, 1.0), (np.nan, np.nan), (1.2, 1.0), (-np.inf, np.nan), (0.5, 2.0), (0.5, np.inf)]
    )
    def test_a_row_that_cannot_be_is_left_out_and_counted(self, score: float, label: float) -> None:
        scores, labels = binary_rows(np.random.default_rng(4), 50)
        clean = BinaryCounts.of(scores, labels).to_json()
        mixed = BinaryCounts.of(np.append(scores, score), np.append(labels, label)).to_json()
        assert mixed == clean | {"left_out": 1}


class TestRegression:
    def test_the_metrics_are_those_of_scikit_learn(self) -> None:
        random = np.random.default_rng(5)
        labels = random.gamma(2, 3, 5000)
        scores = labels + random.normal(0.2, 2, 5000)
        found = by_name(metrics(RegressionCounts.of(scores, labels)))
        assert list(found) == REGRESSION
        assert found["mse"].value == pytest.approx(mean_squared_error(labels, scores))
        assert found["rmse"].value == pytest.approx(np.sqrt(mean_squared_error(labels, scores)))
        assert found["mae"].value == pytest.approx(mean_absolute_error(labels, scores))

    def test_the_intervals_hold_the_truth_95_times_of_100(self) -> None:
        errors = np.random.default_rng(6).normal(0, 2, (1000, 500))
        truth = {"mse": 4.0, "rmse": 2.0, "mae": 2 * np.sqrt(2 / np.pi)}
        covered = share_covered([RegressionCounts.of(each, np.zeros(500)) for each in errors], truth)
        assert all(0.93 <= share <= 0.97 for share in covered.values()), covered

    def test_exact_predictions_have_no_error(self) -> None:
        found = metrics(RegressionCounts.of(np.arange(5.0), np.arange(5.0)))
        assert [(each.value, each.low, each.high) for each in found] == [(0.0, 0.0, 0.0)] * 3

    def test_rows_that_cannot_be_are_left_out_and_rows_without_a_label_wait(self) -> None:
        scores = np.array([1.0, 2.0, np.nan, np.inf, 3.0, 4.0])
        labels = np.array([1.0, 4.0, 1.0, 1.0, -np.inf, np.nan])
        counts = RegressionCounts.of(scores, labels)
        assert (counts.scores.rows, counts.errors.rows, counts.left_out) == (3, 2, 3)
        assert counts.errors.mean == -1.0

    def test_one_row_has_no_metrics(self) -> None:
        assert metrics(RegressionCounts.of(np.ones(1), np.zeros(1))) == []


class TestMerging:
    @pytest.mark.parametrize("kind", [BinaryCounts, RegressionCounts])
    def test_the_parts_add_up_to_the_whole(self, kind: type[BinaryCounts] | type[RegressionCounts]) -> None:
        scores, labels = binary_rows(np.random.default_rng(7), 1000)
        scores[::10], labels[::7] = np.nan, np.nan
        parts = [kind.of(*each) for each in zip(np.split(scores, 10), np.split(labels, 10), strict=True)]
        merged = reduce(add, parts, kind.empty())
        whole = kind.of(scores, labels)
        assert merged.left_out == whole.left_out == 100
        for ours, theirs in zip(metrics(merged), metrics(whole), strict=True):
            assert vars(ours) == pytest.approx(vars(theirs))

    @pytest.mark.parametrize("kind", [BinaryCounts, RegressionCounts])
    def test_they_travel_as_json(self, kind: type[BinaryCounts] | type[RegressionCounts]) -> None:
        counts = kind.of(*binary_rows(np.random.default_rng(8), 100))
        copy = kind.from_json(json.loads(json.dumps(counts.to_json())))
        assert copy.to_json() == counts.to_json()
        assert metrics(copy + counts)[0].rows == 200

    def test_counts_by_other_bins_are_refused(self) -> None:
        with pytest.raises(DataError, match="Expected: 1024 bins"):
            BinaryCounts.from_json(BinaryCounts.empty().to_json() | {"positives": [0, 1]})


def test_moments_are_those_of_numpy() -> None:
    values = np.random.default_rng(9).normal(5, 2, 1000)
    moments = Moments.of(values[:300]) + Moments.of(values[300:])
    assert (moments.mean, moments.variance) == (pytest.approx(values.mean()), pytest.approx(values.var(ddof=1)))
