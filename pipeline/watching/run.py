"""One run of the pipeline in a process of its own: its crash or its memory never takes the watch with it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.processes import die_with_parent

_GRACE_SECONDS = 30.0
"""A run that is told to end needs a few seconds to end its nodes and to record that."""


@dataclass(frozen=True)
class Ended:
    """How a run's process ended."""

    code: int
    """The exit code; negative: the number of the signal that ended it."""
    words: str
    """The error that it told, or the last line that it printed."""


Meanwhile = Callable[[], None]
RunSpan = Callable[[int, Meanwhile], Ended]
"""Runs the pipeline with a span as the newest; calls the second argument now and then."""


@dataclass(frozen=True)
class PipelineRun:
    """A `RunSpan`: `headrace run PIPELINE --span N`.

    Args:
        pipeline: A name or a path, as the user gave it.
        output: A file for what the process prints, written anew by each run.
        every: Seconds between two calls of `meanwhile`.
        command: How to start `headrace`.
    """

    pipeline: str
    output: Path
    every: float
    command: tuple[str, ...] = (sys.executable, "-m", "pipeline")

    def __call__(self, span: int, meanwhile: Meanwhile) -> Ended:
        """Runs it to its end. Ends it first if this process is interrupted."""
        with self.output.open("wb") as output:
            process = subprocess.Popen(
                [*self.command, "run", self.pipeline, "--span", str(span)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C at the terminal reaches the watch only, which ends the run
                preexec_fn=die_with_parent(os.getpid()),
            )
        try:
            while not _has_ended(process, self.every):
                meanwhile()
        finally:
            _end(process)
        return Ended(process.returncode, _last_words(self.output))


def _has_ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_words(output: Path) -> str:
    lines = [line for line in output.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("Error: ")]
    return (errors or lines or ["it printed nothing"])[-1].removeprefix("Error: ")
