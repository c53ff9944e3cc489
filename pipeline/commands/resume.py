"""`headrace resume`: the last run once more, if it did not end, with the options that it had.

Finished nodes come from TFX's cache, so to resume is to run again. What is remembered is what was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from pipeline.config import PipelineConfig
from pipeline.runners.lock import run_lock
from pipeline.runners.report import RunReport, State, close_killed, load_reports

RESUME = "resume"


@dataclass(frozen=True)
class Resumable:
    """A run that did not end, with all that resumed it and did not end either."""

    run_id: str
    """Of the first of them: `--accept` means what the gates refused before it."""
    command: tuple[str, ...]
    """What was asked for: the arguments of `headrace`."""
    done: frozenset[str]
    """The nodes that ran; `--force` has been heeded for them."""


def find_resumable(console: Console, config: PipelineConfig) -> Resumable | None:
    """The run to resume, after telling which it is; None if there is nothing to resume, which is told as well.

    Raises:
        LockedError: A run is under way.
    """
    with run_lock(config.home):
        close_killed(config.home)
    reports = load_reports(config.home)
    if not reports or reports[-1].has_decided:
        ended = f"the last run {reports[-1].outcome}" if reports else f"{config.name} has not run yet"
        console.print(Text(f"Nothing to resume: {ended}. Start with: headrace run {config.argument}"), soft_wrap=True)
        return None
    resumable = _resumable(reports)
    last = reports[-1]
    asked = " ".join(resumable.command)
    console.print(Text(f"Run {last.run_id} {_PHRASES.get(last.outcome, last.outcome)}: headrace {asked}"))
    return resumable


def _resumable(reports: list[RunReport]) -> Resumable:
    first = max(number for number, report in enumerate(reports) if report.command[:1] != [RESUME])
    done = {node.node for report in reports[first:] for node in report.nodes.values() if node.state is State.DONE}
    return Resumable(reports[first].run_id, tuple(reports[first].command), frozenset(done))


_PHRASES = {"interrupted": "was interrupted", "killed": "was killed"}
