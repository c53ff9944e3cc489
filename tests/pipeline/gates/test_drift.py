"""What the data gate makes of drift."""

from __future__ import annotations

import pytest
from monitor_reports import check, passed

from monitoring.report import Check, Comparison
from pipeline.gates.config import DataGateConfig
from pipeline.gates.drift import drift_findings
from pipeline.gates.verdict import Outcome

OF_SPAN = {"comparison": Comparison.DRIFT, "source": "span 14"}
FAULT = check("distance", is_fault=True, **OF_SPAN)
DRIFT = check("temp", diagnosis="", **OF_SPAN)
CALM = passed("origin", **OF_SPAN)


def outcomes(checks: list[Check], drift: str = "stop_faults") -> list[tuple[str, Outcome]]:
    found = drift_findings(checks, DataGateConfig(drift=drift))
    return [(each.where.split(" (")[0], each.outcome) for each in found]


def test_a_fault_stops_the_run_and_a_change_of_the_world_is_noted() -> None:
    assert outcomes([FAULT, DRIFT, CALM]) == [
        ("distance", Outcome.FAILED),
        ("temp", Outcome.NOTED),
        ("1 features", Outcome.PASSED),
    ]


@pytest.mark.parametrize(
    ("drift", "of_fault", "of_drift"),
    [("stop", Outcome.FAILED, Outcome.FAILED), ("note", Outcome.NOTED, Outcome.NOTED)],
)
def test_the_configuration_says_what_stops(drift: str, of_fault: Outcome, of_drift: Outcome) -> None:
    assert [each for _, each in outcomes([FAULT, DRIFT], drift)][:2] == [of_fault, of_drift]


def test_one_finding_a_feature_in_the_order_of_the_checks() -> None:
    again = check("distance", aspect="missing", diagnosis="", **OF_SPAN)
    assert [where for where, _ in outcomes([FAULT, DRIFT, again, CALM])] == ["distance", "temp", "1 features"]


def test_a_finding_tells_value_bound_and_diagnosis() -> None:
    [found, _] = drift_findings([FAULT], DataGateConfig())
    assert (found.check, found.where, found.bound) == ("drift: values", "distance (span 14)", "≤ 0.021")
    assert found.value.startswith("0.412: values are 1.609 times")
    assert found.baseline == "training window"
    assert found.mend


def test_without_a_check_there_is_no_finding() -> None:
    assert drift_findings([], DataGateConfig()) == []
    assert outcomes([CALM]) == [("1 features", Outcome.PASSED)]
