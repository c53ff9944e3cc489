"""Whatever the values, a diagnosis is made or not; nothing breaks, and no warning is raised."""

import itertools

import numpy as np
import pytest

from monitoring.diagnosis import CategoricalSummary, NumericSummary, diagnose_category, diagnose_number, diagnose_pairs

ROWS = 400
NORMAL = np.random.default_rng(0).normal(size=ROWS)
NUMBERS = {
    "constant": np.full(ROWS, 5.0),
    "zeros": np.zeros(ROWS),
    "missing": np.full(ROWS, np.nan),
    "normal": NORMAL,
    "huge": NORMAL * 1e300,
    "tiny": NORMAL * 1e-300,
    "some infinite": np.where(NORMAL > 1.5, np.inf, NORMAL),
    "infinite": np.full(ROWS, -np.inf),
    "binary": (NORMAL > 0).astype(float),
    "two": np.concatenate([[1.0, 2.0], np.full(ROWS - 2, np.nan)]),
    "none": np.array([]),
}
TEXTS = {
    "none": [],
    "missing": [None] * ROWS,
    "empty": [b""] * ROWS,
    "bytes": [bytes([each % 256]) for each in range(ROWS)],
    "long": [b"x" * each for each in range(ROWS)],
    "zero bytes": [b"\0"] * ROWS,
}


@pytest.mark.filterwarnings("error")
def test_numbers():
    summaries = {name: NumericSummary.of(values) for name, values in NUMBERS.items()}
    for (one, before), (other, now) in itertools.product(summaries.items(), repeat=2):
        found = diagnose_number(before, now)
        assert one != other or found is None or not found.is_fault, one
        diagnose_pairs({"one": before, "other": now}, {"one": now, "other": before}, {"one", "other"})


@pytest.mark.filterwarnings("error")
def test_texts():
    summaries = {name: CategoricalSummary.of(values) for name, values in TEXTS.items()}
    for (one, before), (other, now) in itertools.product(summaries.items(), repeat=2):
        found = diagnose_category(before, now)
        assert one != other or found is None or not found.is_fault, one
