"""`headrace rollback`: what it says is what happened."""

from __future__ import annotations

import pytest
from object_stores import memory
from version_folders import publish, states

from pipeline.commands.promote import promote
from pipeline.commands.rollback import rollback
from schema.errors import ExitCode, UsageError
from serving.canary import start
from serving.versions import rolled_back


def test_the_newest_by_default(tmp_path):
    it = publish(tmp_path, 10, 20, 30)
    assert rollback(it.console, it.config, reason=" the AUC fell ") == ExitCode.OK
    assert states(it.base_path) == ([10, 20], [30])
    first, second = it.said.splitlines()
    assert first.startswith("Rolled back version 30 of flights: servers answer from version 20 once")
    assert f"headrace promote {it.config.argument} 30" in second
    mark = rolled_back(it.base_path)[30]
    assert (mark.reason, mark.by, mark.to) == ("the AUC fell", "a person", 20)


def test_to_a_version_and_by_whom(tmp_path):
    it = publish(tmp_path, 10, 20, 30)
    rollback(it.console, it.config, to=10, reason="both", by="the monitor")
    assert "Rolled back versions 20, 30 of flights: servers answer from version 10" in it.said
    assert {mark.by for mark in rolled_back(it.base_path).values()} == {"the monitor"}
    assert rollback(it.console, it.config, to=10) == ExitCode.OK
    assert it.said == "Version 10 of flights is the newest already; nothing was rolled back.\n"


def test_a_candidate_goes_and_the_labels_follow(tmp_path):
    it = publish(tmp_path, 10, 20, 30, canary={"share": 0.1})
    start(it.base_path, 30)
    rollback(it.console, it.config)
    assert states(it.base_path) == ([10, 20], [30])
    assert it.labels == {"stable": 20}


def test_labels_that_were_used_before_follow_without_a_canary(tmp_path):
    it = publish(tmp_path, 10, 20)
    (it.base_path / "models.config").write_text("left from before")
    rollback(it.console, it.config)
    assert it.labels == {"stable": 10}


def test_without_labels_none_are_written(tmp_path):
    it = publish(tmp_path, 10, 20)
    rollback(it.console, it.config)
    assert not (it.base_path / "models.config").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"to": 15}, "no published version 15.*one of 10"),
        ({"reason": "  "}, "The reason is empty"),
        ({}, "no version to go back to"),
    ],
)
def test_what_cannot_be_done(tmp_path, options, told):
    it = publish(tmp_path, 10)
    with pytest.raises(UsageError, match=told):
        rollback(it.console, it.config, **options)
    assert states(it.base_path) == ([10], [])


def test_versions_in_an_object_store(tmp_path):
    it = publish(tmp_path, 10)
    with memory() as base_path:
        for number in (10, 20):
            (base_path / str(number) / "saved_model.pb").write_text(f"graph of {number}")
        config = it.config.model_copy(update={"push": it.config.push.model_copy(update={"path": str(base_path)})})
        assert rollback(it.console, config) == ExitCode.OK
        assert states(base_path) == ([10], [20])
        assert promote(it.console, config, 20) == ExitCode.OK
        assert states(base_path) == ([10, 20], [])
