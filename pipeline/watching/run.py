"""What the watch starts, each in a process of its own: a run of the pipeline, a look at the served model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from monitoring.report import Decision, Report
from pipeline.config import PipelineConfig
from pipeline.watching.process import HEADRACE, Ended, run_to_end
from schema.errors import ExitCode, HeadraceError
from serving.versions import versions
from storage.places import at

_DECIDED = (ExitCode.OK, ExitCode.RETRAIN, ExitCode.ROLL_BACK, ExitCode.BLOCK)

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
        on: Where its Beam components run; None: on this machine.
    """

    pipeline: str
    output: Path
    every: float
    command: tuple[str, ...] = HEADRACE
    on: str | None = None

    def __call__(self, span: int, meanwhile: Meanwhile) -> Ended:
        """Runs it to its end. Ends it first if this process is interrupted."""
        placed = ("--on", self.on) if self.on else ()
        command = (*self.command, "run", self.pipeline, "--span", str(span), *placed)
        return run_to_end(command, self.output, self.every, meanwhile)


@dataclass(frozen=True)
class MonitorLook:
    """A `Look`: `headrace monitor PIPELINE`, which also writes the page and sends the alerts.

    Args:
        pipeline: A name or a path, as the user gave it.
        folder: Where `headrace monitor` leaves its report.
        output: A file for what the process prints, written anew by each look.
        most_seconds: A look that takes longer is ended, and has failed.
        command: How to start `headrace`.
        on: Where Beam runs; None: on this machine.
    """

    pipeline: str
    folder: Path
    output: Path
    most_seconds: float = 3600.0
    command: tuple[str, ...] = HEADRACE
    on: str | None = None

    def __call__(self, config: PipelineConfig) -> Decision | None:
        """The decision; None if nothing is pushed yet.

        Raises:
            HeadraceError: It could not look, or took too long.
        """
        if not versions(at(config.push.path)):
            return None
        command = (*self.command, "monitor", self.pipeline, *(("--on", self.on) if self.on else ()))
        ended = run_to_end(command, self.output, self.most_seconds, self._too_long)
        if ended.code not in _DECIDED:
            raise HeadraceError(f"`headrace monitor` ended with exit code {ended.code}", received=ended.words)
        return Report.load(self.folder).decision

    def _too_long(self) -> None:
        raise HeadraceError(f"`headrace monitor` took longer than {self.most_seconds:g} s", where=str(self.output))
