"""What a model's metrics probably are before the labels arrive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import logit
from sklearn.isotonic import isotonic_regression
from sklearn.linear_model import LogisticRegression

from monitoring.quality import (
    BinaryCounts,
    Estimate,
    area_interval,
    area_under_curve,
    area_variance,
    bin_scores,
    mean_interval,
)

_REPLICATES = 100
_SEED = 20130101


@dataclass(frozen=True)
class Calibration:
    """How often a score came true on labelled rows, by score bin; plain values."""

    curve: tuple[float, ...]
    """The share of positives, never falling from bin to bin."""
    smooth: tuple[float, ...]
    """The share of positives by logistic regression on the score's logit (Platt scaling)."""
    rows: tuple[int, ...]
    """The labelled rows that both were learned from."""

    @classmethod
    def fit(cls, counts: BinaryCounts) -> Calibration:
        """Isotonic regression of the labels on the scores of labelled rows; raises ValueError if there are none."""
        rows = counts.positives + counts.negatives
        if not rows.any():
            raise ValueError("a calibration needs labelled rows")
        curve = _isotonic(counts.positives, rows)
        smooth = _logistic(counts) if counts.positives.any() and counts.negatives.any() else curve
        return cls(tuple(curve.tolist()), tuple(smooth.tolist()), tuple(rows.tolist()))

    def probabilities(self) -> np.ndarray:
        """The probability of a positive by score bin, float64 [BINS]."""
        return np.asarray(self.curve)

    @cached_property
    def replicates(self) -> np.ndarray:
        """Isotonic curves from labels drawn anew, float64 [replicates, BINS], as if the smooth curve were the truth.

        The step curve itself would not do as the truth: the bootstrap fails there, see Sen, Banerjee and Woodroofe,
        "Inconsistency of bootstrap: the Grenander estimator", Annals of Statistics 38 (2010), who smooth as well.
        """
        rows = np.asarray(self.rows)
        drawn = np.random.default_rng(_SEED).binomial(rows, self.smooth, (_REPLICATES, len(rows)))
        return np.stack([_isotonic(each, rows) for each in drawn])


def estimate(counts: BinaryCounts, calibration: Calibration) -> list[Estimate]:
    """Estimates AUC, log loss and Brier score of the unlabelled rows: confidence-based performance estimation.

    Each row counts as a positive and as a negative by its calibrated probability, and the metrics are those of these
    expected counts. The assumption: a score comes true as often as it did on the rows of the calibration. That holds
    when only the mix of rows changed (covariate shift) as far as the score tells the rows apart; it does not when the
    world did (concept drift): flipped labels are invisible here. So this is an estimate, to be shown as one.

    The interval is as wide as labels for these rows would give, and wider by the error of the calibration, found by a
    smoothed bootstrap. That also finds and removes the estimate's bias: isotonic regression is flat beyond the scores
    that it knows, and orders its own rows somewhat too well. A metric that cannot be told is left out, as in `metrics`.

    Sources: Kivimäki, Białek, Kuberski and Nurminen, "Performance Estimation in Binary Classification Using Calibrated
    Confidence" (2025), arXiv:2505.05295; NannyML's documentation, "How it works: performance estimation". They share
    the method; the variances are our own.
    """
    rows = int(counts.unlabelled.sum())
    if rows < 2:
        return []
    unlabelled, middles = counts.unlabelled, bin_scores()
    return [
        *_auc(unlabelled, calibration),
        _loss("log_loss", unlabelled, calibration, -np.log(middles), -np.log1p(-middles)),
        _loss("brier", unlabelled, calibration, (1 - middles) ** 2, middles**2),
    ]


def _auc(unlabelled: np.ndarray, calibration: Calibration) -> list[Estimate]:
    def area(curves: np.ndarray) -> np.ndarray:
        return area_under_curve(unlabelled * curves, unlabelled * (1 - curves))

    positives = unlabelled * np.asarray(calibration.smooth)
    negatives = unlabelled - positives
    fewest = float(min(positives.sum(), negatives.sum()))
    expected = np.vstack([calibration.replicates, calibration.probabilities()]) @ unlabelled
    if fewest < 2 or not ((expected > 0) & (expected < unlabelled.sum())).all():
        return []
    value, variance = _corrected(area, calibration, 1.0)
    low, high = area_interval(value, area_variance(positives, negatives) + variance, fewest)
    return [Estimate("auc", value, low, high, int(unlabelled.sum()))]


def _loss(
    metric: str, unlabelled: np.ndarray, calibration: Calibration, if_positive: np.ndarray, if_negative: np.ndarray
) -> Estimate:
    rows = int(unlabelled.sum())

    def mean(curves: np.ndarray, power: int = 1) -> np.ndarray:
        expected = curves * if_positive**power + (1 - curves) * if_negative**power
        return np.asarray(expected @ unlabelled / rows)

    smooth = np.asarray(calibration.smooth)
    sampling = max(float(mean(smooth, power=2) - mean(smooth) ** 2), 0.0) / rows
    value, variance = _corrected(mean, calibration, np.inf)
    return Estimate(metric, value, *mean_interval(value, sampling + variance), rows)


def _corrected(
    metric: Callable[[np.ndarray], np.ndarray], calibration: Calibration, most: float
) -> tuple[float, float]:
    """A metric, from 0 to `most`, less its bias, and the variance that it has from the calibration."""
    replicated = metric(calibration.replicates)
    bias = replicated.mean() - metric(np.asarray(calibration.smooth))
    value = float(metric(calibration.probabilities()) - bias)
    return min(max(value, 0.0), most), float(replicated.var())


def _isotonic(positives: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The curve over all bins; straight between the bins that have rows, constant beyond them."""
    known = np.flatnonzero(rows)
    shares = isotonic_regression(positives[known] / rows[known], sample_weight=rows[known], y_min=0.0, y_max=1.0)
    return np.interp(np.arange(len(rows)), known, shares)


def _logistic(counts: BinaryCounts) -> np.ndarray:
    logits = logit(bin_scores())[:, np.newaxis]
    labels = np.repeat([1, 0], len(logits))
    weights = np.concatenate([counts.positives, counts.negatives])
    model = LogisticRegression().fit(np.vstack([logits, logits]), labels, weights)
    return np.asarray(model.predict_proba(logits)[:, 1])
