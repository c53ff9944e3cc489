"""Which window's analysis Transform builds on."""

from __future__ import annotations

from tfx.types.standard_artifacts import Examples, TransformCache

from pipeline.components.earlier_analysis import EarlierAnalysisStrategy


def cache(number: int, span: int) -> TransformCache:
    artifact = TransformCache()
    artifact.id = number
    artifact.set_int_custom_property("span", span)
    return artifact


def resolve(caches: list[TransformCache], span: int) -> list[int]:
    examples = Examples()
    examples.id = 6
    examples.set_int_custom_property("span", span)
    inputs = {"analyzer_cache": caches, "examples": [examples]}
    resolved = EarlierAnalysisStrategy().resolve_artifacts(None, inputs)
    assert resolved["examples"] == []
    return [each.id for each in resolved["analyzer_cache"]]


def test_the_first_window_has_none() -> None:
    assert resolve([], 12) == []


def test_the_newest_window_before_this_one() -> None:
    assert resolve([cache(1, 10), cache(3, 11), cache(2, 9)], 12) == [3]


def test_never_this_windows_own_nor_a_later_one() -> None:
    assert resolve([cache(1, 12), cache(2, 13)], 12) == []
    assert resolve([cache(1, 11), cache(2, 12)], 12) == [1]


def test_of_two_of_a_window_the_later() -> None:
    assert resolve([cache(4, 11), cache(5, 11), cache(3, 11)], 12) == [5]


def test_never_one_that_came_after_these_examples() -> None:
    """Else the same run, repeated, would have another one."""
    assert resolve([cache(5, 10), cache(7, 11)], 12) == [5]
