"""A deployment to vary, and Prometheus' own parser and rule tester."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.deploy.release import Release, Served
from serving.deploy.settings import Settings

SETTINGS = Settings(
    model="My_Model",
    resource_name="my-model",
    push_path="/srv/models/My_Model",
    command="headrace deploy docker My_Model --stable 5",
    command_without_pins="headrace deploy docker My_Model",
)


@pytest.fixture
def settings() -> Callable[..., Settings]:
    """A deployment with some settings changed."""
    return lambda **changed: replace(SETTINGS, **changed)


@pytest.fixture
def release(settings: Callable[..., Settings]) -> Callable[..., Release]:
    """A rollout of version 1764012345 from `place`; with `canary_percent`, of 1764012999 beside it."""

    def of(place: str, canary_percent: int = 0, **changed: Any) -> Release:
        canary = Served(1764012999, f"{place}/1764012999", canary_percent) if canary_percent else None
        stable = Served(1764012345, f"{place}/1764012345", 100 - canary_percent)
        return Release(settings(push_path=place, **changed), stable, canary, '{"instances": [{"x": 1.0}]}\n')

    return of


@pytest.fixture
def promtool(tmp_path: Path) -> Callable[..., None]:
    """Runs promtool on files, which are written first; what it finds fails the test."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")

    def run(*arguments: str, **files: Any) -> None:
        for name, content in files.items():
            (tmp_path / f"{name}.yaml").write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        ended = subprocess.run([program, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 0, ended.stdout + ended.stderr

    return run
