"""Mismatches of joined rows become checks."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import watched
from small_reference import flights_of, reference_of

from monitoring.config import MonitorConfig
from monitoring.join import Joined
from monitoring.profile import Survey
from monitoring.report import State
from monitoring.row_skew import mismatch_checks

REFERENCE = reference_of({1: flights_of(1, 600), 2: flights_of(2, 600)})
MILES = watched.number("miles")


def joined(mismatched: int, matched: int = 1000, factor: float = 1.0) -> Joined:
    values = np.linspace(100, 900, matched)

    def survey(numbers: np.ndarray) -> Survey:
        rows = pa.RecordBatch.from_pydict({"miles": pa.array(numbers)})
        return Survey.of(rows, [MILES], 0, 1.0, np.random.default_rng(0))

    return Joined(
        matched=matched,
        mismatched={"miles": mismatched},
        compared={"miles", "carrier"},
        asked=survey(values * factor),
        tabled=survey(values),
    )


@pytest.mark.parametrize(("mismatched", "state"), [(0, State.PASSED), (10, State.PASSED), (11, State.ALARM)])
def test_late_corrections_of_a_few_rows_are_no_skew(mismatched: int, state: State) -> None:
    carrier, miles = mismatch_checks(joined(mismatched), REFERENCE, MonitorConfig())
    assert (carrier.subject, carrier.value, carrier.state) == ("carrier", 0.0, State.PASSED)
    assert (miles.subject, miles.aspect, miles.value, miles.state) == ("miles", "mismatch", mismatched / 1000, state)
    assert (miles.is_fault, miles.importance, miles.rows) == (state is State.ALARM, 0.7, 1000)


def test_what_the_mismatch_looks_like_is_told() -> None:
    _, miles = mismatch_checks(joined(1000, factor=1.609344), REFERENCE, MonitorConfig())
    assert "1.609" in miles.diagnosis
    assert miles.diagnosis.endswith("100.0% of requests hold another value than the same row in the data")


def test_few_rows_decide_nothing_and_none_make_no_check() -> None:
    assert {each.state for each in mismatch_checks(joined(200, 299), REFERENCE, MonitorConfig())} == {State.UNDECIDED}
    assert mismatch_checks(Joined(), REFERENCE, MonitorConfig()) == []
