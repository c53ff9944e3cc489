"""`headrace promote`: a candidate, or a version that was rolled back."""

from __future__ import annotations

import pytest
from version_folders import publish, states

from pipeline.commands.promote import promote
from schema.errors import ExitCode, UsageError
from serving.canary import start, under_way
from serving.rollback import roll_back


@pytest.mark.parametrize("version", [None, 30])
def test_a_candidate(tmp_path, version):
    it = publish(tmp_path, 10, 20, 30, canary={})
    start(it.base_path, 30)
    assert promote(it.console, it.config, version) == ExitCode.OK
    assert under_way(it.base_path) is None
    assert states(it.base_path) == ([10, 20, 30], [])
    assert it.labels == {"stable": 30}
    assert "Promoted version 30 of flights" in it.said


def test_a_version_that_was_rolled_back(tmp_path):
    it = publish(tmp_path, 10, 20)
    roll_back(it.base_path, 10, "wrong")
    assert promote(it.console, it.config, 20) == ExitCode.OK
    assert states(it.base_path) == ([10, 20], [])
    assert "Restored version 20 of flights: it is the newest" in it.said
    assert promote(it.console, it.config, 20) == ExitCode.OK
    assert "is the newest already" in it.said


def test_one_that_is_not_the_newest_does_not_answer(tmp_path):
    it = publish(tmp_path, 10, 20, 30)
    roll_back(it.base_path, 10, "both")
    promote(it.console, it.config, 30)
    promote(it.console, it.config, 20)
    assert "version 30 is newer and goes on answering" in it.said
    assert states(it.base_path) == ([10, 20, 30], [])


@pytest.mark.parametrize(
    ("version", "told"),
    [
        (None, "nothing to promote.*name it: 30"),
        (10, "version 20 is newer and answers.*headrace rollback .*flights.yaml --to 10"),
        (40, "Version 40 is not rolled back.*one of 30"),
    ],
)
def test_what_cannot_be_promoted(tmp_path, version, told):
    it = publish(tmp_path, 10, 20, 30)
    roll_back(it.base_path, 20, "wrong")
    with pytest.raises(UsageError, match=told):
        promote(it.console, it.config, version)
    assert states(it.base_path) == ([10, 20], [30])


def test_another_version_while_one_is_tried(tmp_path):
    it = publish(tmp_path, 10, 20, 30, canary={})
    roll_back(it.base_path, 20, "wrong")
    start(it.base_path, 30)
    roll_back(it.base_path, 20, "wrong again")
    (it.base_path / "40").mkdir()
    start(it.base_path, 40)
    with pytest.raises(UsageError, match="Version 40 is being tried"):
        promote(it.console, it.config, 30)
    assert under_way(it.base_path).candidate.version == 40
