"""A command in a process of its own: its crash or its memory never takes the watch with it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.processes import die_with_parent

HEADRACE = (sys.executable, "-m", "pipeline")
_GRACE_SECONDS = 30.0
"""A run that is told to end needs a few seconds to end its nodes and to record that."""


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    """The exit code; negative: the number of the signal that ended it."""
    words: str
    """The error that it told, or the last line that it printed."""


def run_to_end(command: tuple[str, ...], output: Path, every: float, meanwhile: Callable[[], None]) -> Ended:
    """Runs a command to its end; ends it first if this process is interrupted, or `meanwhile` raises.

    Args:
        command: The program and its arguments.
        output: A file for what it prints, written anew.
        every: Seconds between two calls of `meanwhile`.
        meanwhile: What is to be done while it runs.
    """
    with output.open("wb") as printed:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C at the terminal reaches the watch only, which ends the command
            preexec_fn=die_with_parent(os.getpid()),
        )
    try:
        while not _has_ended(process, every):
            meanwhile()
    finally:
        _end(process)
    return Ended(process.returncode, _last_words(output))


def _has_ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    """Asks it to end, then kills it."""
    if process.poll() is not None:
        return
    process.terminate()
    if not _has_ended(process, _GRACE_SECONDS):
        process.kill()
        process.wait()


def _last_words(output: Path) -> str:
    lines = [line for line in output.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("Error: ")]
    return (errors or lines or ["it printed nothing"])[-1].removeprefix("Error: ")
