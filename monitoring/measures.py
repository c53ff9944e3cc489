"""How far two distributions are apart: a measure for each kind of feature, as TFDV names them.

TFDV computes the L-infinity distance of a numeric feature as 0 without a word (data-validation issue 147), and
Jensen-Shannon on histograms whose bins do not agree. Here the bins of both sides are the same (`monitoring.bins`), and
a measure that does not fit a feature is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np
from tensorflow_metadata.proto.v0 import schema_pb2

from schema.errors import SchemaError


class Measure(str, Enum):
    """By the name that a person reads."""

    L_INFINITY = "L-infinity distance"
    JENSEN_SHANNON = "Jensen-Shannon divergence"
    NORMALIZED_DIFFERENCE = "normalized absolute difference"
    SHARE_CHANGE = "change of the share of rows"
    SHARE = "share of rows"


def l_infinity(reference: np.ndarray, current: np.ndarray) -> np.ndarray:
    """The largest difference of a bin's share.

    Args:
        reference: Counts, [..., bins].
        current: Counts, [..., bins].

    Returns:
        Distances from 0 to 1, float64 [...].
    """
    return np.asarray(np.abs(shares(reference) - shares(current)).max(axis=-1))


def jensen_shannon(reference: np.ndarray, current: np.ndarray) -> np.ndarray:
    """The Jensen-Shannon divergence to base 2 (Lin 1991, https://doi.org/10.1109/18.61115).

    Args:
        reference: Counts, [..., bins].
        current: Counts, [..., bins].

    Returns:
        Divergences from 0 to 1, float64 [...].
    """
    first, second = shares(reference), shares(current)
    middle = (first + second) / 2
    divergence = (_relative_entropy(first, middle) + _relative_entropy(second, middle)) / 2
    return np.asarray(np.clip(divergence, 0.0, 1.0))


def normalized_difference(reference: np.ndarray, current: np.ndarray) -> np.ndarray:
    """The sum of the differences of the bins' shares, over 2: the total variation, from 0 to 1.

    TFDV takes the counts themselves, which only compares data sets of the same size; shares compare any.
    """
    return np.asarray(np.abs(shares(reference) - shares(current)).sum(axis=-1) / 2)


def shares(counts: np.ndarray) -> np.ndarray:
    """Counts as shares of their sum, float64 [..., bins]; zeros stay zeros."""
    total = counts.sum(axis=-1, keepdims=True, dtype=np.float64)
    return np.asarray(np.divide(counts, total, out=np.zeros(np.broadcast(counts, total).shape), where=total > 0))


def _relative_entropy(share: np.ndarray, other: np.ndarray) -> np.ndarray:
    ratio = np.divide(share, other, out=np.ones(np.broadcast(share, other).shape), where=(share > 0) & (other > 0))
    return np.asarray((share * np.log2(ratio)).sum(axis=-1))


DISTANCES: dict[Measure, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    Measure.L_INFINITY: l_infinity,
    Measure.JENSEN_SHANNON: jensen_shannon,
    Measure.NORMALIZED_DIFFERENCE: normalized_difference,
}
"""The measures of two distributions."""

_COMPARATORS = {
    "infinity_norm": Measure.L_INFINITY,
    "jensen_shannon_divergence": Measure.JENSEN_SHANNON,
    "normalized_abs_difference": Measure.NORMALIZED_DIFFERENCE,
}


@dataclass(frozen=True)
class Bound:
    """What the reviewed schema says of a feature: this measure, this threshold."""

    measure: Measure
    threshold: float


def schema_bound(feature: schema_pb2.Feature, comparator: str, *, is_number: bool) -> Bound | None:
    """The threshold that the schema sets for a feature, in place of the one from data.

    Args:
        feature: Of the schema.
        comparator: `skew_comparator` or `drift_comparator`.
        is_number: Whether its values are compared as numbers.

    Raises:
        SchemaError: The measure does not fit the feature, or several are given.
    """
    if not feature.HasField(comparator):
        return None
    found = [name for name in _COMPARATORS if getattr(feature, comparator).HasField(name)]
    if len(found) != 1:
        raise SchemaError(
            f"The {comparator} of {feature.name!r} must name one measure",
            expected=f"one of {', '.join(_COMPARATORS)}",
            received=", ".join(found) or "none",
        )
    measure = _COMPARATORS[found[0]]
    if is_number and measure is not Measure.JENSEN_SHANNON:
        raise SchemaError(
            f"The {comparator} of {feature.name!r} is {found[0]}, which says nothing of a number",
            where=f"feature {feature.name!r} of the schema",
            expected="jensen_shannon_divergence (TFDV would compute 0 and never alarm)",
            received=found[0],
            mend=f"Write {comparator} {{ jensen_shannon_divergence {{ threshold: 0.1 }} }}, or leave the threshold to "
            "the data by removing it.",
        )
    return Bound(measure, float(getattr(getattr(feature, comparator), found[0]).threshold))
