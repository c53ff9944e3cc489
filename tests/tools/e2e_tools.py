"""Runs the real command line in real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from projects import Project

from pipeline.runners.report import load_reports

COMMAND = [sys.executable, "-m", "pipeline"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def headrace(*arguments: str, timeout: float = 400) -> subprocess.CompletedProcess[str]:
    """One command, ended."""
    return subprocess.run(
        [*COMMAND, *arguments], env=ENVIRONMENT, capture_output=True, text=True, timeout=timeout, check=False
    )


def states(project: Project) -> dict[str, str]:
    """The state of each node in the last run."""
    return {node.node: node.state.value for node in load_reports(project.home)[-1].nodes.values()}
