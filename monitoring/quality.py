"""The metrics of a model from small sums over its scored rows: they add up over partitions, windows and slices.

The intervals are of 95% and take the rows as independent of one another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit, logit

from schema.errors import DataError

if TYPE_CHECKING:
    from typing_extensions import Self

BINS = 1024
"""Score bins of equal width in the logit: fine near 0 and 1, 0.006 wide at 0.5."""
_OUTERMOST = 12.0
_NEAREST = 1e-7
"""The log loss takes scores as no nearer to 0 and 1 than this, as Keras does."""
_TWO_SIDED = 1.959963984540054
"""The 97.5% quantile of the standard normal distribution."""
_ONE_SIDED = 0.05

HIGHER_IS_BETTER = {"auc": True, "log_loss": False, "brier": False, "mse": False, "rmse": False, "mae": False}
"""The metrics by name; those that a quality bound can name too are the same there."""


@dataclass(frozen=True)
class Estimate:
    """A metric, and the interval that holds it with 95% confidence."""

    metric: str
    """A key of `HIGHER_IS_BETTER`."""
    value: float
    low: float
    high: float
    rows: int


@dataclass(frozen=True)
class Moments:
    """What the mean of a value and the mean's error need: a sum and a sum of squares."""

    rows: int = 0
    total: float = 0.0
    total_of_squares: float = 0.0

    @classmethod
    def of(cls, values: np.ndarray) -> Moments:
        """The moments of float values [rows]."""
        values = values.astype(np.float64, copy=False)
        return cls(len(values), float(values.sum()), float(values @ values))

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.rows + other.rows, self.total + other.total, self.total_of_squares + other.total_of_squares)

    @property
    def mean(self) -> float:
        """The mean; raises ZeroDivisionError without rows."""
        return self.total / self.rows

    @property
    def variance(self) -> float:
        """The sample variance of one value; needs two rows."""
        return max(self.total_of_squares - self.total * self.mean, 0.0) / (self.rows - 1)


