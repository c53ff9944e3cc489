from __future__ import annotations

import numpy as np
import pytest
from watched import category, number, watched_rows

from monitoring.quality import RegressionCounts, metrics
from monitoring.slicing import ALL_EXAMPLES, QualityBySlice, add_quality, quality_by_slice

FEATURES = (category("origin"), number("stops", is_whole=True))


def rows_by_slice(quality: QualityBySlice) -> dict[str, int]:
    return {name: counts.scores.rows for name, counts in quality.items()}


def test_all_rows_and_those_of_each_value() -> None:
    rows = watched_rows({"origin": ["JFK", "LGA", "JFK", None], "stops": [0, 1, None, 1]}, FEATURES)
    scores, labels = np.array([0.9, 0.2, 0.4, 0.6]), np.array([1.0, 0.0, np.nan, 1.0])
    quality = quality_by_slice(rows, scores, labels, ("origin", "stops"), "binary")
    assert rows_by_slice(quality) == {
        ALL_EXAMPLES: 4, "origin=JFK": 2, "origin=LGA": 1, "stops=0": 1, "stops=1": 2
    }  # fmt: skip
    assert quality["origin=JFK"].log_loss.rows == 1
    assert quality["origin=JFK"].log_loss.mean == pytest.approx(-np.log(0.9))
    assert quality["stops=1"].brier.mean == pytest.approx((0.2**2 + 0.4**2) / 2)


def test_a_regression_is_counted_as_one() -> None:
    rows = watched_rows({"origin": ["JFK", "LGA", "JFK"]}, FEATURES)
    quality = quality_by_slice(rows, np.array([1.0, 2.0, 5.0]), np.array([2.0, 2.0, 2.0]), ("origin",), "regression")
    assert isinstance(quality[ALL_EXAMPLES], RegressionCounts)
    assert {each.metric: each.value for each in metrics(quality["origin=JFK"])}["mse"] == pytest.approx(5)


def test_without_slices_only_all() -> None:
    rows = watched_rows({"origin": ["JFK"]}, FEATURES)
    assert list(quality_by_slice(rows, np.array([0.5]), np.array([1.0]), (), "binary")) == [ALL_EXAMPLES]


def test_values_that_look_alike_are_counted_together_and_none_is_lost() -> None:
    rows = watched_rows({"origin": [b"\xff", b"\xfe", b"\xff"], "stops": [1_234_567, 1_234_568, 0.25]}, FEATURES)
    quality = quality_by_slice(rows, np.full(3, 0.5), np.ones(3), ("origin", "stops"), "binary")
    assert rows_by_slice(quality) == {
        ALL_EXAMPLES: 3, "origin=�": 3, "stops=1234567": 1, "stops=1234568": 1, "stops=0.25": 1
    }  # fmt: skip


def test_an_infinite_number_is_a_slice() -> None:
    rows = watched_rows({"stops": [np.inf, -np.inf]}, FEATURES)
    assert list(quality_by_slice(rows, np.ones(2), np.ones(2), ("stops",), "binary"))[1:] == ["stops=inf", "stops=-inf"]


def test_parts_add_up() -> None:
    random = np.random.default_rng(0)
    rows = watched_rows({"origin": random.choice(["JFK", "LGA", "EWR"], 300)}, FEATURES)
    scores, labels = random.random(300), (random.random(300) < 0.5).astype(float)
    total: QualityBySlice = {}
    for start in range(0, 300, 70):
        part = slice(start, start + 70)
        add_quality(total, quality_by_slice(rows.slice(start, 70), scores[part], labels[part], ("origin",), "binary"))
    whole = quality_by_slice(rows, scores, labels, ("origin",), "binary")
    assert rows_by_slice(total) == rows_by_slice(whole)
    for name, counts in whole.items():
        np.testing.assert_array_equal(total[name].positives, counts.positives)
        assert total[name].log_loss.total == pytest.approx(counts.log_loss.total)
