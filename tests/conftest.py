"""Fixtures for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from projects import Project, make_project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Three small months of flights."""
    return make_project(tmp_path / "project")
