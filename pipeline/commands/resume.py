"""`headrace resume`: the last run once more, if it did not end, with the options that it had.

Finished nodes come from TFX's cache, so to resume is to run again. What is remembered is what was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from pipeline.config import PipelineConfig
from pipeline.runners.lock import run_lock
from pipeline.runners.report import LOGS, OTHERS_RUN, RunReport, State, close_killed, load_reports
from schema.errors import UsageError

RUN = "run"
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
    newest: int | None = None
    """The span that evaluated; None if it is not known, or the data has no window."""


def find_resumable(console: Console, config: PipelineConfig) -> Resumable | None:
    """The run to resume, after telling which it is; None if there is nothing to resume, which is told as well.

    Raises:
        LockedError: A run is under way.
        UsageError: It is not known any more what was asked for.
    """
    with run_lock(config.home):
        close_killed(config.home)
    reports = load_reports(config.home)
    if not reports or reports[-1].has_decided:
        ended = f"the last run {reports[-1].outcome}" if reports else f"{config.name} has not run yet"
        console.print(Text(f"Nothing to resume: {ended}. Start with: headrace run {config.argument}"), soft_wrap=True)
        return None
    last = reports[-1]
    if last.run_id.startswith(OTHERS_RUN):
        told = f"the last run, {last.run_id}, is another orchestrator's. Go on with it there, or start with"
        console.print(Text(f"Nothing to resume: {told}: headrace run {config.argument}"), soft_wrap=True)
        return None
    resumable = _resumable(reports, config)
    asked, span = " ".join(resumable.command), "" if resumable.newest is None else f" (span {resumable.newest})"
    console.print(Text(f"Run {last.run_id} {_PHRASES.get(last.outcome, last.outcome)}: headrace {asked}{span}"))
    return resumable


def _resumable(reports: list[RunReport], config: PipelineConfig) -> Resumable:
    own = [report for report in reports if not report.run_id.startswith(OTHERS_RUN)]
    first = max((number for number, report in enumerate(own) if report.command[:1] != [RESUME]), default=None)
    if first is None or own[first].command[:1] != [RUN]:
        raise UsageError(
            "It is not known any more what the last run was asked for",
            where=str(config.home / LOGS),
            expected="the report of the run that was resumed, with its command",
            received=f"runs that resumed it, {own[0].run_id} to {own[-1].run_id}" if first is None else "no command",
            mend=f"Start with: headrace run {config.argument}. Finished nodes are kept.",
        )
    done = {node.node for report in own[first:] for node in report.nodes.values() if node.state is State.DONE}
    newest = own[-1].newest if config.data.window is not None else None
    return Resumable(own[first].run_id, tuple(own[first].command), frozenset(done), newest)


_PHRASES = {"interrupted": "was interrupted", "killed": "was killed"}
