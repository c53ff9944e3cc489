"""Which span a new one is compared with."""

from __future__ import annotations

from tfx.types.standard_artifacts import Examples

from pipeline.components.artifacts import GateVerdict
from pipeline.components.last_good import LastGoodExamplesStrategy


def examples(number: int, span: int) -> Examples:
    artifact = Examples()
    artifact.id = number
    artifact.set_int_custom_property("span", span)
    return artifact


def verdict(number: int, examples_id: int, passed: int, gate: str = "data") -> GateVerdict:
    artifact = GateVerdict()
    artifact.id = number
    artifact.set_string_custom_property("gate", gate)
    artifact.set_int_custom_property("examples_id", examples_id)
    artifact.set_int_custom_property("passed", passed)
    return artifact


ALL = [examples(1, 11), examples(2, 12), examples(3, 13), examples(4, 12)]


def resolve(verdicts: list[GateVerdict], candidate: int = 13) -> list[int]:
    inputs = {"examples": ALL, "verdict": verdicts, "candidate": [examples(9, candidate)]}
    resolved = LastGoodExamplesStrategy().resolve_artifacts(None, inputs)
    assert (resolved["verdict"], resolved["candidate"]) == ([], [])
    return [each.id for each in resolved["examples"]]


def test_before_the_first_verdict_there_is_none() -> None:
    assert resolve([]) == []
    assert resolve([verdict(9, 1, 0)]) == []


def test_the_newest_span_that_passed() -> None:
    assert resolve([verdict(9, 1, 1), verdict(10, 2, 1)]) == [2]
    assert resolve([verdict(9, 1, 1), verdict(10, 2, 0)]) == [1]


def test_never_the_candidates_own_span_nor_a_later_one() -> None:
    passed = [verdict(9, 1, 1), verdict(10, 2, 1), verdict(11, 3, 1)]
    assert resolve(passed) == [2]
    assert resolve(passed, candidate=12) == [1]
    assert resolve(passed, candidate=11) == []


def test_the_last_verdict_on_examples_counts() -> None:
    assert resolve([verdict(12, 2, 0), verdict(10, 2, 1), verdict(9, 1, 1)]) == [1]
    assert resolve([verdict(9, 2, 0), verdict(10, 2, 1)]) == [2]


def test_of_two_examples_of_a_span_the_newer() -> None:
    assert resolve([verdict(9, 2, 1), verdict(10, 4, 1)]) == [4]


def test_other_gates_say_nothing_of_examples() -> None:
    assert resolve([verdict(9, 2, 1, "quality")]) == []
