"""Two features that were exchanged are both named; no month looks like it."""

import numpy as np
import pytest

from monitoring.diagnosis import diagnose_pairs

PAIRS = [
    ("temp", "dewp"), ("distance", "sched_dep_time"), ("humid", "pressure"), ("wind_speed", "wind_gust"),
    ("plane_seats", "distance"), ("origin", "dest"), ("carrier", "origin"),
]  # fmt: skip


@pytest.mark.parametrize("size", [300, 2_000, 20_000])
@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_exchanged_features_are_named(one, other, size, before, after, summarize):
    rows = np.random.default_rng(size).choice(len(after[one]), size, replace=False)
    current = {name: summarize(name, values[rows]) for name, values in after.items()}
    current[one], current[other] = current[other], current[one]
    found = diagnose_pairs(before, current, set(current))
    assert set(found) == {one, other}
    assert found[one].is_fault
    assert "are exchanged" in found[one].text


def test_only_what_has_alarmed_is_looked_at(before, after, summarize):
    current = {name: summarize(name, after[name]) for name in ("temp", "dewp")}
    swapped = {"temp": current["dewp"], "dewp": current["temp"]}
    assert diagnose_pairs(before, swapped, {"temp"}) == {}


@pytest.mark.parametrize("month", range(1, 13))
def test_no_month_looks_exchanged(month, flights, before, summarize):
    values = {name: flights.values(name, (month,)) for name in before}
    for part in (slice(None), slice(0, 2_000), slice(9_000, 9_300)):
        current = {name: summarize(name, each[part]) for name, each in values.items()}
        assert diagnose_pairs(before, current, set(current)) == {}, part