class Counts(ABC):
    """Sums over rows, the fields of a dataclass: what `metrics` needs and Beam adds up."""

    @classmethod
    @abstractmethod
    def of(cls, scores: np.ndarray, labels: np.ndarray) -> Self:
        """The counts of rows by their scores and labels, floats [rows]; a label that is not known is NaN."""

    @classmethod
    def empty(cls) -> Self:
        """The counts of no rows."""
        return cls.of(np.empty(0), np.empty(0))

    def __add__(self, other: Self) -> Self:
        mine, theirs = vars(self), vars(other)
        return type(self)(**{name: mine[name] + theirs[name] for name in mine})

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {name: _as_plain(each) for name, each in vars(self).items()}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_json`; raises DataError for counts by other bins than ours."""
        return cls(**{name: _from_plain(each) for name, each in values.items()})


@dataclass(frozen=True, eq=False)
class BinaryCounts(Counts):
    """Some scored rows of a binary task."""

    positives: np.ndarray
    """Rows with label 1 by score bin, int64 [BINS]."""
    negatives: np.ndarray
    """Rows with label 0 by score bin, int64 [BINS]."""
    unlabelled: np.ndarray
    """Rows whose label is not known by score bin, int64 [BINS]."""
    scores: Moments
    """Of the scores, labelled or not."""
    log_loss: Moments
    """Of the labelled rows' log loss."""
    brier: Moments
    """Of the labelled rows' (score - label)²."""
    left_out: int
    """Rows whose score is no probability, or whose label is neither 0, 1 nor missing: in none of the above."""

    @classmethod
    def of(cls, scores: np.ndarray, labels: np.ndarray) -> Self:
        """The counts of rows by their scores (probabilities) and labels; see `Counts`."""
        scores, labels = np.asarray(scores, np.float64), np.asarray(labels, np.float64)
        is_unlabelled = np.isnan(labels)
        is_usable = (scores >= 0) & (scores <= 1) & ((labels == 0) | (labels == 1) | is_unlabelled)
        bins = bin_of(np.where(is_usable, scores, 0.0))
        is_labelled = is_usable & ~is_unlabelled
        off = np.abs(scores - labels)[is_labelled]
        return cls(
            positives=_by_bin(bins[is_usable & (labels == 1)]),
            negatives=_by_bin(bins[is_usable & (labels == 0)]),
            unlabelled=_by_bin(bins[is_usable & is_unlabelled]),
            scores=Moments.of(scores[is_usable]),
            log_loss=Moments.of(-np.log1p(-np.minimum(off, 1 - _NEAREST))),
            brier=Moments.of(off**2),
            left_out=int(np.count_nonzero(~is_usable)),
        )


@dataclass(frozen=True)
class RegressionCounts(Counts):
    """Some scored rows of a regression; an error is the score less the label."""

    scores: Moments
    """Of the scores, labelled or not."""
    errors: Moments
    absolute_errors: Moments
    squared_errors: Moments
    left_out: int
    """Rows whose score is not finite, or whose label is infinite: in none of the above."""

    @classmethod
    def of(cls, scores: np.ndarray, labels: np.ndarray) -> Self:
        """The counts of rows by their scores (predictions) and labels; see `Counts`."""
        scores, labels = np.asarray(scores, np.float64), np.asarray(labels, np.float64)
        is_usable = np.isfinite(scores) & ~np.isinf(labels)
        is_labelled = is_usable & ~np.isnan(labels)
        errors = scores[is_labelled] - labels[is_labelled]
        return cls(
            scores=Moments.of(scores[is_usable]),
            errors=Moments.of(errors),
            absolute_errors=Moments.of(np.abs(errors)),
            squared_errors=Moments.of(errors**2),
            left_out=int(np.count_nonzero(~is_usable)),
        )


def bin_of(scores: np.ndarray) -> np.ndarray:
    """The bins, int64 [rows], of probabilities [rows]; what is beyond the outermost bins is in them."""
    within = np.clip(logit(scores), -_OUTERMOST, _OUTERMOST)
    bins = ((within + _OUTERMOST) * (BINS / (2 * _OUTERMOST))).astype(np.int64)
    return np.asarray(np.minimum(bins, BINS - 1))


def bin_scores() -> np.ndarray:
    """The score in the middle of each bin, float64 [BINS]."""
    return np.asarray(expit((np.arange(BINS) + 0.5) * (2 * _OUTERMOST / BINS) - _OUTERMOST))


def metrics(counts: BinaryCounts | RegressionCounts) -> list[Estimate]:
    """The metrics of the labelled rows.

    A metric that the rows do not determine is left out: all with fewer than two labelled rows, the AUC with fewer than
    two of either class.
    """
    if isinstance(counts, BinaryCounts):
        return _auc(counts) + _mean("log_loss", counts.log_loss) + _mean("brier", counts.brier)
    squared = _mean("mse", counts.squared_errors)
    return squared + [_root(each) for each in squared] + _mean("mae", counts.absolute_errors)


def area_under_curve(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """The area under the ROC curve by trapezoids, [...]: the share of pairs in right order, a tie counting half.

    Args:
        positives: How many positives by bin in the order of the scores, [..., bins]; need not be whole numbers.
        negatives: The same of the negatives.
    """
    right = positives * (np.cumsum(negatives, axis=-1) - negatives / 2)
    return np.asarray(right.sum(axis=-1) / (positives.sum(axis=-1) * negatives.sum(axis=-1)))


def area_variance(positives: np.ndarray, negatives: np.ndarray) -> float:
    """The variance of `area_under_curve`; more than one positive and one negative are needed.

    Source: DeLong, DeLong and Clarke-Pearson, "Comparing the areas under two or more correlated receiver operating
    characteristic curves", Biometrics 44 (1988), 837-845. Each row's placement among the other class is the same for
    all rows of a bin, so the counts suffice.
    """
    area = area_under_curve(positives, negatives)
    many, few = positives.sum(), negatives.sum()
    of_positives = (np.cumsum(negatives) - negatives / 2) / few
    of_negatives = 1 - (np.cumsum(positives) - positives / 2) / many
    spread_of_positives = positives @ (of_positives - area) ** 2 / (many - 1)
    spread_of_negatives = negatives @ (of_negatives - area) ** 2 / (few - 1)
    return float(spread_of_positives / many + spread_of_negatives / few)


def area_interval(area: float, variance: float, disjoint_pairs: float) -> tuple[float, float]:
    """The interval of an area, normal in its logit, so that it stays within 0 and 1.

    Source: Pepe, "The Statistical Evaluation of Medical Tests" (2003), 5.2. In a perfect order there is no variance to
    go by: then disjoint pairs of a positive and a negative, all of them in right order, bound the area.
    """
    if area in (0.0, 1.0):
        bound = _ONE_SIDED ** (1 / disjoint_pairs)
        return (bound, 1.0) if area else (0.0, 1 - bound)
    reach = _TWO_SIDED * np.sqrt(variance) / (area * (1 - area))
    return float(expit(logit(area) - reach)), float(expit(logit(area) + reach))


def mean_interval(mean: float, variance: float) -> tuple[float, float]:
    """The interval of the mean of a loss that is not negative, by the variance of the mean."""
    reach = _TWO_SIDED * np.sqrt(variance)
    return max(mean - reach, 0.0), mean + reach


def _auc(counts: BinaryCounts) -> list[Estimate]:
    positives, negatives = counts.positives, counts.negatives
    rows_by_class = int(positives.sum()), int(negatives.sum())
    if min(rows_by_class) < 2:
        return []
    area = float(area_under_curve(positives, negatives))
    low, high = area_interval(area, area_variance(positives, negatives), min(rows_by_class))
    return [Estimate("auc", area, low, high, sum(rows_by_class))]


def _mean(metric: str, loss: Moments) -> list[Estimate]:
    if loss.rows < 2:
        return []
    low, high = mean_interval(loss.mean, loss.variance / loss.rows)
    return [Estimate(metric, loss.mean, low, high, loss.rows)]


def _root(squared: Estimate) -> Estimate:
    """The RMSE with its interval by the delta method: the error of a root is that of its square over twice the root."""
    root = float(np.sqrt(squared.value))
    reach = (squared.high - squared.value) / (2 * root) if root else 0.0
    return Estimate("rmse", root, max(root - reach, 0.0), root + reach, squared.rows)


def _by_bin(bins: np.ndarray) -> np.ndarray:
    return np.asarray(np.bincount(bins, minlength=BINS))


def _as_plain(value: np.ndarray | Moments | int) -> Any:
    if isinstance(value, Moments):
        return asdict(value)
    return value.tolist() if isinstance(value, np.ndarray) else value


def _from_plain(value: Any) -> np.ndarray | Moments | int:
    if isinstance(value, dict):
        return Moments(**value)
    if not isinstance(value, list):
        return int(value)
    if len(value) != BINS:
        raise DataError(
            "The counts of a model's scores are by other bins",
            expected=f"{BINS} bins",
            received=f"{len(value)} bins",
            mend="They were written by another version of Headrace: train again.",
        )
    return np.asarray(value, np.int64)
