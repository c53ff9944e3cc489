"""What a person sees: the progress of a run, verdict tables, errors. No other output reaches the terminal."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.gates.table import OUTCOME_STYLES, findings_table
from pipeline.gates.verdict import Outcome, Verdict
from pipeline.runners.report import RunReport, State
from schema.errors import HeadraceError

_STATE_STYLES = {
    State.DONE: "green",
    State.CACHED: "cyan",
    State.REUSED: "cyan",
    State.RUNNING: "bold yellow",
    State.FAILED: "bold red",
    State.BLOCKED: "magenta",
    State.CANCELLED: "red",
}
_NODE_WIDTH = 20
_MOST_PASSED = 12
_PLAIN_WIDTH = 160


@contextmanager
def output_to(path: Path) -> Iterator[None]:
    """Sends all output of this process and its libraries to a file.

    Python's warnings, absl and TensorFlow's C++ all write to the file descriptors, so these are what is redirected.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    outputs = os.dup(1), os.dup(2)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, output in enumerate(outputs, start=1):
            os.dup2(output, number)
            os.close(output)


@contextmanager
def quiet_console() -> Iterator[Console]:
    """A console on the real output, while nothing else reaches it."""
    real = os.dup(1)
    try:
        with output_to(Path(os.devnull)):
            yield _make_console(real)
    finally:
        os.close(real)


def _make_console(file_descriptor: int) -> Console:
    file = os.fdopen(file_descriptor, "w", encoding="utf-8", closefd=False)
    console = Console(file=file, highlight=False)
    return console if console.is_terminal else Console(file=file, highlight=False, width=_PLAIN_WIDTH)


class Progress:
    """One view of a run: a table that is redrawn on a terminal, a line for each node that ends elsewhere.

    No thread draws it: the runner forks.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=False) if console.is_terminal else None
        self._told: set[str] = set()

    def __enter__(self) -> Progress:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, report: RunReport) -> None:
        """Shows the report as it is now."""
        if self._live:
            self._live.update(nodes_table(report), refresh=True)
            return
        for node in report.nodes.values():
            if node.state not in (State.WAITING, State.RUNNING) and node.node not in self._told:
                self._told.add(node.node)
                line = f"{node.node:<{_NODE_WIDTH}} {node.state.value:<9} {node.seconds:>6.1f} s  {node.reason}"
                self._console.print(Text(line.rstrip()), soft_wrap=True)


def nodes_table(report: RunReport) -> Table:
    """Node, state, seconds, why."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("node", min_width=_NODE_WIDTH, no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("why")
    for node in report.nodes.values():
        seconds = f"{node.seconds:.1f}" if node.seconds else ""
        table.add_row(
            node.node, Text(node.state.value, _STATE_STYLES.get(node.state, "dim")), seconds, Text(node.reason)
        )
    return table


def show_verdict(console: Console, verdict: Verdict, pipeline: str, *, all_findings: bool = False) -> None:
    """One table: what, where, bound, value, baseline, outcome; and how to go on if it failed.

    Args:
        console: Where to print.
        verdict: What to show.
        pipeline: As the user names it, for the commands that are suggested.
        all_findings: Also the passed ones when there are many.
    """
    style = OUTCOME_STYLES[verdict.outcome]
    title = Text(f"{verdict.gate.value} gate: ", "bold") + Text(verdict.outcome.value, style)
    console.print(title + Text(f" ({verdict.summary.rstrip('.')})"), soft_wrap=True)
    shown = [each for each in verdict.findings if all_findings or each.outcome is not Outcome.PASSED]
    passed = [each for each in verdict.findings if each not in shown]
    console.print(findings_table(shown + passed[:_MOST_PASSED]))
    if len(passed) > _MOST_PASSED:
        command = f"headrace why {shlex.quote(pipeline)} {verdict.gate.value}"
        console.print(f"  and {len(passed) - _MOST_PASSED} more that passed: {command}\n", soft_wrap=True)
    for key, reason in verdict.accepted.items():
        told = next(finding for finding in verdict.findings if finding.key == key)
        console.print(Text(f"  accepted: {told.check} of {told.where}, because: {reason}\n"))
    if not verdict.passed:
        mends = dict.fromkeys(f.mend for f in verdict.findings if f.outcome is Outcome.FAILED and f.mend)
        console.print(Text(f"  To mend:   {' '.join(mends)}"), soft_wrap=True)
        console.print(Text(f"  To accept: headrace run {shlex.quote(pipeline)} --accept 'REASON'\n"), soft_wrap=True)


def show_error(console: Console, error: HeadraceError) -> None:
    """One paragraph."""
    console.print(Text("Error: ", "bold red") + Text(str(error)), soft_wrap=True)


def show_runs(console: Console, reports: list[RunReport]) -> None:
    """The runs, newest last."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("run", "started", "outcome", "seconds", "nodes"):
        table.add_column(column, no_wrap=True)
    for report in reports:
        states = [node.state for node in report.nodes.values()]
        told = ", ".join(f"{states.count(state)} {state.value}" for state in State if state in states)
        started = datetime.fromtimestamp(report.started).strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(report.run_id, started, report.outcome, f"{report.seconds:.0f}", told)
    console.print(table)
