"""Whether values are written more coarsely than in training."""

from __future__ import annotations

import numpy as np

from monitoring.diagnosis.summaries import Diagnosis, NumericSummary
from monitoring.diagnosis.support import decimals, known_values, on_lattice
from monitoring.diagnosis.words import number

_UNLIKELY = 1e-4


def find_rounded(reference: NumericSummary, current: NumericSummary) -> Diagnosis | None:
    """Fewer decimals (or more zeros) than that many different values would have by chance."""
    if current.present < 30 or reference.present < 30:
        return None
    now, then = known_values(current), known_values(reference)
    now, then = now[now != 0], then[then != 0]
    places = decimals(now)
    if places is None or not len(then):
        return None
    coarse_by_nature = float(np.mean(on_lattice(then, places)))
    if coarse_by_nature ** len(now) > _UNLIKELY or coarse_by_nature > 0.8:
        return None
    if places == 0:
        return Diagnosis("all values are whole numbers, those of training were not: rounded or cut off?", is_fault=True)
    step = number(10.0**-places)
    return Diagnosis(
        f"all values are multiples of {step}, those of training were finer: rounded or cut off?", is_fault=True
    )
