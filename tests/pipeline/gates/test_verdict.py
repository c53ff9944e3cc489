"""What a verdict says, and what an acceptance covers."""

from __future__ import annotations

from pathlib import Path

from memory_places import new_place

from pipeline.gates.verdict import Finding, GateName, Outcome, Verdict, decide
from schema.errors import ExitCode


def finding(value: str, outcome: Outcome) -> Finding:
    return Finding(check="auc", where="all examples", bound="≥ 0.7", value=value, outcome=outcome)


PASSED = finding("0.71", Outcome.PASSED)
NOTED = finding("0.70", Outcome.NOTED)
FAILED = finding("0.65", Outcome.FAILED)


def test_one_failed_finding_fails_the_gate() -> None:
    verdict = decide(GateName.QUALITY, [PASSED, NOTED, FAILED], {})
    assert verdict.outcome is Outcome.FAILED
    assert not verdict.passed
    assert "1 passed, 1 noted, 1 failed" in verdict.summary


def test_a_note_stops_nothing() -> None:
    assert decide(GateName.QUALITY, [PASSED, NOTED], {}).passed


def test_accepted_finding_passes_and_keeps_its_reason() -> None:
    verdict = decide(GateName.QUALITY, [PASSED, FAILED], {FAILED.key: "a known outage"})
    assert verdict.passed
    assert verdict.outcome is Outcome.ACCEPTED
    assert verdict.accepted == {FAILED.key: "a known outage"}


def test_acceptance_covers_that_value_only() -> None:
    worse = finding("0.50", Outcome.FAILED)
    verdict = decide(GateName.QUALITY, [worse], {FAILED.key: "a known outage"})
    assert verdict.outcome is Outcome.FAILED
    assert verdict.accepted == {}


def test_verdict_survives_its_file(tmp_path: Path) -> None:
    verdict = decide(GateName.INFRA, [FAILED], {FAILED.key: "why"}, "a note")
    verdict.save(tmp_path)
    assert Verdict.load(tmp_path) == verdict


def test_each_gate_has_its_exit_code() -> None:
    codes = [gate.exit_code for gate in GateName]
    assert codes == [ExitCode.DATA_GATE, ExitCode.INFRA_GATE, ExitCode.QUALITY_GATE]


def test_verdict_survives_in_an_object_store() -> None:
    verdict, place = decide(GateName.INFRA, [FAILED], {}), new_place()
    verdict.save(place)
    assert Verdict.load(place) == verdict
