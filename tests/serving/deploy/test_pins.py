from __future__ import annotations

from pathlib import Path

import pytest

from schema.errors import UsageError
from serving.deploy.pins import Choice, Pins


@pytest.fixture
def push_path(tmp_path: Path) -> str:
    for version in (5, 7, 9):
        (tmp_path / str(version)).mkdir()
    return str(tmp_path)


@pytest.mark.parametrize(
    ("stable", "canary", "pins"),
    [
        (None, None, None),
        (5, None, Pins(5)),
        (5, 9, Pins(5, 9)),
        (None, 9, Pins(7, 9)),
        (None, 5, Pins(9, 5)),
    ],
)
def test_stable_is_the_newest_beside_the_canary_unless_it_is_said(push_path, stable, canary, pins) -> None:
    assert Choice.of(push_path, stable, canary).pins(push_path) == pins


@pytest.mark.parametrize(
    ("stable", "canary", "option"), [(6, None, "--stable"), (5, 8, "--canary"), (None, 8, "--canary")]
)
def test_a_version_that_is_not_published_is_refused_with_those_that_are(push_path, stable, canary, option) -> None:
    with pytest.raises(UsageError, match="5, 7, 9") as caught:
        Choice.of(push_path, stable, canary).pins(push_path)
    assert caught.value.where == option


def test_one_version_cannot_be_both(push_path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="another version"):
        Choice.of(push_path, 5, 5).pins(push_path)
    (tmp_path / "alone" / "3").mkdir(parents=True)
    with pytest.raises(UsageError, match="another version"):
        Choice.of(str(tmp_path / "alone"), None, 3).pins(str(tmp_path / "alone"))


def test_a_buckets_versions_are_not_known_so_stable_must_be_said() -> None:
    assert Choice.of("gs://b/m", 1, 2).pins("gs://b/m") == Pins(1, 2)
    with pytest.raises(UsageError, match="not known here"):
        Choice.of("gs://b/m", None, 2).pins("gs://b/m")


def test_pinned_versions_are_baked_else_the_newest(push_path, tmp_path: Path) -> None:
    choice = Choice.of(push_path, None, None)
    assert choice.baked(None, push_path) == (9,)
    assert choice.baked(Pins(9, 5), push_path) == (5, 9)
    for empty in (str(tmp_path / "nowhere"), "gs://b/m"):
        with pytest.raises(UsageError, match="no version to copy"):
            Choice.of(empty, None, None).baked(None, empty)
