"""What `headrace status` tells of the pushed versions, and how often it looks at them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from object_stores import memory
from rich.console import Console
from upath import UPath
from version_folders import push_model

from pipeline.commands.status import _show_pushed
from serving.rollback import roll_back
from storage import places


@pytest.fixture
def base_path() -> Iterator[UPath]:
    with memory() as place:
        yield place


def test_each_version_and_its_state_are_told_by_one_look(
    base_path: UPath, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        (tmp_path / "exports" / name).mkdir(parents=True)
        (tmp_path / "exports" / name / "saved_model.pb").write_text(name)
    pushed = [push_model(tmp_path, base_path, name).version for name in "abc"]
    roll_back(base_path, pushed[1], "it is wrong", "me")
    looks = []
    real = places._listed
    monkeypatch.setattr(places, "_listed", lambda folder: looks.append(folder) or real(folder))
    told = io.StringIO()
    _show_pushed(Console(file=told, width=200), base_path)
    for version, state in zip(pushed, ("older", "answers", "rolled back by me: it is wrong"), strict=True):
        assert [line for line in told.getvalue().splitlines() if str(version) in line and state in line]
    assert looks == [base_path]
