"""Runs the real command line in real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
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


def processes_of(project: Project) -> list[str]:
    """Command lines of the processes that work on a project: forked nodes keep the runner's, checks name its files."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode()
            is_zombie = ") Z " in (path.parent / "stat").read_text()
        except OSError:
            continue
        if str(project.folder) in command and not is_zombie and "pytest" not in command:
            found.append(command)
    return found


def wait_until_none(project: Project) -> list[str]:
    """What still works on a project after a while."""
    deadline = time.monotonic() + 10
    while (left := processes_of(project)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left
