"""Whether a scale was reversed."""

from __future__ import annotations

import numpy as np

from monitoring.diagnosis.conversions import Conversion
from monitoring.diagnosis.fit import distance, noise
from monitoring.diagnosis.summaries import Diagnosis, NumericSummary
from monitoring.diagnosis.words import number


def find_mirrored(reference: NumericSummary, current: NumericSummary) -> Diagnosis | None:
    """Values are a bound minus those of training, and nothing simpler fits as well."""
    low, high = float(reference.quantiles[0]), float(reference.quantiles[-1])
    if high == low:
        return None
    before = distance(reference, current)
    shifted = distance(
        reference, current, Conversion(1.0, float(np.median(current.quantiles - reference.quantiles)), "")
    )
    tight = 0.12 + 1.5 * noise(current)
    for bound in dict.fromkeys((high, low + high, 1.0, 100.0)):
        after = distance(reference, current, Conversion(-1.0, bound, ""))
        if after < tight and after < 0.25 * before and after < 0.4 * shifted:
            return Diagnosis(
                f"values are {number(bound)} minus those of training: is the scale reversed?", is_fault=True
            )
    return None
